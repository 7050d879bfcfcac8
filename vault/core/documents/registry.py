"""The master keys that workers claim to encrypt under.

The document of the claims also has the states of the audit trail, of authentication and of a restore, so that
one atomic step checks and changes all of them. It has one element for all workers with the same keys, and one
for each worker of 1.0. In addition, each worker has a document that only it renews.
"""

from collections import Counter
from dataclasses import dataclass
from secrets import token_hex
from socket import gethostname
from time import monotonic
from typing import Any

from bson import ObjectId
from mongoengine.connection import get_db
from pymongo import WriteConcern
from pymongo.read_concern import ReadConcern

from vault import __version__
from vault.core.crypto import Keyring
from vault.core.documents.audit import AuditEntry
from vault.core.documents.base import is_text, text

#: Milliseconds after which a claim expires, unless one of its workers renews it; and after which they do.
CLAIM_MILLISECONDS = 20_000
_RENEWAL_MILLISECONDS = 10_000

#: Milliseconds without a renewal after which a worker has ended. Longer, as a failover can lose renewals.
_ENDED_MILLISECONDS = 40_000

_COLLECTION = "keys"
_CLAIMS = {"_id": "claims"}
#: In the document of the claims: the backup whose restore is unfinished.
_RESTORED = "restored"
#: In the same document: the state of the audit trail, and its signer. Older versions leave them unchanged.
_TRAIL_ENABLED = "trail.enabled"
_TRAIL_SIGNER = "trail.signer"
#: In the same document: whether a process served with authentication, and a value that each claim changes.
_AUTH_ENABLED = "auth.enabled"
_AUTH_CLAIM = "auth.claim"
#: In the same document: whether a keyring file with MACs was served, and the hashes of those without.
_CONFIRMED_SERVED = "custody.confirmed"
_UNCONFIRMED_SERVED = "custody.unconfirmed"
#: Newest entries to read signers from if the database does not record the signer yet.
_MAX_RECENT_ENTRIES = 1_000
#: The action of the last entry of a disabled trail.
_DISABLED_ACTION = "audit_disabled"


def _is_younger(time: str, milliseconds: int = CLAIM_MILLISECONDS) -> dict[str, Any]:
    return {"$gt": [time, {"$subtract": ["$$NOW", milliseconds]}]}


_IS_FRESH = _is_younger("$$this.renewed_at")
#: Of a worker's own document.
_RUNS = _is_younger("$renewed_at")
_MAY_RUN = _is_younger("$renewed_at", _ENDED_MILLISECONDS)
#: A forged value can only stop processes without authentication.
_REQUIRES_AUTH = {"$ne": [{"$ifNull": [f"${_AUTH_ENABLED}", False]}, False]}
_AUTH_CLAIM_VALUE = {"$ifNull": [f"${_AUTH_CLAIM}", ""]}
#: Of a worker's own document. Earlier versions take over a document with the name of the worker before them.
_AUTHENTICATES = {"$eq": ["$auth", "$worker"]}
_FRESH = {"$filter": {"input": "$workers", "cond": _IS_FRESH}}
_FRESH_IDS = {"$map": {"input": _FRESH, "in": "$$this.key_id"}}


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of workers with the same keys: the key that they encrypt under, and those that they hold."""

    key_id: str
    held: frozenset[str]


@dataclass(frozen=True, slots=True)
class ServedFiles:
    """The keyring files that workers have served with."""

    #: Whether a file with MACs was among them.
    confirmed: bool
    #: The hashes of the files without MACs.
    unconfirmed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker runs."""

    #: Its machine or container.
    host: str
    version: str
    #: False of a command.
    serves: bool
    #: The check of readiness that fails since its start or a failed commit of the trail; empty if none does.
    failing: str = ""


_UNREADABLE = Claim("(unreadable)", frozenset())


@dataclass(frozen=True, slots=True)
class TrailState:
    """The state of the audit trail in the database."""

    #: None if no process has set it yet.
    enabled: bool | None
    #: The signer of the process that last began to write entries; empty if none is recorded.
    signer: str


def claims() -> list[Claim]:
    """Return the claims of all running workers.

    A malformed claim may stand for a worker, so it becomes one that no process agrees with.
    """
    return [_claim(element) for element in _fresh_elements()]


