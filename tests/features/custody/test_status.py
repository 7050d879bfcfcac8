"""The line of custody in the status of an installation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.installation import Installation
from tests.support.rotation import Stored, new_key, text
from vault.core.crypto import Keyring
from vault.core.status import Line, State
from vault.features.custody.status import lines

KEY = new_key()
DRILL = {"action": "key_recovered", "status": "success", "ts": timedelta(days=9), "seq": 9}


def checked(state: str = "up", *, minutes: int = 5, **details: Any) -> dict[str, Any]:
    """Return the entry of a check of one slot, as far as custody reads it; `ts` is its age."""
    slot = {"key_id": KEY.id, "slot": "hsm", "kek": "k", "state": state, "reason": ""}
    return {
        "action": "custody_checked",
        "status": "success",
        "principal": "service",
        "ts": timedelta(minutes=minutes),
        "seq": 1,
        "details": {"slots": [slot], **details},
    }


def lines_of(mongo_uri: str, stored: Stored, *entries: dict[str, Any], file: str = "digest") -> list[Line]:
    """Return the lines of an installation with these entries."""
    if entries:
        now = datetime.now(UTC)
        stored.audit_logs.insert_many([{"stream": "s", **one, "ts": now - one["ts"]} for one in entries])
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY)}, stored, KEY)
    with installation.parts() as parts:
        parts.keyring = Keyring(KEY, file=file)
        return [*lines(parts)]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([checked(), DRILL], ""),
        ([checked()], "no drill with the shares within a year"),
        ([checked("unavailable"), DRILL], "slot hsm is down: unavailable"),
        ([checked(is_newest=False), DRILL], "the keyring file is not the newest on record"),
        ([checked(minutes=100), DRILL], "no replica checks the slots"),
        ([DRILL], "no replica checks the slots"),
    ],
)
def test_a_slot_that_is_not_ready_needs_a_look(
    mongo_uri: str, stored: Stored, entries: list[dict[str, Any]], words: str
) -> None:
    """What keeps the next start, or the people with shares, from opening the keys needs a look."""
    [line] = lines_of(mongo_uri, stored, *entries)
    assert (line.subject, line.state) == ("custody", State.LOOK if words else State.WELL)
    assert words in line.text


def test_without_a_keyring_file_there_is_no_line(mongo_uri: str, stored: Stored) -> None:
    """Keys that come from the settings have no slots."""
    assert lines_of(mongo_uri, stored, file="") == []
