"""Who acts, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from vault.documents.secret import DEFAULT_NAMESPACE


class Scope(StrEnum):
    """What a principal may do, one name a kind of operation."""

    SECRET_CREATE = "secret:create"
    SECRET_FETCH = "secret:fetch"
    SECRET_UPDATE = "secret:update"
    SECRET_DESCRIBE = "secret:describe"
    #: Delete and restore.
    SECRET_DELETE = "secret:delete"
    SECRET_LIST = "secret:list"
    AUDIT_READ = "audit:read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who acts. It sees the secrets of its own namespace only."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    scopes: frozenset[Scope] = frozenset()
    #: Whether a credential says who this is. Without one, an id is all that opens a secret: names can be
    #: guessed, ids cannot.
    authenticated: bool = True


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
OPERATOR = Principal(name="operator")
