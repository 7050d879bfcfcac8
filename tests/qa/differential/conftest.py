"""Both servers, for all tests of a process."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.databases import new_database
from tests.support.openbao import OpenBao, SecretManager, Servers
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod


@pytest.fixture(scope="session")
def servers(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run OpenBao and this service; programs leave the same state on both."""
    folder = tmp_path_factory.mktemp("differential")
    with ExitStack() as running:
        environment = {
            "MASTER_KEY": master_key,
            "MONGO_URI": running.enter_context(new_database(mongod)),
            "AUTH_ENABLED": "true",
            "FAILED_AUTH_LIMIT": "10000/minute",
            # Other workers see a revocation within seconds.
            "WEB_CONCURRENCY": "1",
        }
        real = running.enter_context(OpenBao(folder))
        service = running.enter_context(Service(environment, patient=True, folder=folder))
        service.wait_until_started()
        yield Servers(real, SecretManager(service, environment, folder))