def running_workers() -> Counter[Claim]:
    """Return the number of running workers by their claim."""
    # Each once: of two requests that start a worker, each may have written a document.
    distinct = {"$group": {"_id": {"keyring": "$keyring", "worker": "$worker"}}}
    count = {"$group": {"_id": "$_id.keyring", "workers": {"$sum": 1}}}
    found = list(_collection().aggregate([{"$match": {"$expr": _RUNS}}, distinct, count]))
    sharing = {each["_id"]: each["workers"] for each in found if is_text(each["_id"])}
    counted: Counter[Claim] = Counter()
    for element in _fresh_elements():
        # A worker of 1.0 has an element of its own, and an element in use has at least one worker.
        counted[_claim(element)] += sharing.get(text(element.get("worker")), 1)
    return counted


def running_programs() -> Counter[Program]:
    """Return the number of running workers by their program; those of 1.1 and earlier do not name it."""
    # Earlier versions take over a document with the program of the worker before them.
    own = {"$and": [_RUNS, {"$eq": ["$program.worker", "$worker"]}]}
    # By worker, as there can be two documents of one.
    found = {
        text(each.get("worker")): each["program"]
        for each in _collection().find({"program.worker": {"$type": "string"}, "$expr": own})
    }
    names = ("host", "version", "failing")
    return Counter(
        Program(serves=one.get("serves") is True, **{name: text(one.get(name)) for name in names})
        for one in found.values()
    )


def _fresh_elements() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _projected({"workers": _FRESH}).get("workers", [])
    return found


def _claim(stored: dict[str, Any]) -> Claim:
    key_id, held = stored.get("key_id"), stored.get("held")
    if is_text(key_id) and isinstance(held, list) and all(is_text(other) for other in held):
        return Claim(key_id, frozenset(held))
    return _UNREADABLE


def writing_key_ids() -> set[str]:
    """Return the IDs of the keys that running workers encrypt under."""
    return {claim.key_id for claim in claims()}


