"""Principals, scopes, roles and namespaces."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from vault.common import clock
from vault.common.credentials import has_token
from vault.common.networks import Network
from vault.common.paths import ALL_PATHS, Paths

#: The namespace of a principal whose credential names none.
DEFAULT_NAMESPACE = "default"

#: The form of token names and namespaces. They never contain a colon; other kinds of principal names do.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

#: The maximum lifetime, and the longest age, of any token.
MAX_LIFETIME = timedelta(days=10 * 365)


class Scope(StrEnum):
    """A permission to perform one kind of operation."""

    SECRET_CREATE = "secret:create"
    SECRET_FETCH = "secret:fetch"
    #: Record the task that a fetch is for.
    SECRET_DELIVER = "secret:deliver"
    SECRET_UPDATE = "secret:update"
    SECRET_DESCRIBE = "secret:describe"
    #: Delete and restore.
    SECRET_DELETE = "secret:delete"
    #: Permanently destroy a version, or a deleted secret before its recovery period ends.
    SECRET_PURGE = "secret:purge"
    SECRET_LIST = "secret:list"
    #: Create canaries, and see which secrets are canaries.
    CANARY_MANAGE = "canary:manage"
    AUDIT_READ = "audit:read"
    #: Show checkpoints of another installation's trail.
    AUDIT_WITNESS = "audit:witness"
    #: Create, list and revoke tokens; create, list and delete roles for JWTs and their issuers.
    TOKEN_MANAGE = "token:manage"
    #: Create, list, test and delete webhooks.
    WEBHOOK_MANAGE = "webhook:manage"
    #: Create, list, run, pause and delete rotation plans.
    ROTATION_MANAGE = "rotation:manage"
    #: Have a broker use secrets by their use rules. It obtains no value by any call.
    SECRET_USE = "secret:use"
    #: Obtain values to use them for those who have `secret:use`.
    SECRET_BROKER = "secret:broker"


#: The scopes of the two sides of a use. Only an operator's command gives a token one of them, and none both:
#: it would obtain values by its own word. No role has them.
SIDES_OF_USE = frozenset({Scope.SECRET_USE, Scope.SECRET_BROKER})

#: The scopes of an administrator.
ALL_RIGHTS = frozenset(Scope) - SIDES_OF_USE


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The acting party: a token, a JWT subject, an anonymous caller.

    It sees only its own namespace, and of that only its paths.
    """

    name: str
    namespace: str = DEFAULT_NAMESPACE
    scopes: frozenset[Scope] = frozenset()
    #: The names of the secrets that it can reach.
    paths: Paths = ALL_PATHS
    #: True if `audit:read` shows it the entries of all namespaces, although its own is not the default one.
    all_namespaces: bool = False
    #: False for anonymous callers. They can reach a secret by ID only: names can be guessed, IDs cannot.
    authenticated: bool = True
    #: The networks from which the credential is valid; empty: from anywhere.
    networks: tuple[Network, ...] = ()
    #: The credential's expiry, in UTC.
    expires_at: datetime | None = None
    #: The role that a JWT acts with, and its issuer; empty for all others.
    role: str = ""
    issuer: str = ""
    #: The ID of its token, which is a keyed hash; empty for all other principals.
    token_id: str = field(default="", repr=False)

    @property
    def is_expired(self) -> bool:
        """True if its credential has expired."""
        return self.expires_at is not None and self.expires_at <= clock.now()

    @property
    def has_all_rights(self) -> bool:
        """True if it has every scope of an administrator, for all secrets of its namespace."""
        return self.scopes >= ALL_RIGHTS and not self.paths

    @property
    def sees_all_entries(self) -> bool:
        """True if `audit:read` shows it the whole trail; otherwise, the part of its namespace and paths."""
        return not self.paths and (self.all_namespaces or self.namespace == DEFAULT_NAMESPACE)

    def reaches(self, namespace: str, name: str | None) -> bool:
        """Return whether it can reach a secret of *namespace* with *name*, or without a name."""
        return namespace == self.namespace and self.paths.include(name)


#: A caller without a credential. It has the scopes for which knowing the ID is enough.
ANONYMOUS = Principal(
    name="anonymous",
    scopes=frozenset(
        {
            Scope.SECRET_CREATE,
            Scope.SECRET_FETCH,
            Scope.SECRET_UPDATE,
            Scope.SECRET_DESCRIBE,
            Scope.SECRET_DELETE,
        }
    ),
    authenticated=False,
)

#: The service itself.
SERVICE = Principal(name="service")

#: An operator who runs a command.
OPERATOR = Principal(name="operator", scopes=frozenset(Scope))

#: A caller without a credential, if `AUTH_ENABLED` requires one.
UNAUTHENTICATED = Principal(name=ANONYMOUS.name, authenticated=False)

#: Names that no token may have.
RESERVED_NAMES = frozenset(principal.name for principal in (ANONYMOUS, SERVICE, OPERATOR))

_READER = frozenset({Scope.SECRET_FETCH, Scope.SECRET_DESCRIBE, Scope.SECRET_LIST})
_WRITER = _READER | {Scope.SECRET_CREATE, Scope.SECRET_UPDATE, Scope.SECRET_DELETE}

#: Roles: named sets of scopes.
ROLES: dict[str, frozenset[Scope]] = {
    "reader": _READER,
    "writer": _WRITER,
    "driver": frozenset({Scope.SECRET_FETCH, Scope.SECRET_DELIVER}),
    "auditor": frozenset({Scope.AUDIT_READ}),
    "admin": ALL_RIGHTS,
}


_ROLES_BY_SCOPES = {frozenset(map(str, scopes)): role for role, scopes in ROLES.items()}


def role_of(scopes: Iterable[str]) -> str | None:
    """Return the role with exactly these *scopes*, if one has them."""
    return _ROLES_BY_SCOPES.get(frozenset(scopes))


def plain_name(name: str, namespace: str) -> str:
    """Return the *name* of a principal within its *namespace*; names of JWTs stay whole."""
    return name if ":" in name else name.removeprefix(f"{namespace}/")


def is_name(text: str) -> bool:
    """Return whether *text* is a valid name for a token or a namespace."""
    # Not `match`: there, `$` accepts a trailing newline.
    return re.fullmatch(NAME_PATTERN, text) is not None and not has_token(text)


def scopes_named(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes with these *names*; unknown names are ignored."""
    known = set(names)
    return frozenset(scope for scope in Scope if scope in known)
