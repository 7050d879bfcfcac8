"""The line of rotation plans in the status of an installation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.features.rotation.conftest import World
from tests.support.access import services
from tests.support.rotation import Stored
from vault.core.status import Line, State

AGO = datetime.now(UTC) - timedelta(hours=1)


def line(world: World) -> Line | None:
    """Return the line of rotation, if there is one."""
    lines = {line.subject: line for line in services(world.app).overview.lines()}
    return lines.get("rotation")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"failures": 1}, "1 plan failing"),
        ({"has_drifted": True}, "1 plan drifted"),
        ({"next_at": AGO}, "1 plan overdue"),
        ({"next_at": AGO, "is_paused": True}, ""),
    ],
)
def test_a_plan_that_does_not_rotate_needs_a_look(
    planned: World, changes: dict[str, Any], words: str
) -> None:
    """Plans that fail, drifted or are overdue need a look."""
    planned.change(**changes)
    found = line(planned)
    assert found
    assert (found.state, words in found.text) == (State.LOOK if words else State.WELL, True)


def test_an_altered_plan_needs_a_look(planned: World, stored: Stored) -> None:
    """A plan that someone has changed in MongoDB needs a look; without plans, there is no line."""
    stored.rotations.update_one({}, {"$set": {"every_seconds": 1}})
    found = line(planned)
    assert found
    assert (found.state, "1 plan altered" in found.text) == (State.LOOK, True)
    stored.rotations.delete_many({})
    assert line(planned) is None
