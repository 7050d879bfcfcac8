"""The line of the witnesses in the status of an installation."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.installation import Installation
from tests.support.rotation import Stored, connected, new_key, text
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.status import State
from vault.core.trail.streams import checkpoint
from vault.features.proofs.witnesses import update_state

KEY = new_key()
URL = "tsa+https://tsa.example/a"


@pytest.mark.parametrize(
    ("age", "is_failing", "words"),
    [
        (None, False, "tsa.example has confirmed nothing yet"),
        (None, True, "has confirmed no checkpoint of the audit trail yet"),
        (timedelta(minutes=5), False, ""),
        (timedelta(minutes=5), True, "has confirmed no checkpoint of the audit trail since"),
        (timedelta(days=9), False, "has confirmed no checkpoint of the audit trail since"),
    ],
)
def test_a_witness_that_does_not_confirm_needs_a_look(
    mongo_uri: str, stored: Stored, age: timedelta | None, is_failing: bool, words: str
) -> None:
    """A witness that has failed, or has confirmed nothing for too long or at all, needs a look."""
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY)}, stored, KEY)
    assert "witnesses" not in installation.lines()
    installation.changes["AUDIT_WITNESSES"] = URL
    with connected(mongo_uri):
        success = {"witness": URL, "ts": moment(datetime.now(UTC) - age)} if age else {}
        signed = checkpoint.signed(success, Keyring(KEY))
        update_state(URL, success=signed, is_failing=is_failing)
    line = installation.lines()["witnesses"]
    assert (line.state, words in line.text) == (State.LOOK if words else State.WELL, True)
