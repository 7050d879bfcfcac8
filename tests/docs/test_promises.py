"""Each promise has its tests, and README and docs/promises.md make the same promises."""

import re

from tests.docs.documents import DOCUMENTS
from tests.docs.promises import HEADINGS, marked


def test_each_promise_has_tests_and_each_marker_a_promise() -> None:
    """The keys of the markers are those of the page's headings."""
    assert {key for key, _ in marked()} == set(HEADINGS)


def test_the_promises_are_those_of_the_readme() -> None:
    """README and page make the same seven promises, in the same order."""
    readme = re.findall(r"^(\d\. )\*\*(.+?)(?:\.\*\*|\*\*:)", DOCUMENTS["README.md"], re.MULTILINE)
    numbered = [heading for key, heading in HEADINGS.items() if isinstance(key, int)]
    assert [number + promise for number, promise in readme] == numbered
    assert len(numbered) == 7
