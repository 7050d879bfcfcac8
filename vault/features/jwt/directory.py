"""The stored issuers and roles as a process knows them, at most 3 seconds old."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from time import monotonic
from typing import Any, Generic, TypeVar

from vault.common.batching import Batcher
from vault.common.greenlets import wait_until_idle
from vault.common.networks import Network
from vault.common.paths import Paths
from vault.core.access.token_keys import TokenKeys
from vault.core.crypto.encoding import joined
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.sealed import SealedDocument
from vault.core.principal import Scope, is_name, scopes_named
from vault.features.jwt.claims import Condition, conditions
from vault.features.jwt.documents import Issuer, Role
from vault.features.jwt.verification import Claims, JWTVerifier, key_source

logger = logging.getLogger(__name__)

#: Seconds that issuers and roles are cached; a margin below the 5 seconds in which a change takes effect.
CACHE_SECONDS = 3.0

#: The name of the issuer in the settings.
SETTINGS_ISSUER = "default"

MAX_ISSUERS = 32
MAX_ROLES = 1_000

#: As long as the random IDs of stored issuers.
_ID_CHARACTERS = 32

#: Documents that are read: more than the service stores, in case others were added without it.
_MAX_READ = 2 * (MAX_ISSUERS + MAX_ROLES)

_Document = TypeVar("_Document", bound=SealedDocument)
_Built = TypeVar("_Built")


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """A genuine issuer, with its keys."""

    id: str
    name: str
    verifier: JWTVerifier
    #: True for the issuer in the settings.
    is_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRole:
    """A genuine role."""

    #: As it is stored: outside the default namespace it begins with the namespace.
    name: str
    namespace: str
    issuer_id: str
    conditions: tuple[Condition, ...]
    scopes: frozenset[Scope]
    paths: Paths
    all_namespaces: bool
    networks: tuple[Network, ...]
    #: The longest age of a JWT.
    max_age: timedelta
    expires_at: datetime | None

    def applies(self, claims: Claims) -> bool:
        """Return whether *claims* satisfy all conditions."""
        return all(condition.holds(claims) for condition in self.conditions)

    def lapses(self, issued_at: datetime | None, now: datetime) -> list[str]:
        """Return the reasons why no JWT issued at this time can act with this role; empty without any."""
        wrong = ["expired"] if self.expires_at and self.expires_at <= now else []
        ends = self.latest_use(issued_at)
        if ends is None:
            wrong.append("claim iat")
        elif ends <= now:
            wrong.append("too old")
        return wrong

    def mismatches(self, claims: Claims, issued_at: datetime | None, now: datetime) -> list[str]:
        """Return the reasons why a JWT with *claims* cannot act with this role; empty if it can."""
        wrong = [f"claim {condition.key}" for condition in self.conditions if not condition.holds(claims)]
        return wrong + self.lapses(issued_at, now)

    def latest_use(self, issued_at: datetime | None) -> datetime | None:
        """Return the time until which a JWT issued at this time is young enough, if there is one."""
        return issued_at and issued_at + self.max_age


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The issuers and roles at one moment."""

    #: Genuine issuers by the `iss` of their JWTs.
    issuers: Mapping[str, Sequence[KnownIssuer]] = field(default_factory=dict)
    #: Genuine roles by the ID of their issuer, and by their name.
    roles: Mapping[str, Mapping[str, KnownRole]] = field(default_factory=dict)
    #: Names of issuers, and of roles, whose documents are not as the service wrote them.
    altered_issuers: tuple[str, ...] = ()
    altered_roles: tuple[str, ...] = ()
    #: True if there were more documents than are read.
    is_truncated: bool = False

    @property
    def has_all_roles(self) -> bool:
        """True unless a role may exist that is not in `roles`, with any conditions."""
        return not (self.altered_roles or self.is_truncated)

    @property
    def is_empty(self) -> bool:
        """True if nothing is stored."""
        return not (self.issuers or self.roles or self.altered_issuers or self.altered_roles)


class _Kept(Generic[_Document, _Built]):
    """The documents of one class as they were last read, each with the object built from it.

    A document that has not changed is neither verified nor built again, so an issuer keeps its keys.
    """

    def __init__(self, kind: type[_Document], build: Callable[[_Document], _Built]) -> None:
        self._kind = kind
        self._build = build
        self._built: dict[str, tuple[dict[str, Any], _Built | None]] = {}
        self._key: TokenKey | None = None
        #: Names of altered documents.
        self.altered: list[str] = []

    def update(self, documents: Sequence[dict[str, Any]], key: TokenKey | None) -> list[_Built]:
        """Return the objects built from the genuine *documents*; without *key*, none is genuine."""
        if key is not self._key:
            self._built, self._key = {}, key
        built = {}
        for document in documents:
            # As text: an ID can have any type in the database.
            identifier = repr(document["_id"])
            pair = self._built.get(identifier)
            if pair is None or pair[0] != document:
                pair = document, self._verified(document, key)
            built[identifier] = pair
        self._built = built
        self.altered = [shown_name(document) for document, result in built.values() if result is None]
        return [result for _, result in built.values() if result is not None]

    def _verified(self, document: dict[str, Any], key: TokenKey | None) -> _Built | None:
        if stored := self._kind.genuine(document, key):
            return self._build(stored)
        kind = self._kind.__name__.lower()
        logger.error(
            "a stored issuer or role is not as the service wrote it: %s %s", kind, shown_name(document)
        )
        return None


