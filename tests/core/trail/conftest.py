"""Fixtures of the tests of the audit trail."""

from collections.abc import Iterator

import pytest

from tests.support.rotation import connected
from vault.core.trail.writer import NoAuditTrail


@pytest.fixture
def unaudited(mongo_uri: str) -> Iterator[NoAuditTrail]:
    """Connect to a database in which only the test writes entries."""
    trail = NoAuditTrail()
    trail.connect()
    with connected(mongo_uri):
        yield trail
