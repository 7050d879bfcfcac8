"""The master keys in use: those of stored secrets, and those that workers claim to encrypt under.

The document of the claims also has the state of the audit trail and of a restore, so that one atomic step
checks and changes all three.
"""

from dataclasses import dataclass
from typing import Any

from mongoengine.connection import get_db
from pymongo import timeout

from vault.crypto import Keyring
from vault.documents.audit import AuditEntry
from vault.documents.base import is_text
from vault.documents.secret import Secret
from vault.documents.token import StoredTokenKey

#: Milliseconds after which a claim expires, unless its worker renews it.
CLAIM_MILLISECONDS = 20_000

#: Timeout of a count over all versions.
_COUNT_TIMEOUT_SECONDS = 600

_COLLECTION = "keys"
_CLAIMS = {"_id": "claims"}
#: In the document of the claims: the backup whose restore is unfinished.
_RESTORED = "restored"
#: In the same document: the state of the audit trail, and its signer. Older versions leave them unchanged.
_TRAIL_ENABLED = "trail.enabled"
_TRAIL_SIGNER = "trail.signer"
#: Newest entries to read signers from if the database does not record the signer yet.
_MAX_RECENT_ENTRIES = 1_000
#: The action of the last entry of a disabled trail.
_DISABLED_ACTION = "audit_disabled"
_IS_FRESH = {"$gt": ["$$this.renewed_at", {"$subtract": ["$$NOW", CLAIM_MILLISECONDS]}]}
_FRESH = {"$filter": {"input": "$workers", "cond": _IS_FRESH}}
#: MongoDB matches a list by its members: a list with a string among them does not match.
_IS_NO_TEXT = {"$not": {"$type": "string"}}
_FRESH_IDS = {"$map": {"input": _FRESH, "in": "$$this.key_id"}}


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's claim: the key that it encrypts under, and the keys that it holds."""

    key_id: str
    held: frozenset[str]


_UNREADABLE = Claim("(unreadable)", frozenset())


@dataclass(frozen=True, slots=True)
class TrailState:
    """The state of the audit trail in the database."""

    #: None if no process has set it yet.
    enabled: bool | None
    #: The signer of the process that last began to write entries; empty if none is recorded.
    signer: str


def stored_key_ids() -> set[str]:
    """Return the IDs of the keys that stored secrets and the token key need; one index seek per key.

    An ID that is not a string belongs to no key: its value does not verify under any.
    """
    secrets = [*Secret.raw().distinct("key_id"), *Secret.raw().distinct("older.key_id")]
    found = [*secrets, *StoredTokenKey.objects.distinct("key_id")]
    return {key_id for key_id in found if is_text(key_id)}


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


def claims() -> list[Claim]:
    """Return the claims of all running workers.

    A malformed claim may stand for a worker, so it becomes one that no process agrees with.
    """
    pipeline: list[dict[str, Any]] = [{"$match": _CLAIMS}, {"$project": {"workers": _FRESH}}]
    found = _collection().aggregate(pipeline)
    return [_claim(stored) for document in found for stored in document["workers"]]


def _claim(stored: dict[str, Any]) -> Claim:
    key_id, held = stored.get("key_id"), stored.get("held")
    if is_text(key_id) and isinstance(held, list) and all(is_text(other) for other in held):
        return Claim(key_id, frozenset(held))
    return _UNREADABLE


def writing_key_ids() -> set[str]:
    """Return the IDs of the keys that running workers encrypt under."""
    return {claim.key_id for claim in claims()}


