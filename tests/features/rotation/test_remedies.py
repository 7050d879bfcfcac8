"""Remedies of failed runs, in the console and in the documents."""

import re

import pytest

from tests.docs.documents import DOCUMENTS
from vault.features.rotation.pages import REMEDIES, remedy_of


def test_the_document_has_all_remedies() -> None:
    """The table in docs/rotation.md says the same as the console."""
    table = DOCUMENTS["docs/rotation.md"].partition("## Repair")[2]
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", table, re.MULTILINE)
    plain = {
        reason: re.sub(r"\[(.+?)\]\(.+?\)|`", lambda found: found[1] or "", remedy) for reason, remedy in rows
    }
    assert plain == {
        reason: remedy[0].lower() + remedy.removesuffix(".")[1:] for reason, remedy in REMEDIES.items()
    }


@pytest.mark.parametrize(
    ("state", "error", "remedy"),
    [
        ("failing", "The administrator's secret names another server than at the creation.", "If the change"),
        ("altered", "", "Someone changed the plan"),
        ("failing", "an unexpected error: ValueError", ""),
        ("waiting", "", ""),
    ],
)
def test_a_failure_has_its_remedy(state: str, error: str, remedy: str) -> None:
    """The remedy is found by a part of the reason, or by the state; other failures have none."""
    found = remedy_of(state, error)
    assert found.startswith(remedy)
    assert bool(found) is bool(remedy)
