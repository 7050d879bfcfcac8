"""The line of compaction in the status of an installation."""

import pytest

from tests.support.installation import Installation
from tests.support.rotation import Stored, new_key, text
from vault.core.status import State
from vault.features.compaction import status


def test_many_streams_need_a_look(mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction has a line only if too many streams are in no summary."""
    key = new_key()
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(key)}, stored, key)
    installation.build()
    assert "compaction" not in installation.lines()
    monkeypatch.setattr(status, "_MAX_STREAMS", 0)
    line = installation.lines()["compaction"]
    assert (line.state, "audit compact" in line.text) == (State.LOOK, True)
