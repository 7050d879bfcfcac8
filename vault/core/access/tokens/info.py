"""The public fields of tokens, and of the credential of a principal."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vault.core.access.entries import sees_all
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.token import Token
from vault.core.principal import MAX_LIFETIME, OPERATOR, Principal, plain_name, scopes_named

#: The states of a token; `altered`: its document is not as the service wrote it.
STATES = ("active", "expired", "revoked", "altered")

#: The kinds of credentials.
KINDS = ("token", "jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """The public fields of a token."""

    name: str
    #: One of `STATES`.
    state: str
    namespace: str
    scopes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    #: Empty without a limit.
    paths: tuple[str, ...] = ()
    #: True if `audit:read` shows it the entries of all namespaces.
    all_namespaces: bool = False
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    #: No renewal extends it beyond this time; None if it cannot be renewed.
    renewable_until: datetime | None = None
    revoked_at: datetime | None = None
    #: Informational: the seal does not cover it.
    last_used_at: datetime | None = None

    def is_unused(self, since: datetime) -> bool:
        """Return whether it is active, and was neither created nor used after *since*."""
        latest = self.last_used_at or self.created_at
        return self.state == "active" and latest is not None and latest <= since


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInfo:
    """The public fields of a principal and its credential. Only a token has the fields after `role`."""

    #: The name in the audit trail.
    principal: str
    #: One of `KINDS`.
    kind: str
    namespace: str
    scopes: tuple[str, ...]
    paths: tuple[str, ...]
    networks: tuple[str, ...]
    expires_at: datetime | None
    #: The role that a JWT acts with.
    role: str | None = None
    renewable_until: datetime | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    last_used_at: datetime | None = None
    #: Identifies a token to administrators; it is no credential.
    accessor: str = ""
    #: True if no other credential is its parent.
    is_orphan: bool = True
    #: The time from each renewal to its end, of a periodic token.
    period: timedelta | None = None

    @classmethod
    def of_principal(cls, principal: Principal) -> "CredentialInfo":
        """Return the fields of a *principal* with a JWT."""
        return cls(
            principal=principal.name,
            kind="jwt",
            namespace=principal.namespace,
            scopes=tuple(sorted(principal.scopes)),
            paths=principal.paths.texts,
            networks=tuple(map(str, principal.networks)),
            expires_at=principal.expires_at,
            role=principal.role or None,
        )

    @classmethod
    def of_token(cls, token: Token) -> "CredentialInfo":
        """Return the fields of a genuine *token*."""
        return cls(
            principal=token.name,
            kind="token",
            scopes=tuple(sorted(scopes_named(token.scopes))),
            accessor=token.accessor,
            is_orphan=bool(token.orphan) or token.created_by == OPERATOR.name,
            period=_period(token) if token.periodic else None,
            **_fields_of_both(token),
        )

    @property
    def plain_name(self) -> str:
        """The name within its namespace."""
        return plain_name(self.principal, self.namespace)

    @property
    def renewable(self) -> bool:
        """True if it can extend itself."""
        return self.renewable_until is not None

    @property
    def longest_age(self) -> timedelta | None:
        """The age beyond which no renewal extends it; None for the age that no token may exceed."""
        if self.renewable_until is None or self.created_at is None:
            return None
        age = self.renewable_until - self.created_at
        return age if age < MAX_LIFETIME else None


def info_of(token: Token, key: TokenKey | None, now: datetime) -> TokenInfo:
    """Return the public fields of *token*."""
    if key is None or not token.is_genuine(key):
        # No other field can be trusted, not even its type.
        return TokenInfo(name=token.plain_name, state="altered", namespace=str(token.namespace))
    state = "active"
    if token.revoked_at:
        state = "revoked"
    elif token.expires_at and token.expires_at <= now:
        state = "expired"
    return TokenInfo(
        name=token.plain_name,
        state=state,
        scopes=tuple(token.scopes),
        all_namespaces=sees_all(token),
        revoked_at=token.revoked_at,
        **_fields_of_both(token),
    )


def _fields_of_both(token: Token) -> dict[str, Any]:
    return {
        "namespace": token.namespace,
        "networks": tuple(token.networks),
        "paths": tuple(token.paths or ()),
        "created_at": token.created_at,
        "created_by": plain_name(token.created_by, token.namespace),
        "expires_at": token.expires_at,
        "renewable_until": token.renewable_until,
        # Of any type: it is not sealed.
        "last_used_at": token.last_used_at if isinstance(token.last_used_at, datetime) else None,
    }


def _period(token: Token) -> timedelta:
    if token.renewal_seconds is not None:
        return timedelta(seconds=token.renewal_seconds)
    # It was never renewed.
    lifetime: timedelta = token.expires_at - token.created_at
    return lifetime