class Worker:
    """A process that claims that it encrypts under the primary key of *keyring*.

    Whichever of the workers with the same keys looks first renews their claim, so renewals cost the same for
    any number of workers. The last one that stops withdraws it. Times are MongoDB's: the machines' clocks do
    not matter.
    """

    def __init__(
        self, keyring: Keyring, *, audit_enabled: bool = True, auth_enabled: bool | None = None
    ) -> None:
        self._primary, *fallbacks = [key.id for key in keyring]
        self._held = [self._primary, *sorted(fallbacks)]
        self._keyring = " ".join(self._held)
        self._trail_enabled = {"$ifNull": [f"${_TRAIL_ENABLED}", audit_enabled]}
        self._trail_agrees = {"$eq": [{"$eq": [self._trail_enabled, True]}, audit_enabled]}
        self._auth_enabled = auth_enabled
        #: As `Program.failing`.
        self.failing = ""
        self._auth_agrees: Any = {"$not": [_REQUIRES_AUTH]} if auth_enabled is False else True
        self._auth_recorded: Any = _REQUIRES_AUTH if auth_enabled else True
        # Drawn in the process that serves: all workers would share a name from before gunicorn's fork.
        self._name = ""
        self._id: ObjectId | None = None
        #: The time of the last renewal of its document, on the clock of `monotonic`.
        self._renewed = 0.0

    def claim(self) -> bool:
        """Claim the primary key; return whether the claim holds.

        It holds if this keyring has the primary key of every other worker, each of those has this one's
        primary key, no restore is unfinished, and the state of the audit trail is *audit_enabled*. A database
        without that state gets it. True for *auth_enabled* is recorded; with False, the claim holds only
        without that record; with None, authentication does not matter. All claims are one document, so of
        workers that start at the same time with different keys, exactly those with one of the keys get their
        claim.
        """
        # First: a worker that stops meanwhile either sees this document or does not know this claim.
        self._enter()
        own = {"worker": self._keyring, "key_id": self._primary, "held": self._held, "renewed_at": "$$NOW"}
        others = {"$and": [_IS_FRESH, {"$ne": ["$$this.worker", self._keyring]}]}
        kept = {"$filter": {"input": "$workers", "cond": others}}
        workers = {"$concatArrays": [kept, [own | {"claim": token_hex(8)}]]}
        for _ in range(2):
            change = {"workers": workers, _TRAIL_ENABLED: self._trail_enabled}
            if self._auth_enabled:
                change |= {_AUTH_ENABLED: True, _AUTH_CLAIM: token_hex(8)}
            if _collection().update_one(self._agreeing(), [{"$set": change}]).matched_count:
                return True
            # Either another worker disagrees, or the document does not exist yet.
            _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
        self._leave()
        return False

    def renewed_signer(self) -> str | None:
        """Renew the claim; return the trail's signer, empty if the database does not record it.

        Returns None if the claim has expired, or something disagrees: claim again. Otherwise it holds for at
        least half of its duration.
        """
        milliseconds = (monotonic() - self._renewed) * 1_000
        # Later, other workers no longer count this one, and may have withdrawn the claim.
        if milliseconds >= CLAIM_MILLISECONDS:
            return None
        # Without waiting for other members: if a failover loses this renewal, there is time for the next one.
        documents = _collection().with_options(write_concern=WriteConcern(w=1))
        if milliseconds >= _RENEWAL_MILLISECONDS and not self._renew(documents):
            return None
        options: dict[str, Any] = {"projection": {"_id": 0, "signer": f"${_TRAIL_SIGNER}"}}
        # While the claim holds, no other one disagrees.
        # What only this member has, a failover can take back.
        sure = _collection().with_options(read_concern=ReadConcern("majority"))
        found = sure.find_one(self._where(self._has_claim(_RENEWAL_MILLISECONDS)), **options)
        if found is None:
            agreeing = self._agreeing(self._has_claim(CLAIM_MILLISECONDS)) | {"workers.worker": self._keyring}
            renewal = {"$currentDate": {"workers.$.renewed_at": True}}
            found = _collection().find_one_and_update(agreeing, renewal, **options)
        return None if found is None else text(found.get("signer"))

    def release(self) -> None:
        """Stop; withdraw the claim if no other worker shares it."""
        self._leave()
        keys = _collection()
        own = {"$elemMatch": {"worker": self._keyring}}
        found = keys.find_one({**_CLAIMS, "workers": own}, {"workers": own})
        if found and not keys.find_one({"keyring": self._keyring, "$expr": _MAY_RUN}):
            # Not if another one has started since: that claim has another value.
            which = {"worker": self._keyring, "claim": found["workers"][0].get("claim")}
            keys.update_one(_CLAIMS, {"$pull": {"workers": which}})

    def _enter(self) -> None:
        """Renew this worker's document, or take over one of a worker that ended, or insert one.

        So there are no more than workers that ran at a time, and none has to be removed, which the service's
        MongoDB user may not do.
        """
        self._name = self._name or token_hex(8)
        if self._id and self._renew(_collection()):
            return
        program = {
            "worker": self._name,
            "version": __version__,
            "host": {"$literal": gethostname()},
            "serves": self._auth_enabled is not None,
            "failing": self.failing,
        }
        own = {"worker": self._name, "keyring": self._keyring, "renewed_at": "$$NOW", "program": program}
        if self._auth_enabled:
            own["auth"] = self._name
        taken = [{"$set": own}]
        ended = {"worker": {"$exists": True}, "$expr": {"$not": [_MAY_RUN]}}
        self._renewed = monotonic()
        found = _collection().find_one_and_update(ended, taken, projection=["_id"])
        self._id = found["_id"] if found else ObjectId()
        if not found:
            _collection().update_one({"_id": self._id}, taken, upsert=True)

    def _leave(self) -> None:
        _collection().update_many({"worker": self._name}, {"$set": {"renewed_at": None}})

    def _renew(self, documents: Any) -> bool:
        """Renew this worker's document; return False if it has none any more."""
        started = monotonic()
        own = {"_id": self._id, "worker": self._name}
        change = {"$currentDate": {"renewed_at": True}, "$set": {"program.failing": self.failing}}
        found = documents.update_one(own, change).matched_count
        self._renewed = started
        return bool(found)

    def _agreeing(self, *conditions: dict[str, Any]) -> dict[str, Any]:
        """Return the query for the document of the claims if no other claim disagrees."""
        holds = {"$in": [self._primary, "$$this.held"]}
        held_by_all = {"$allElementsTrue": [{"$map": {"input": _FRESH, "in": holds}}]}
        return self._where({"$setIsSubset": [_FRESH_IDS, self._held]}, held_by_all, *conditions)

    def _where(self, *conditions: dict[str, Any]) -> dict[str, Any]:
        """Return the query for it if both states and the *conditions* agree and no restore is unfinished."""
        agreeing = [self._trail_agrees, self._auth_agrees, *conditions]
        return {**_CLAIMS, _RESTORED: None, "$expr": {"$and": agreeing}}

    def _has_claim(self, milliseconds: int) -> dict[str, Any]:
        is_own = {"$eq": ["$$this.worker", self._keyring]}
        is_young = _is_younger("$$this.renewed_at", milliseconds)
        has_own = {"$anyElementTrue": [{"$map": {"input": "$workers", "in": {"$and": [is_own, is_young]}}}]}
        return {"$and": [has_own, self._auth_recorded]}


