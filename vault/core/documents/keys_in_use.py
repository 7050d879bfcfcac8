"""The master keys that stored secrets and the token key need."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from pymongo import timeout

from vault.core.documents.base import is_text
from vault.core.documents.secret import Secret
from vault.core.documents.token import StoredTokenKey

#: IDs after which a search ends. Anyone who can write to the database can store any number of them.
_MAX_KEY_IDS = 100

#: Timeout of a count over all versions.
_COUNT_TIMEOUT_SECONDS = 600

#: MongoDB matches a list by its members: a list with a string among them does not match.
_IS_NO_TEXT = {"$not": {"$type": "string"}}


def stored_key_ids(besides: Iterable[str] = ()) -> set[str]:
    """Return the IDs of the keys that stored secrets and the token key need, other than *besides*.

    One index seek per key. By queries, because `distinct` also finds what a shard still has of documents that
    were moved to another one. An ID that is not a string belongs to no key: its value does not verify under
    any. A search that has found 100 IDs ends.
    """
    before = set(besides)
    known = before.copy()
    for collection, array in ((Secret, ""), (Secret, "older"), (StoredTokenKey, "")):
        while len(known) < len(before) + _MAX_KEY_IDS and (
            others := _other_key_ids(collection.raw(), array, sorted(known))
        ):
            known |= others
    return known - before


def needs_any(key_ids: Sequence[str]) -> bool:
    """Return whether a stored secret or the token key needs one of these keys."""
    found = {"$in": key_ids}
    queries = ((Secret, "key_id"), (Secret, "older.key_id"), (StoredTokenKey, "key_id"))
    return any(kind.raw().find_one({field: found}, {"_id": 1}) for kind, field in queries)


def _other_key_ids(collection: Any, array: str, known: Sequence[str]) -> set[str]:
    """Return the IDs in a document that names a key not in *known*, itself or in *array*; else none."""
    query: dict[str, Any] = {"key_id": {"$nin": known, "$type": "string"}}
    if array:
        # In its index, MongoDB seeks ranges, but not what `$nin` leaves.
        gaps = [{"$gt": low, "$lt": high} for low, high in pairwise(known)]
        ends = [{"$lt": known[0]}, {"$gt": known[-1]}] if known else [{"$gte": ""}]
        query = {array: {"$elemMatch": {**query, "$or": [{"key_id": texts} for texts in (*gaps, *ends)]}}}
    # Read by MongoDB: of a field that occurs twice in a document, the driver reads the other one.
    named = {"_id": 0, "ids": f"${array}.key_id" if array else "$key_id"}
    found = collection.find_one(query, named) or {"ids": []}
    ids = [key_id for value in _listed(found["ids"]) for key_id in _listed(value)]
    return {key_id for key_id in ids if is_text(key_id)}.difference(known)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def stored_versions(key_id: str) -> int:
    """Return the number of secret versions under the key.

    Newest versions are counted in an index, about a million a second; secrets with older versions are read.
    """
    newest: int = Secret.raw().count_documents({"key_id": key_id})
    # MongoDB also finds a list by its members.
    named = {"$cond": [{"$isArray": "$$this.key_id"}, "$$this.key_id", ["$$this.key_id"]]}
    is_under_it = {"$filter": {"input": "$older", "cond": {"$in": [key_id, named]}}}
    # The service always stores a list. Anything else still names the key, and counts.
    count = {"$cond": [{"$isArray": "$older"}, {"$size": is_under_it}, 1]}
    older = Secret.raw().aggregate(
        [
            {"$match": {"older.key_id": key_id}},
            {"$group": {"_id": None, "count": {"$sum": count}}},
        ]
    )
    return newest + sum(int(found["count"]) for found in older)


def unnamed_versions() -> int:
    """Return the number of secrets with a version that has no valid key ID, and may need any key.

    The service always writes key IDs, so these were removed from outside. They can be put back while the key
    is held. This reads all secrets.
    """
    older = {"$elemMatch": {"key_id": _IS_NO_TEXT}}
    with timeout(_COUNT_TIMEOUT_SECONDS):
        return int(Secret.raw().count_documents({"$or": [{"key_id": _IS_NO_TEXT}, {"older": older}]}))


def unnamed_token_keys() -> int:
    """Return the number of token keys without a valid key ID."""
    return int(StoredTokenKey.raw().count_documents({"key_id": _IS_NO_TEXT}))


def all_versions() -> dict[str, int]:
    """Return the number of secret versions by key ID. It takes long: do not let a request wait for it.

    Versions without a valid key ID have an empty one.
    """
    with timeout(_COUNT_TIMEOUT_SECONDS):
        named = {key_id: stored_versions(key_id) for key_id in stored_key_ids()}
        unnamed = unnamed_versions()
    return named | {"": unnamed} if unnamed else named


def opens_tokens(key_id: str) -> bool:
    """Return whether the token key is encrypted under this key."""
    found: int = StoredTokenKey.objects(key_id=key_id).count()
    return found > 0
