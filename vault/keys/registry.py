"""Which master keys are in use: those that stored secrets need, and those that replicas write under now.

The document of the claims also has the state of the audit trail, so that both are one atomic step.
"""

from dataclasses import dataclass
from typing import Any

from mongoengine.connection import get_db
from pymongo import timeout

from vault.crypto import Keyring
from vault.documents.audit import AuditEntry
from vault.documents.secret import Secret
from vault.documents.token import StoredTokenKey

#: Milliseconds after which a replica that has not claimed its key again no longer counts as writing.
CLAIM_MILLISECONDS = 20_000

#: Seconds that the counting of all versions may take.
_COUNT_TIMEOUT_SECONDS = 600

_COLLECTION = "keys"
_CLAIMS = {"_id": "claims"}
#: Beside the claims, and so in one atomic step with them: the backup whose restore has not come to its end.
_RESTORED = "restored"
#: Beside them, too: whether there is an audit trail, and who signs it. Older versions leave it as it is.
_TRAIL_ENABLED = "trail.enabled"
_TRAIL_SIGNER = "trail.signer"
#: Newest entries whose signers are looked at where the database does not say yet who signs the trail.
_MAX_RECENT_ENTRIES = 1_000
#: The last entry of a trail that was disabled.
_DISABLED_ACTION = "audit_disabled"
_IS_FRESH = {"$gt": ["$$this.renewed_at", {"$subtract": ["$$NOW", CLAIM_MILLISECONDS]}]}
_FRESH = {"$filter": {"input": "$workers", "cond": _IS_FRESH}}
#: Of a list its members count: one with a text among them is found by that.
_IS_NO_TEXT = {"$not": {"$type": "string"}}
_FRESH_IDS = {"$map": {"input": _FRESH, "in": "$$this.key_id"}}


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker process's word: which key it encrypts under, and which it holds."""

    key_id: str
    held: frozenset[str]


_UNREADABLE = Claim("(unreadable)", frozenset())


@dataclass(frozen=True, slots=True)
class TrailState:
    """The state of the audit trail, as the database has it."""

    #: None where no process has decided it yet.
    enabled: bool | None
    #: The signer of the process that last began to write entries; empty where no process has said so yet.
    signer: str


def stored_key_ids() -> set[str]:
    """Return the ids of the keys that stored secrets and the token key need; one index seek a key.

    What is no text no key has as its id: what claims such a one does not verify, and needs none.
    """
    secrets = [*Secret.raw().distinct("key_id"), *Secret.raw().distinct("older.key_id")]
    found = [*secrets, *StoredTokenKey.objects.distinct("key_id")]
    return {key_id for key_id in found if isinstance(key_id, str)}


def stored_versions(key_id: str) -> int:
    """Return how many secret versions need the key.

    For newest versions it counts index entries, about a million a second; secrets with older ones it reads.
    """
    newest: int = Secret.raw().count_documents({"key_id": key_id})
    # In a list, too: that is how MongoDB finds it.
    named = {"$cond": [{"$isArray": "$$this.key_id"}, "$$this.key_id", ["$$this.key_id"]]}
    is_under_it = {"$filter": {"input": "$older", "cond": {"$in": [key_id, named]}}}
    # What is no list somebody else put there; it still says that it needs the key.
    count = {"$cond": [{"$isArray": "$older"}, {"$size": is_under_it}, 1]}
    older = Secret.raw().aggregate(
        [
            {"$match": {"older.key_id": key_id}},
            {"$group": {"_id": None, "count": {"$sum": count}}},
        ]
    )
    return newest + sum(int(found["count"]) for found in older)


def unnamed_versions() -> int:
    """Return how many secrets have a version whose key id is no text: which key it needs cannot be told.

    The service always writes one, so somebody else took it away; it can be put back while the key is held.
    It reads all secrets.
    """
    older = {"$elemMatch": {"key_id": _IS_NO_TEXT}}
    with timeout(_COUNT_TIMEOUT_SECONDS):
        return int(Secret.raw().count_documents({"$or": [{"key_id": _IS_NO_TEXT}, {"older": older}]}))


def unnamed_token_keys() -> int:
    """Return the same of the token key."""
    return int(StoredTokenKey.raw().count_documents({"key_id": _IS_NO_TEXT}))


def all_versions() -> dict[str, int]:
    """Return how many secret versions need each of the keys that are needed. Nobody should wait for it.

    Those that do not tell which key they need have an empty id.
    """
    with timeout(_COUNT_TIMEOUT_SECONDS):
        named = {key_id: stored_versions(key_id) for key_id in stored_key_ids()}
        unnamed = unnamed_versions()
    return named | {"": unnamed} if unnamed else named


def opens_tokens(key_id: str) -> bool:
    """Return whether the token key is under this key."""
    found: int = StoredTokenKey.objects(key_id=key_id).count()
    return found > 0