def begin_restore(backup: str, *, audit_enabled: bool | None, auth_enabled: bool = False) -> bool:
    """Keep workers from serving until `end_restore`.

    *audit_enabled* is the state of the audit trail in the backup; None if the backup does not record it.
    *auth_enabled* is whether the backup records that a process served with authentication.
    Returns False, and changes nothing, if a worker serves or the restore of another backup is unfinished.
    """
    _collection().update_one(_CLAIMS, {"$setOnInsert": {"workers": []}}, upsert=True)
    free = {**_CLAIMS, _RESTORED: {"$in": [None, backup]}, "$expr": {"$eq": [_FRESH, []]}}
    # A dropped trail may have left another state behind.
    trail = {} if audit_enabled is None else {"enabled": audit_enabled}
    change: dict[str, Any] = {_RESTORED: backup, "trail": trail}
    if auth_enabled:
        change["auth"] = {"enabled": True}
    return bool(_collection().update_one(free, {"$set": change}).matched_count)


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
    found = _projected(fields)
    enabled = found.get("enabled")
    if enabled is None:
        enabled = _derived_state()
    signer = found.get("signer")
    return TrailState(None if enabled is None else enabled is True, signer if is_text(signer) else "")


def requires_auth() -> bool:
    """Return whether a process has served with authentication, so that none serves without it."""
    return bool(_projected({"found": _REQUIRES_AUTH}).get("found"))


def auth_claim() -> Any:
    """Return a value that each claim of a process with authentication changes."""
    return _projected({"found": _AUTH_CLAIM_VALUE}).get("found")


def runs_with_auth() -> bool:
    """Return whether a process with authentication may be running."""
    running = {"worker": {"$exists": True}, "$expr": {"$and": [_MAY_RUN, _AUTHENTICATES]}}
    return _collection().find_one(running, {"_id": 1}) is not None


def disable_auth(claim: Any) -> bool:
    """Reset what `requires_auth` returns, unless a process with authentication claimed since *claim*.

    Returns False if one did, and changes nothing.
    """
    unclaimed = {**_CLAIMS, "$expr": {"$eq": [_AUTH_CLAIM_VALUE, {"$literal": claim}]}}
    return bool(_collection().update_one(unclaimed, {"$set": {"auth": {"enabled": False}}}).matched_count)


def set_trail_enabled(*, enabled: bool) -> None:
    """Enable or disable the audit trail of this database; processes with the other setting stop serving."""
    _set({_TRAIL_ENABLED: enabled})


def begin_trail(signer: str) -> None:
    """Record that *signer* signs entries from now on; a trail without a state becomes enabled."""
    _set({_TRAIL_SIGNER: signer, _TRAIL_ENABLED: {"$ifNull": [f"${_TRAIL_ENABLED}", True]}})


def served_files() -> ServedFiles:
    """Return the keyring files that workers have served with."""
    fields = {"confirmed": f"${_CONFIRMED_SERVED}", "unconfirmed": f"${_UNCONFIRMED_SERVED}"}
    found = _projected(fields)
    digests = found.get("unconfirmed")
    listed = digests if isinstance(digests, list) else []
    return ServedFiles(found.get("confirmed") is True, frozenset(filter(is_text, listed)))


def add_served_file(digest: str, *, is_confirmed: bool) -> None:
    """Record that a worker serves with the keyring file with *digest*, which its keys confirm or not."""
    if is_confirmed:
        _set({_CONFIRMED_SERVED: True})
        return
    listed = {"$cond": [{"$isArray": f"${_UNCONFIRMED_SERVED}"}, f"${_UNCONFIRMED_SERVED}", []]}
    _set({_UNCONFIRMED_SERVED: {"$setUnion": [listed, [digest]]}})


def recent_signers() -> set[str]:
    """Return the signers of the newest entries."""
    newest = AuditEntry.raw().find({}, {"signer": 1}).sort("_id", -1).limit(_MAX_RECENT_ENTRIES)
    return {entry["signer"] for entry in newest if isinstance(entry.get("signer"), str)}


def _derived_state() -> bool | None:
    """Return the state that the newest entry implies; None without entries."""
    # Not by `_id`: within a second, the identifiers of several streams are unordered.
    newest = AuditEntry.raw().find_one({}, {"action": 1}, sort=[("ts", -1)])
    return None if newest is None else newest.get("action") != _DISABLED_ACTION


def _projected(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* of the document of the claims; none if it does not exist."""
    found = _collection().aggregate([{"$match": _CLAIMS}, {"$project": fields}])
    return next(found, {})


def _set(changes: dict[str, Any]) -> None:
    # A pipeline replaces a value that is not a document; a plain `$set` would fail.
    workers = {"$ifNull": ["$workers", []]}
    _collection().update_one(_CLAIMS, [{"$set": {"workers": workers, **changes}}], upsert=True)


def _collection() -> Any:
    return get_db()[_COLLECTION]
