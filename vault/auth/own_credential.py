"""A principal's own credential: describe it, renew it, revoke it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from vault.auth.token_info import info_of
from vault.auth.token_keys import TokenKeys
from vault.auth.tokens import revoke_all
from vault.core.attempt import Attempt, Status
from vault.core.errors import (
    InvalidCredentialError,
    StorageUnavailableError,
    TokenNotRenewableError,
    TokenRequiredError,
)
from vault.core.principal import Principal
from vault.core.retry import attempts
from vault.core.timestamps import to_milliseconds
from vault.crypto.token_key import TokenKey
from vault.documents.guard import storage_errors
from vault.documents.token import Token

#: The kinds of credentials.
KINDS = ("token", "jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInfo:
    """The public fields of a principal and its credential. A JWT has none of the last five."""

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
    renewable: bool = False
    renewable_until: datetime | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    last_used_at: datetime | None = None


class OwnCredential:
    """The operations of principals on their own credential, which need no scope."""

    def __init__(self, keys: TokenKeys, *, max_days: int) -> None:
        """Renew no token beyond an age of *max_days*; 0 for no limit."""
        self._keys = keys
        self._max_days = max_days

    def describe(self, *, attempt: Attempt) -> CredentialInfo:
        """Return the public fields of the credential.

        Raises:
            InvalidCredentialError: The token was revoked in the meantime.
            StorageUnavailableError: MongoDB is not available.
            AuditUnavailableError: The entry could not be written.
        """
        described = _described(attempt.principal)
        if attempt.principal.token_id:
            described = _with_token(described, *self._stored(attempt))
        attempt.finish(Status.SUCCESS)
        return described

    def renew(self, lifetime: timedelta | None = None, *, attempt: Attempt) -> CredentialInfo:
        """Extend the token by *lifetime* from now, and return its public fields.

        At most, and by default, by its lifetime at creation; never beyond its longest age. If it ends later
        anyway, its expiry stays.

        Raises:
            TokenRequiredError: The credential is not a token.
            TokenNotRenewableError: The token cannot be renewed.
            InvalidCredentialError: The token was revoked in the meantime; a renewal does not undo that.
            StorageUnavailableError: MongoDB became unavailable; the token may be renewed or not.
            AuditUnavailableError: The entry could not be written, and the token was not renewed.
        """
        now = datetime.now(UTC)
        token, key = self._stored(attempt)
        if token.renewable_until is None:
            raise TokenNotRenewableError
        expires_at = self._renewed(token, lifetime, now)
        attempt.details |= _named(token) | {"expires_at": expires_at.isoformat()}
        attempt.finish(Status.SUCCESS)
        for _ in attempts():
            with storage_errors("update"):
                if token.expires_at >= expires_at or token.renew(expires_at, key):
                    return _with_token(_described(attempt.principal), token, key)
            # Another request has just renewed or revoked it.
            token, key = self._stored(attempt)
        raise StorageUnavailableError("other requests kept changing the token")

    def revoke(self, *, cascade: bool = False, attempt: Attempt) -> tuple[str, ...]:
        """Revoke the token, everywhere within 5 seconds; return the names of revoked tokens, its own first.

        With *cascade*, also every token that it created, directly or through others. If that fails halfway,
        the token may be revoked already: another principal has to revoke the rest.

        Raises:
            TokenRequiredError: The credential is not a token.
            InvalidCredentialError: The token was revoked in the meantime.
            StorageUnavailableError: MongoDB became unavailable; the token may be revoked or not.
            AuditUnavailableError: The entry could not be written, and the token was not revoked.
        """
        token, key = self._stored(attempt)
        attempt.details |= _named(token) | ({"cascade": True} if cascade else {})
        attempt.finish(Status.SUCCESS)
        return revoke_all([token], key, cascade=cascade, attempt=attempt)

    def _stored(self, attempt: Attempt) -> tuple[Token, TokenKey]:
        """Return the token of *attempt* as it is stored now, and the key that seals it."""
        principal = attempt.principal
        if not principal.token_id:
            attempt.details["reason"] = "not a token"
            raise TokenRequiredError
        key = self._keys.find()
        with storage_errors():
            token = Token.objects(id=principal.token_id, pending=None).first()
        state = info_of(token, key, datetime.now(UTC)).state if token else "unknown"
        if key is None or state != "active":
            attempt.details["reason"] = state
            raise InvalidCredentialError(state, principal=principal.name)
        return token, key

    def _renewed(self, token: Token, lifetime: timedelta | None, now: datetime) -> datetime:
        """Return the expiry of *token* after a renewal *now*."""
        longest = timedelta(seconds=token.renewal_seconds)
        ends = min(now + min(lifetime or longest, longest), token.renewable_until)
        if self._max_days:
            # The setting may be lower than when the token was created.
            ends = min(ends, token.created_at + timedelta(days=self._max_days))
        expires_at: datetime = token.expires_at
        return max(to_milliseconds(ends), expires_at)


def _named(token: Token) -> dict[str, str]:
    return {"token": token.plain_name, "namespace": token.namespace}


def _described(principal: Principal) -> CredentialInfo:
    return CredentialInfo(
        principal=principal.name,
        kind="token" if principal.token_id else "jwt",
        namespace=principal.namespace,
        scopes=tuple(sorted(principal.scopes)),
        paths=principal.paths.texts,
        networks=tuple(map(str, principal.networks)),
        expires_at=principal.expires_at,
        role=principal.role or None,
    )


def _with_token(described: CredentialInfo, token: Token, key: TokenKey) -> CredentialInfo:
    """Return *described* with the fields of its stored token."""
    info = info_of(token, key, datetime.now(UTC))
    return replace(
        described,
        expires_at=info.expires_at,
        renewable=info.renewable_until is not None,
        renewable_until=info.renewable_until,
        created_at=info.created_at,
        created_by=info.created_by,
        last_used_at=info.last_used_at,
    )
