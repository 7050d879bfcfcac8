"""Databases of a running MongoDB for one test each."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase

from tests.support.rotation import connected
from vault.clients.dev.mongod import Mongod

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


@contextmanager
def history(uri: str) -> Iterator[None]:
    """Make MongoDB keep its history for its default time; the tests' own does not, see `mongod`."""
    with MongoClient[dict[str, Any]](uri) as client:
        name = "minSnapshotHistoryWindowInSeconds"
        before = client.admin.command("getParameter", 1, **{name: 1})[name]
        client.admin.command("setParameter", 1, **{name: 300})
        try:
            yield
        finally:
            client.admin.command("setParameter", 1, **{name: before})


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
            self._usual = structure_of(database)

    @contextmanager
    def one(self) -> Iterator[str]:
        """Yield the connection string of an empty database."""
        name = self._unused.pop() if self._unused else self._new()
        yield self._uri_of(name)
        database = self._client[name]
        if any(collection.startswith("system.") for collection in database.list_collection_names()):
            self._client.drop_database(name)
            return
        found = structure_of(database)
        filled = filled_of(database, found)
        for collection, structure in found.items():
            if structure != self._usual.get(collection):
                database.drop_collection(collection)
            elif collection in filled:
                database[collection].delete_many({})
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


def structure_of(database: MongoDatabase[dict[str, Any]]) -> dict[str, object]:
    """Return the options and the indexes of each collection; views have none."""
    found = {one["name"]: one["options"] for one in database.list_collections() if one["type"] != "view"}
    indexes: dict[str, dict[str, object]] = {name: {} for name in found}
    for index in _of_each(database, found, {"$indexStats": {}}):
        indexes[index["collection"]][index["name"]] = index["spec"]
    return {name: (options, indexes[name]) for name, options in found.items()}


def filled_of(database: MongoDatabase[dict[str, Any]], collections: Iterable[str]) -> set[str]:
    """Return which of the *collections* have contents."""
    return {document["collection"] for document in _of_each(database, collections, {"$limit": 1})}


def _of_each(
    database: MongoDatabase[dict[str, Any]], collections: Iterable[str], stage: dict[str, object]
) -> Iterator[dict[str, Any]]:
    """Yield `name` and `spec` of what *stage* reads of each of the *collections*, and its `collection`.

    One command for all collections takes a tenth of the time.
    """
    parts: list[dict[str, object]] = [{"$documents": []}]
    for name in collections:
        fields = {"_id": 0, "name": 1, "spec": 1, "collection": {"$literal": name}}
        parts.append({"$unionWith": {"coll": name, "pipeline": [stage, {"$project": fields}]}})
    yield from database.aggregate(parts)
