"""What verifying takes from the database, and how long entries have to be there."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from bson import Code, Int64, ObjectId

from tests.rotation import Stored, connected, new_key
from tests.written_trail import as_stored, rehash, stream_of
from vault.crypto import Keyring
from vault.documents.audit_entry import moment
from vault.operations import trail
from vault.operations.trail import Filter

KEYRING = Keyring(new_key())
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


def test_a_commit_is_read_on_up_to_its_signature(
    mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come meanwhile is read until a signature covers it, and no further: the service goes on."""
    waits: list[float] = []
    # Not the module itself: others sleep, too.
    monkeypatch.setattr(trail, "time", SimpleNamespace(sleep=waits.append))
    streams = {name: stream_of(9, KEYRING, name=name, signed=3) for name in ("aa", "bb", "cc")}
    unsigned = stream_of(2, KEYRING, name="dd", signed=3)
    with connected(mongo_uri):
        for part in (*streams.values(), unsigned):
            stored.audit_logs.insert_many([as_stored(record) for record in part])
        ends = [("aa", 3), ("bb", 6), ("cc", 8), ("dd", 0), ("ee", 0)]
        found = list(trail.read_on(ends))
        assert found == [*streams["aa"][4:6], *streams["bb"][7:9], unsigned[1]]
        # One wait for all of them, and none if there is nothing to wait for.
        assert len(waits) == 1
        assert list(trail.read_on([])) == []
        assert len(waits) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"action": Code("fetch")},
        {"secret_id": Code("an-id")},
        {"ts": "2026-11-24T12:00:03.000Z"},
        {"_id": "text"},
        {"_id": ObjectId("00" * 12)},
        {"seq": Int64(3)},
    ],
    ids=str,
)
def test_an_entry_in_another_form_is_no_entry(mongo_uri: str, stored: Stored, change: dict[str, Any]) -> None:
    """What would hash alike but be found by no query, or never be pruned, is named as altered."""
    record = rehash(stream_of(1, KEYRING)[0] | {"action": "fetch", "secret_id": "an-id"}, None)
    with connected(mongo_uri):
        stored.audit_logs.insert_one(as_stored(record))
        assert [found["hash"] for found in trail.export(Filter())] == [record["hash"]]
        stored.audit_logs.drop()
        stored.audit_logs.insert_one({**as_stored(record), **change})
        assert [found["hash"] for found in trail.export(Filter())] == [None]


def test_entries_have_to_be_there_as_long_as_they_are_kept() -> None:
    """The retention counts from now, less what MongoDB's clock may be ahead; without one, all must be."""
    assert trail.kept_since(0, NOW) == ""
    for days in (1, 90, 36_500):
        since = trail.kept_since(days, NOW)
        assert moment(NOW - timedelta(days=days)) < since < moment(NOW - timedelta(days=days, minutes=-5))
