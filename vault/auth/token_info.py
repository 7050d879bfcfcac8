"""The public fields of a token."""

from dataclasses import dataclass
from datetime import datetime

from vault.core.principal import plain_name
from vault.crypto.token_key import TokenKey
from vault.documents.token import Token

#: The states of a token; `altered`: its document is not as the service wrote it.
STATES = ("active", "expired", "revoked", "altered")


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
        namespace=token.namespace,
        scopes=tuple(token.scopes),
        networks=tuple(token.networks),
        paths=tuple(token.paths or ()),
        created_at=token.created_at,
        created_by=plain_name(token.created_by, token.namespace),
        expires_at=token.expires_at,
        renewable_until=token.renewable_until,
        revoked_at=token.revoked_at,
        # Of any type: it is not sealed.
        last_used_at=token.last_used_at if isinstance(token.last_used_at, datetime) else None,
    )
