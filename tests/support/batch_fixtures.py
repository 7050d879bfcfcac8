"""Fixtures of the tests of the API, of batches, and of Vault's dialect."""

from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from tests.support.batches import Commands, listening
from tests.support.lifecycle import Caller


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return the commands of `app`, which is created later."""
    return listening(monkeypatch)


@pytest.fixture
def ready(
    commands: Commands,  # noqa: ARG001 - in this order
    alice: Caller,
    stored: MongoDatabase[dict[str, Any]],
) -> Caller:
    """Return Alice as the caller of an application that is listened to, without any entry yet."""
    alice("list")
    stored.audit_logs.delete_many({})
    return alice
