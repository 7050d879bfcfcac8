"""Fixtures of the tests of the audit trail."""

from collections.abc import Iterator

import pytest

from tests.support.rotation import connected
from vault.core.attempt import attempts_finished


@pytest.fixture
def unaudited(mongo_uri: str) -> Iterator[None]:
    """Connect to a database in which only the test writes entries."""
    with attempts_finished.connected_to(lambda *_: False), connected(mongo_uri):
        yield
