"""Former passwords, with a source in this process: they close once no one can hold them."""

import json
from typing import Any

import pytest

from tests.rotation.conftest import World
from tests.rotation.fake import Fake
from tests.rotation.servers import USERS
from vault.documents.rotation import Rotation

A, _ = USERS


@pytest.mark.parametrize("value", ["x", [1], 1e300, 2**62, None])
def test_an_altered_plan_does_not_stop_others(world: World, fake: Fake, value: Any) -> None:
    """A period of another type or size, which only an attacker stores, has no effect on other plans."""
    world.plan("command", "/bin/program")
    world.store("db2", json.dumps({"username": A, "password": fake.passwords[A]}))
    world.create(kind="command", name="db2")
    Rotation.raw().update_one({"_id": "default/db2"}, {"$set": {"every_seconds": value}})
    world.act()
    assert world.show().version == 2
    assert world.show("db2").state == "altered"
