"""A trail that MongoDB itself refuses to write."""

from typing import Any

from pymongo.database import Database
from pymongo.errors import CollectionInvalid


def block_trail(stored: Database[dict[str, Any]]) -> None:
    """Make MongoDB refuse every new audit entry."""
    never = {"never": {"$exists": True}}
    try:
        stored.create_collection("audit_logs", validator=never)
    except CollectionInvalid:
        stored.command("collMod", "audit_logs", validator=never)


def restore_trail(stored: Database[dict[str, Any]]) -> None:
    """Make MongoDB accept audit entries again."""
    stored.command("collMod", "audit_logs", validator={})
