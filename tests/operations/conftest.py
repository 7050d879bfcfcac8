"""What the tests of operations share."""

from collections.abc import Iterator

import pytest

from vault.crypto import Keyring
from vault.documents import Database
from vault.operations.audit import AuditTrail


@pytest.fixture
def trail(database: Database, keyring: Keyring) -> Iterator[AuditTrail]:  # noqa: ARG001 - it is connected to
    """Return a trail on the test's database that is told of attempts directly."""
    trail = AuditTrail(keyring)
    yield trail
    trail.disconnect()