def claims() -> list[Claim]:
    """Return the claims of all workers that run now.

    What no worker wrote there is a claim that no process fits: it may stand for one.
    """
    pipeline: list[dict[str, Any]] = [{"$match": _CLAIMS}, {"$project": {"workers": _FRESH}}]
    found = _collection().aggregate(pipeline)
    return [_claim(stored) for document in found for stored in document["workers"]]


def _claim(stored: dict[str, Any]) -> Claim:
    key_id, held = stored.get("key_id"), stored.get("held")
    if isinstance(key_id, str) and isinstance(held, list) and all(isinstance(other, str) for other in held):
        return Claim(key_id, frozenset(held))
    return _UNREADABLE


def writing_key_ids() -> set[str]:
    """Return the ids of the keys that workers encrypt under now."""
    return {claim.key_id for claim in claims()}


def claim(keyring: Keyring, worker: str, *, audit_enabled: bool = True) -> bool:
    """Say that *worker* encrypts under the primary key, unless it and another could not read each other.

    Returns whether the claim holds: every other worker's primary key is in *keyring*, and each of them holds
    the one of *keyring*; and the state of the audit trail is *audit_enabled*, which becomes the state of a
    database that has none. All claims are one document, so of workers that start at once with different keys
    exactly one gets its claim. Times are MongoDB's: clocks of machines do not matter.
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
        # Either another worker is in the way, or nobody has claimed anything yet.
        _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
    return False


def release(worker: str) -> None:
    """Take back the claim of *worker*, which serves no more."""
    _collection().update_one(_CLAIMS, {"$pull": {"workers": {"worker": worker}}})


def begin_restore(backup: str, *, audit_enabled: bool | None) -> bool:
    """Let no worker serve until `end_restore`; return False if one does, or another *backup* is restored.

    *audit_enabled* is the state of the audit trail that the backup has; None where the backup does not tell.
    """
    _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
    free = {**_CLAIMS, _RESTORED: {"$in": [None, backup]}, "$expr": {"$eq": [_FRESH, []]}}
    # The state of a trail that was dropped is not that of the one in the backup.
    trail = {} if audit_enabled is None else {"enabled": audit_enabled}
    change = {"$set": {_RESTORED: backup, "trail": trail}}
    return bool(_collection().update_one(free, change).matched_count)


def end_restore() -> None:
    """Let workers serve."""
    _collection().update_one(_CLAIMS, {"$unset": {_RESTORED: ""}})


def unfinished_restore() -> str | None:
    """Return the backup whose restore has not come to its end, if there is one."""
    found: dict[str, str] = _collection().find_one(_CLAIMS) or {}
    return found.get(_RESTORED)


def trail_state() -> TrailState:
    """Return the state of the audit trail; where the database has none yet, what the newest entry tells."""
    # Through the same expressions as the claim: to both, whatever is stored there has to be the same.
    fields = {"enabled": f"${_TRAIL_ENABLED}", "signer": f"${_TRAIL_SIGNER}"}
    found: dict[str, Any] = next(_collection().aggregate([{"$match": _CLAIMS}, {"$project": fields}]), {})
    enabled = found.get("enabled")
    if enabled is None:
        enabled = _derived_state()
    signer = found.get("signer")
    return TrailState(None if enabled is None else enabled is True, signer if isinstance(signer, str) else "")


def set_trail_enabled(*, enabled: bool) -> None:
    """Enable or disable the audit trail of this database; processes that disagree stop serving."""
    _set_trail({_TRAIL_ENABLED: enabled})


def begin_trail(signer: str) -> None:
    """Record that *signer* signs entries from now on; if the state is not decided yet, it is enabled."""
    _set_trail({_TRAIL_SIGNER: signer, _TRAIL_ENABLED: {"$ifNull": [f"${_TRAIL_ENABLED}", True]}})


def recent_signers() -> set[str]:
    """Return the signers of the newest entries."""
    newest = AuditEntry.raw().find({}, {"signer": 1}).sort("_id", -1).limit(_MAX_RECENT_ENTRIES)
    return {entry["signer"] for entry in newest if isinstance(entry.get("signer"), str)}


def _derived_state() -> bool | None:
    """Return the state that the newest entry tells; None if there is no entry."""
    # Not by `_id`: within a second those of several streams are in no order.
    newest = AuditEntry.raw().find_one({}, {"action": 1}, sort=[("ts", -1)])
    return None if newest is None else newest.get("action") != _DISABLED_ACTION


def _set_trail(changes: dict[str, Any]) -> None:
    # As a pipeline: it replaces a value there that is not a document, where a plain `$set` would fail.
    workers = {"$ifNull": ["$workers", []]}
    _collection().update_one(_CLAIMS, [{"$set": {"workers": workers, **changes}}], upsert=True)


def _collection() -> Any:
    return get_db()[_COLLECTION]