def claim(keyring: Keyring, worker: str, *, audit_enabled: bool = True) -> bool:
    """Claim that *worker* encrypts under the primary key; return whether the claim holds.

    It holds if *keyring* has every other worker's primary key, each of them holds that of *keyring*, and the
    state of the audit trail is *audit_enabled*. A database without that state gets it. All claims are one
    document, so of workers that start at the same time with different keys, exactly one gets its claim. Times
    are MongoDB's: the machines' clocks do not matter.
    """
    known = [key.id for key in keyring]
    holds = {"$in": [keyring.primary.id, "$$this.held"]}
    held_by_all = {"$allElementsTrue": [{"$map": {"input": _FRESH, "in": holds}}]}
    others = {"$and": [_IS_FRESH, {"$ne": ["$$this.worker", worker]}]}
    own = {"worker": worker, "key_id": keyring.primary.id, "held": known, "renewed_at": "$$NOW"}
    kept = {"$filter": {"input": "$workers", "cond": others}}
    state = {"$ifNull": [f"${_TRAIL_ENABLED}", audit_enabled]}
    agrees = {"$eq": [{"$eq": [state, True]}, audit_enabled]}
    for _ in range(2):
        result = _collection().update_one(
            {
                **_CLAIMS,
                _RESTORED: None,
                "$expr": {"$and": [{"$setIsSubset": [_FRESH_IDS, known]}, held_by_all, agrees]},
            },
            [{"$set": {"workers": {"$concatArrays": [kept, [own]]}, _TRAIL_ENABLED: state}}],
        )
        if result.matched_count:
            return True
        # Either another worker disagrees, or the document does not exist yet.
        _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
    return False


def release(worker: str) -> None:
    """Withdraw the claim of *worker*, which stops serving."""
    _collection().update_one(_CLAIMS, {"$pull": {"workers": {"worker": worker}}})


def begin_restore(backup: str, *, audit_enabled: bool | None) -> bool:
    """Keep workers from serving until `end_restore`.

    *audit_enabled* is the state of the audit trail in the backup; None if the backup does not record it.
    Returns False, and changes nothing, if a worker serves or the restore of another backup is unfinished.
    """
    _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
    free = {**_CLAIMS, _RESTORED: {"$in": [None, backup]}, "$expr": {"$eq": [_FRESH, []]}}
    # A dropped trail may have left another state behind.
    trail = {} if audit_enabled is None else {"enabled": audit_enabled}
    change = {"$set": {_RESTORED: backup, "trail": trail}}
    return bool(_collection().update_one(free, change).matched_count)


def end_restore() -> None:
    """Allow workers to serve again."""
    _collection().update_one(_CLAIMS, {"$unset": {_RESTORED: ""}})


def unfinished_restore() -> str | None:
    """Return the ID of the backup whose restore is unfinished, if any."""
    found: dict[str, str] = _collection().find_one(_CLAIMS) or {}
    return found.get(_RESTORED)


def trail_state() -> TrailState:
    """Return the state of the audit trail; if none is recorded yet, derive it from the newest entry."""
    # By the same expressions as in `claim`, so that both read any stored value alike.
    fields = {"enabled": f"${_TRAIL_ENABLED}", "signer": f"${_TRAIL_SIGNER}"}
    found: dict[str, Any] = next(_collection().aggregate([{"$match": _CLAIMS}, {"$project": fields}]), {})
    enabled = found.get("enabled")
    if enabled is None:
        enabled = _derived_state()
    signer = found.get("signer")
    return TrailState(None if enabled is None else enabled is True, signer if is_text(signer) else "")


def set_trail_enabled(*, enabled: bool) -> None:
    """Enable or disable the audit trail of this database; processes with the other setting stop serving."""
    _set_trail({_TRAIL_ENABLED: enabled})


def begin_trail(signer: str) -> None:
    """Record that *signer* signs entries from now on; a trail without a state becomes enabled."""
    _set_trail({_TRAIL_SIGNER: signer, _TRAIL_ENABLED: {"$ifNull": [f"${_TRAIL_ENABLED}", True]}})


def recent_signers() -> set[str]:
    """Return the signers of the newest entries."""
    newest = AuditEntry.raw().find({}, {"signer": 1}).sort("_id", -1).limit(_MAX_RECENT_ENTRIES)
    return {entry["signer"] for entry in newest if isinstance(entry.get("signer"), str)}


def _derived_state() -> bool | None:
    """Return the state that the newest entry implies; None without entries."""
    # Not by `_id`: within a second, the identifiers of several streams are unordered.
    newest = AuditEntry.raw().find_one({}, {"action": 1}, sort=[("ts", -1)])
    return None if newest is None else newest.get("action") != _DISABLED_ACTION


def _set_trail(changes: dict[str, Any]) -> None:
    # A pipeline replaces a value that is not a document; a plain `$set` would fail.
    workers = {"$ifNull": ["$workers", []]}
    _collection().update_one(_CLAIMS, [{"$set": {"workers": workers, **changes}}], upsert=True)


def _collection() -> Any:
    return get_db()[_COLLECTION]
