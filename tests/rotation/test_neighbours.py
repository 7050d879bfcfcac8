"""Rotation plans next to operations that change what is around them."""

from datetime import UTC, datetime

import pytest

from tests.rotation.conftest import World
from tests.rotation.fake import Fake
from tests.rotation.servers import USERS
from vault.backup import restore
from vault.crypto import Keyring, MasterKey
from vault.documents import Secret
from vault.documents.rotation import Rotation

A, B = USERS


@pytest.fixture
def planned(world: World, fake: Fake) -> World:
    """Return an application with a plan, without a grace period."""
    world.plan("command", "/bin/program", grace_seconds=0)
    fake.passwords[B] = "unknown"
    return world


def test_a_restored_copy_ends_no_password_of_the_original(planned: World, fake: Fake, key: MasterKey) -> None:
    """The former password at the time of the backup is published again; the copy waits for a person."""
    planned.run()
    backup = [(kind, list(kind.raw().find())) for kind in (Rotation, Secret)]
    planned.change(close_at=datetime.now(UTC))
    planned.act()
    planned.run()
    assert planned.fetch()["password"] == fake.passwords[A]
    for kind, documents in backup:
        kind.raw().delete_many({})
        kind.raw().insert_many(documents)
    restore._stop_plans(Keyring(key))
    fake.calls.clear()
    assert planned.act().state == "paused"
    assert not fake.calls
    planned.run()
    assert planned.fetch() == {"username": A, "password": fake.passwords[A], "host": "db.example"}
