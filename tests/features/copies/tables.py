"""The rows of copies in the tables of general tests."""

from flask import Flask

from tests.support.command_entries import Entry, Needs, of_mongodb
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record

#: The public half of an identity that no one has.
RECIPIENT = "age1z25r9etkpm368wcl2gx0uy98vlc8ggdz6n04crrw5tt375fc8ymqlqfnt9"

ENTRIES = {
    "keys combine": Entry(Needs.NOTHING),
    "keys copy": of_mongodb("--recipient", RECIPIENT),
    "keys identify": Entry(Needs.NOTHING),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = (f"keys copy --recipient {RECIPIENT}",)


def make_events(_app: Flask, _folder: str, _value: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Record a copy; return the kind of its event."""
    record(Attempt(action=Action.KEY_COPIED, principal=OPERATOR, details={"key_id": "a", "form": "age"}))
    return [("key.copied", None)], []
