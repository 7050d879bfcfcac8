"""The list of accepted differences, and its copy in the document."""

from tests.docs.documents import table
from tests.qa.differential.differences import ACCEPTED


def test_the_document_lists_the_differences() -> None:
    """The document has exactly the accepted differences."""
    assert table("docs/vault-api.md", "Differences") == [[*difference[:3]] for difference in ACCEPTED]


def test_each_difference_occurs_and_has_a_reason() -> None:
    """Each difference has a reason, and a step that shows it; no step is listed twice."""
    steps = [
        (program, step)
        for difference in ACCEPTED
        for program, places in difference.steps.items()
        for listed in places.values()
        for step in listed
    ]
    assert all(difference.reason and difference.steps for difference in ACCEPTED)
    assert len(steps) == len(set(steps))