class Directory:
    """The stored issuers and roles, read on demand in one query, at most once in `CACHE_SECONDS`."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._issuers = _Kept(Issuer, _issuer)
        self._roles = _Kept(Role, _role)
        self._snapshot = Snapshot()
        self._read_at = -float("inf")
        # Concurrent requests share one read.
        self._reads: Batcher[None, Snapshot] = Batcher(self._read, gather=wait_until_idle, queue="roles")

    def current(self) -> Snapshot:
        """Return the issuers and roles, at most `CACHE_SECONDS` old.

        Raises:
            StorageUnavailableError: MongoDB is not available.
            KeyMissingError: This process must not serve.
            DecryptionError: The stored token key does not verify.
            OverloadedError: Too many requests are waiting for it.
        """
        return self._snapshot if self._is_fresh() else self._reads.call(None)

    def _is_fresh(self) -> bool:
        return monotonic() - self._read_at < CACHE_SECONDS

    def _read(self, calls: Sequence[None]) -> Sequence[Snapshot]:
        if not self._is_fresh():
            since = monotonic()
            self._snapshot = self._load(self._keys.find())
            self._read_at = since
        return [self._snapshot] * len(calls)

    def _load(self, key: TokenKey | None) -> Snapshot:
        stored: dict[str, list[dict[str, Any]]] = {"issuer": [], "role": []}
        with storage_errors():
            for row in Issuer.raw().aggregate(_PIPELINE):
                [(kind, document)] = row.items()
                stored[kind].append(document)
        issuers: dict[str, list[KnownIssuer]] = {}
        for issuer in self._issuers.update(stored["issuer"], key):
            issuers.setdefault(issuer.verifier.issuer, []).append(issuer)
        roles: dict[str, dict[str, KnownRole]] = {}
        for role in self._roles.update(stored["role"], key):
            roles.setdefault(role.issuer_id, {})[role.name] = role
        return Snapshot(
            issuers,
            roles,
            tuple(self._issuers.altered),
            tuple(self._roles.altered),
            is_truncated=sum(map(len, stored.values())) == _MAX_READ,
        )


#: Both collections in one query.
_PIPELINE: list[dict[str, Any]] = [
    {"$match": {"pending": None}},
    {"$project": {"_id": 0, "issuer": "$$ROOT"}},
    {
        "$unionWith": {
            "coll": Role.collection_name(),
            "pipeline": [{"$match": {"pending": None}}, {"$project": {"_id": 0, "role": "$$ROOT"}}],
        }
    },
    {"$limit": _MAX_READ},
]


def _issuer(stored: Issuer) -> KnownIssuer:
    verifier = JWTVerifier(
        key_source(stored.jwks_url, stored.public_key),
        issuer=stored.issuer,
        audience=stored.audience,
        algorithms=tuple(stored.algorithms),
    )
    return KnownIssuer(stored.id, stored.name, verifier)


def _role(stored: Role) -> KnownRole:
    return KnownRole(
        name=stored.name,
        namespace=stored.namespace,
        issuer_id=stored.issuer_id,
        conditions=conditions(stored.claims, stored.claim_globs),
        scopes=scopes_named(stored.scopes),
        paths=Paths.of(stored.paths),
        all_namespaces=not stored.own_entries_only,
        networks=tuple(ip_network(text) for text in stored.networks),
        max_age=timedelta(seconds=stored.max_age),
        expires_at=stored.expires_at,
    )


def settings_issuer_id(verifier: JWTVerifier) -> str:
    """Return the ID of the issuer in the settings. Another issuer there does not get its roles."""
    parts = joined(b"settings issuer", verifier.issuer.encode(), verifier.audience.encode())
    return sha256(parts).hexdigest()[:_ID_CHARACTERS]


def shown_name(document: Mapping[str, Any]) -> str:
    """Return the name in an altered *document* if it has the form of one."""
    name = document.get("name")
    parts = name.split("/") if isinstance(name, str) else []
    return str(name) if 0 < len(parts) <= 2 and all(map(is_name, parts)) else "(without a name)"
