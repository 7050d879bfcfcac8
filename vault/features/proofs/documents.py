"""The state of witnesses, which all workers show, and one of them changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from mongoengine.connection import get_db

#: That of the claims: the service may neither create others nor remove documents.
_COLLECTION = "keys"


def read(names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the stored state of each witness that has one, by its name. Raises `PyMongoError`."""
    found = _collection().find({"_id": {"$in": [_id(name) for name in names]}})
    by_id = {document["_id"]: document for document in found}
    return {name: by_id[_id(name)] for name in names if _id(name) in by_id}


def update(name: str, **changes: Any) -> None:
    """Change the state of a witness. Raises `PyMongoError`."""
    _collection().update_one({"_id": _id(name)}, {"$set": changes}, upsert=True)


def _id(name: str) -> str:
    return f"witness {name}"


def _collection() -> Any:
    return get_db()[_COLLECTION]
