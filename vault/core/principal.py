"""Who acts, and what they may do."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vault.core.networks import Network

#: The namespace of whoever has not been given one.
DEFAULT_NAMESPACE = "default"


#: The form of tokens' names and of namespaces. A colon never is in one: names of other kinds have one.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Scope(StrEnum):
    """What a principal may do, one name a kind of operation."""

    SECRET_CREATE = "secret:create"
    SECRET_FETCH = "secret:fetch"
    SECRET_UPDATE = "secret:update"
    SECRET_DESCRIBE = "secret:describe"
    #: Delete and restore.
    SECRET_DELETE = "secret:delete"
    #: Destroy a version, or a deleted secret, before its time. It cannot be undone.
    SECRET_PURGE = "secret:purge"
    SECRET_LIST = "secret:list"
    AUDIT_READ = "audit:read"
    #: Make, list and revoke tokens.
    TOKEN_MANAGE = "token:manage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who acts. It sees the secrets of its own namespace only."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    scopes: frozenset[Scope] = frozenset()
    #: Whether a credential says who this is. Without one, an id is all that opens a secret: names can be
    #: guessed, ids cannot.
    authenticated: bool = True
    #: Where the credential counts; anywhere if there are none.
    networks: tuple[Network, ...] = ()
    #: UTC; from then on the credential does not count.
    expires_at: datetime | None = None


#: Whoever sends a request without a credential: may do what an id is authority enough for.
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

#: What the service does by itself.
SERVICE = Principal(name="service")

#: Commands that are run on the machine itself.
OPERATOR = Principal(name="operator", scopes=frozenset(Scope))

#: Whoever sends no credential where one is asked for.
UNAUTHENTICATED = Principal(name=ANONYMOUS.name, authenticated=False)

#: Names that no token may have.
RESERVED_NAMES = frozenset(principal.name for principal in (ANONYMOUS, SERVICE, OPERATOR))

_READER = frozenset({Scope.SECRET_FETCH, Scope.SECRET_DESCRIBE, Scope.SECRET_LIST})
_WRITER = _READER | {Scope.SECRET_CREATE, Scope.SECRET_UPDATE, Scope.SECRET_DELETE}

#: A role is nothing but a name for some scopes.
ROLES: dict[str, frozenset[Scope]] = {
    "reader": _READER,
    "writer": _WRITER,
    "auditor": frozenset({Scope.AUDIT_READ}),
    "admin": frozenset(Scope),
}


def is_name(text: str) -> bool:
    """Return whether *text* can name a token or a namespace."""
    # Not `match`: there, `$` lets a line feed through.
    return re.fullmatch(NAME_PATTERN, text) is not None


def scopes_named(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes that have exactly these *names*; other names give nothing."""
    known = set(names)
    return frozenset(scope for scope in Scope if scope in known)
