"""Databases of a running MongoDB for one test each."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase

from tests.support.rotation import connected
from vault.cli.dev.mongod import Mongod

#: Collections of a started service that have no indexes. Dropping them takes a quarter of a short test.
_WITHOUT_INDEXES = ("keys", "audit_keys", "token_keys")


@contextmanager
def new_database(mongod: Mongod) -> Iterator[str]:
    """Yield the connection string of a new database; it is dropped afterwards."""
    uri = mongod.uri.replace("/?", f"/test_{secrets.token_hex(6)}?")
    yield uri
    with MongoClient[Any](uri) as client:
        database = client.get_default_database()
        # One by one: with remaining collections, MongoDB takes 100 ms more for the database.
        for collection in database.list_collection_names():
            if not collection.startswith("system."):
                database.drop_collection(collection)
        client.drop_database(database)


class EmptyDatabases:
    """Databases with nothing but the indexes that the service builds, or not even those.

    A database is emptied and used again, because building its indexes and dropping it takes most of the time
    of a test that sends one request.
    """

    def __init__(self, mongod: Mongod) -> None:
        self._uri = mongod.uri
        self._client: MongoClient[dict[str, Any]] = MongoClient(mongod.uri)
        self._unused: list[str] = []
        with new_database(mongod) as uri, connected(uri), MongoClient[dict[str, Any]](uri) as client:
            database = client.get_default_database()
            for collection in _WITHOUT_INDEXES:
                database.create_collection(collection)
            self._usual = _indexes(database)

    @contextmanager
    def one(self) -> Iterator[str]:
        """Yield the connection string of an empty database."""
        name = self._unused.pop() if self._unused else self._new()
        yield self._uri_of(name)
        database = self._client[name]
        found = _indexes(database)
        if any(collection.startswith("system.") for collection in found):
            self._client.drop_database(name)
            return
        for collection, indexes in found.items():
            if indexes == self._usual.get(collection):
                database[collection].delete_many({})
            else:
                database.drop_collection(collection)
        self._unused.append(name)

    def _new(self) -> str:
        """Return the name of a new database with all indexes: a request does not wait long for them."""
        name = f"test_{secrets.token_hex(6)}"
        with connected(self._uri_of(name)):
            return name

    def _uri_of(self, name: str) -> str:
        return self._uri.replace("/?", f"/{name}?")

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _indexes(database: MongoDatabase[dict[str, Any]]) -> dict[str, object]:
    """Return the indexes of each collection, with the collection's options; views have none."""
    return {
        found["name"]: (found["options"], list(database[found["name"]].list_indexes()))
        for found in database.list_collections()
        if found["type"] != "view"
    }
