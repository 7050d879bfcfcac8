"""Fixtures of the shell scripts."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.scripts.runs import answering
from tests.support.access import tokens
from tests.support.databases import new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod


class Asking(NamedTuple):
    """A service that requires a credential, its URL, and a writer's token."""

    url: str
    token: str
    service: Service


@pytest.fixture
def recorder() -> Iterator[str]:
    """Return the URL of a server that answers 200 and repeats the request body."""
    with answering(lambda body: (200, body)) as url:
        yield url


@pytest.fixture(scope="session")
def asking(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Run a service that requires a credential, for all tests of the scripts."""
    folder = tmp_path_factory.mktemp("asking")
    with new_database(mongod) as uri:
        settings = {
            "MASTER_KEY": master_key,
            "MONGO_URI": uri,
            "AUTH_ENABLED": "true",
            "DELETE_RECOVERY_DAYS": "1",
        }
        token = tokens(settings, folder, "create", "--name", "ci", "--role", "writer")
        with Service(settings, patient=True, folder=folder) as service:
            yield Asking(service.url, token, service)
