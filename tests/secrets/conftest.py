"""Fixtures of the tests of secrets."""

from collections.abc import Iterator

import pytest

from tests.databases import EmptyDatabases


@pytest.fixture
def mongo_uri(empty_databases: EmptyDatabases) -> Iterator[str]:
    """Return the connection string of the test's own database, which can have indexes already."""
    with empty_databases.one() as uri:
        yield uri
