"""The identifiers of audit entries follow from the hashed content."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from vault.core.trail.streams.stream import (
    derive_entry_id,
    entry_id_fits,
    entry_id_follows,
    first_entry_id,
    new_stream_id,
    writer_of,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "entry-id-1.json").read_text())
NOW = datetime(2026, 11, 24, 15, 30, 0, 999_000, tzinfo=UTC)
OLDER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def document(identifier: ObjectId, stream: str, seq: int, time: datetime = NOW) -> dict[str, Any]:
    return {"_id": identifier, "ts": time, "stream": stream, "seq": seq}


def moved(identifier: ObjectId, at: int, by: int) -> ObjectId:
    raw = bytearray(identifier.binary)
    raw[at] = (raw[at] + by) % 256
    return ObjectId(bytes(raw))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_identifiers_are_stable(vector: dict[str, Any]) -> None:
    """The identifier of an existing entry never changes, so the trail stays verifiable."""
    place = (datetime.fromisoformat(vector["ts"]), vector["stream"], vector["seq"])
    assert str(derive_entry_id(*place)) == vector["id"]
    assert entry_id_fits(document(ObjectId(vector["id"]), vector["stream"], vector["seq"], place[0]))


def test_within_a_stream_identifiers_follow_the_numbers() -> None:
    """Identifiers rise with the numbers, because time does not run backwards within a stream."""
    stream = new_stream_id()
    places = [(NOW + timedelta(seconds=seq // 3), stream, seq) for seq in range(1_000)]
    made = [derive_entry_id(*place) for place in places]
    assert made == sorted(set(made))
    assert len({writer_of(identifier) for identifier in made}) == 1


def test_new_streams_differ_from_older_ones() -> None:
    """The ID of a new stream has a form that no older one has, and the same length."""
    streams = {new_stream_id() for _ in range(100)}
    assert len(streams) == 100
    for stream in streams:
        assert re.fullmatch("2-[0-9a-f]{30}", stream)
        assert len(stream) == len(OLDER)


@pytest.mark.promise(3)
@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("by", [1, -1])
def test_an_entry_with_another_identifier_does_not_fit(at: int, by: int) -> None:
    """A change in any byte of the identifier is detected."""
    stream = new_stream_id()
    made = derive_entry_id(NOW, stream, 7)
    assert entry_id_fits(document(made, stream, 7))
    assert not entry_id_fits(document(moved(made, at, by), stream, 7))


def test_an_older_entry_has_an_identifier_of_its_time_and_process() -> None:
    """In an older stream, an identifier of another time, process or order does not fit."""
    first = ObjectId("6a1468c8" + "aa" * 5 + "fffffe")
    second = ObjectId("6a1468c8" + "aa" * 5 + "000001")
    seconds = first.generation_time
    for off, fits in ((0, True), (1, True), (-1, True), (2, False), (-2, False), (500, False)):
        assert entry_id_fits(document(first, OLDER, 0, seconds + timedelta(seconds=off))) is fits
    before = document(first, OLDER, 0)
    assert entry_id_follows(document(second, OLDER, 1), before)
    for other in (first, moved(second, 4, 1), moved(second, 8, 1), moved(second, 9, 1)):
        assert not entry_id_follows(document(other, OLDER, 1), before)
    assert not entry_id_follows(document(first, OLDER, 1), document(second, OLDER, 0))


@pytest.mark.parametrize(
    ("seconds", "first"), [(-1, "00000000"), (1.9, "00000001"), (2**32, "ffffffff"), (1e18, "ffffffff")]
)
def test_each_time_has_a_first_identifier(seconds: float, first: str) -> None:
    """A time outside the range of identifiers gets the nearest one."""
    assert str(first_entry_id(seconds)) == first + "00" * 8
