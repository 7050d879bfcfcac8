"""Each promise has its tests, and README and docs/promises.md make the same promises."""

import re

from tests.docs.documents import DOCUMENTS
from tests.docs.promises import HEADINGS, LIST, listed, marked


def test_each_promise_has_tests_and_each_marker_a_promise() -> None:
    """The keys of the markers are those of the page's headings, and the list of the tests is current.

    After a change of markers or of tests' names, `python -m tests.docs.promises` writes it again.
    """
    tests = list(marked())
    assert {key for key, _ in tests} == set(HEADINGS)
    assert LIST.read_text() == listed(tests)


def test_the_promises_are_those_of_the_readme() -> None:
    """README and page make the same seven promises, in the same order."""
    readme = re.findall(r"^(\d\. )\*\*(.+?)(?:\.\*\*|\*\*:)", DOCUMENTS["README.md"], re.MULTILINE)
    numbered = [heading for key, heading in HEADINGS.items() if isinstance(key, int)]
    assert [number + promise for number, promise in readme] == numbered
    assert len(numbered) == 7
