"""docs/webhooks.md lists the kinds of events."""

from tests.docs.generated import require_generated
from vault.features.webhooks.kinds import kinds


def table() -> str:
    """Return the table of all kinds."""
    rows = (f"| `{kind.name}` | {kind.when} |" for kind in kinds().values())
    return "\n".join(("| kind | when |", "| --- | --- |", *rows, ""))


def test_the_document_lists_every_kind() -> None:
    """docs/webhooks.md has each kind, and when its events are sent."""
    require_generated("docs/webhooks.md", "kinds", table())
