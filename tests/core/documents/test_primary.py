"""The primary's answer to a ping: its clock, its replica set, and whether that is a shard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Timestamp

from vault.core.documents.primary import Primary

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def primary(ahead: float = 0, *, took: float = 0, **hello: Any) -> Primary:
    """Return the answer of a primary whose clock is at `NOW`, as a clock that is *ahead* sees it."""
    asked_at = NOW + timedelta(seconds=ahead)
    return Primary({"localTime": NOW, **hello}, asked_at, asked_at + timedelta(seconds=took))


@pytest.mark.parametrize(
    ("ahead", "took", "offset"),
    [(0, 0, 0), (7_200, 0, 7_200), (-7_200, 0, -7_200), (-3, 3, 0), (-2, 3, 0), (-5, 3, -2), (5, 3, 5)],
)
def test_a_slow_answer_is_no_difference(ahead: float, took: float, offset: float) -> None:
    """Clocks differ only by what the time of the answer does not explain."""
    assert primary(ahead, took=took).clock_offset == offset


@pytest.mark.parametrize(
    ("offset", "warns", "fails"),
    [(10, False, False), (11, True, False), (300, True, False), (301, True, True)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_is_a_warning_then_a_failure(offset: float, warns: bool, fails: bool, sign: int) -> None:
    """From 10 seconds on, a difference of the clocks is a warning; from 5 minutes on, it is a failure."""
    found = primary(sign * offset)
    assert (bool(found.clock_warning), bool(found.clock_failure)) == (warns, fails)
    if warns:
        assert found.clock_warning.endswith(
            f"{offset} seconds {'ahead of' if sign > 0 else 'behind'} MongoDB's"
        )


@pytest.mark.parametrize(
    ("hello", "warning"),
    [
        ({"setName": "rs0", "hosts": ["a"]}, "MongoDB's replica set has 1 member: no node may be lost"),
        ({"setName": "rs0", "hosts": ["a", "b"]}, "MongoDB's replica set has 2 members: no node may be lost"),
        ({"setName": "rs0", "hosts": ["a", "b"], "passives": ["c"]}, ""),
        ({"setName": "rs0", "hosts": ["a", "b", "c"]}, ""),
        ({"msg": "isdbgrid"}, ""),
        ({}, "MongoDB is a standalone server: no node may be lost"),
    ],
)
def test_fewer_than_three_members_are_a_warning(hello: dict[str, Any], warning: str) -> None:
    """With fewer than three members, or a standalone server, the loss of a node stops the service."""
    assert primary(**hello).redundancy_warning == warning


@pytest.mark.parametrize(
    ("hello", "is_shard"),
    [
        ({"setName": "rs0", "lastCommittedOpTime": Timestamp(1, 1)}, True),
        ({"setName": "rs0"}, False),
        ({"msg": "isdbgrid", "lastCommittedOpTime": Timestamp(1, 1)}, False),
        ({}, False),
    ],
)
def test_members_of_a_shard_are_recognized(hello: dict[str, Any], is_shard: bool) -> None:
    """Members of a shard add a field to replies; other replica sets, routers and single servers do not."""
    assert primary(**hello).is_single_shard is is_shard
