"""What verifying takes from a trail that grows meanwhile, and how long entries have to be there."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.rotation import Stored, connected, new_key
from tests.written_trail import as_stored, stream_of
from vault.crypto import Keyring
from vault.documents.audit_entry import moment
from vault.operations import verification

KEYRING = Keyring(new_key())
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


def test_a_commit_is_read_on_up_to_its_signature(
    mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come meanwhile is read until a signature covers it, and no further: the service goes on."""
    waits: list[float] = []
    # Not the module itself: others sleep, too.
    monkeypatch.setattr(verification, "time", SimpleNamespace(sleep=waits.append))
    streams = {name: stream_of(9, KEYRING, name=name, signed=3) for name in ("aa", "bb", "cc")}
    unsigned = stream_of(2, KEYRING, name="dd", signed=3)
    with connected(mongo_uri):
        for part in (*streams.values(), unsigned):
            stored.audit_logs.insert_many([as_stored(record) for record in part])
        ends = [("aa", 3), ("bb", 6), ("cc", 8), ("dd", 0), ("ee", 0)]
        found = list(verification.read_on(ends))
        assert found == [*streams["aa"][4:6], *streams["bb"][7:9], unsigned[1]]
        # One wait for all of them, and none if there is nothing to wait for.
        assert len(waits) == 1
        assert list(verification.read_on([])) == []
        assert len(waits) == 1


def test_entries_have_to_be_there_as_long_as_they_are_kept() -> None:
    """The retention counts from now, less what MongoDB's clock may be ahead; without one, all must be."""
    assert verification.kept_since(0, NOW) == ""
    for days in (1, 90, 36_500):
        since = verification.kept_since(days, NOW)
        assert moment(NOW - timedelta(days=days)) < since < moment(NOW - timedelta(days=days, minutes=-5))
