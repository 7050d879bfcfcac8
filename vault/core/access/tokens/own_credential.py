"""A principal's own credential: describe it, renew it, revoke it; and the renewal of any token."""

from collections.abc import Callable
from datetime import datetime, timedelta

from vault.common import clock
from vault.common.errors import (
    InvalidCredentialError,
    StorageUnavailableError,
    TokenNotRenewableError,
    TokenRequiredError,
)
from vault.common.outcomes import Status
from vault.common.retries import attempts
from vault.common.timestamps import to_milliseconds
from vault.core.access.revocations import Cascade, Revocation, revoke_all
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.info import CredentialInfo, info_of
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token


class OwnCredential:
    """The operations of principals on their own credential, which need no scope.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, *, max_days: int) -> None:
        """Renew no token beyond an age of *max_days*; 0 for no limit."""
        self._keys = keys
        self._max_days = max_days

    def describe(self, *, attempt: Attempt) -> CredentialInfo:
        """Return the public fields of the credential.

        Raises:
            InvalidCredentialError: The token was revoked in the meantime.
        """
        if attempt.principal.token_id:
            token, _ = self._stored(attempt)
            described = CredentialInfo.of_token(token)
        else:
            described = CredentialInfo.of_principal(attempt.principal)
        attempt.finish(Status.SUCCESS)
        return described

    def renew(self, lifetime: timedelta | None = None, *, attempt: Attempt) -> CredentialInfo:
        """Extend the token by *lifetime* from now, as `renew` does, and return its public fields.

        Raises:
            TokenRequiredError: The credential is not a token.
            TokenNotRenewableError: The token cannot be renewed.
            InvalidCredentialError: The token was revoked in the meantime; a renewal does not undo that.
        """
        token = renew(lambda: self._stored(attempt), lifetime, max_days=self._max_days, attempt=attempt)
        return CredentialInfo.of_token(token)

    def revoke(self, *, cascade: bool = False, attempt: Attempt) -> Revocation:
        """Revoke the token, everywhere within 5 seconds; return what ended, its name first, and what stays.

        With *cascade*, also everything that it created, directly or through others. If that fails halfway,
        the token may be revoked already: another principal has to revoke the rest.

        Raises:
            TokenRequiredError: The credential is not a token.
            InvalidCredentialError: The token was revoked in the meantime.
        """
        return self._revoke(Cascade.ALL if cascade else Cascade.NONE, attempt)

    def revoke_with_children(self, *, attempt: Attempt) -> Revocation:
        """Revoke the token and the tokens below it, except orphans. Otherwise as `revoke`."""
        return self._revoke(Cascade.CHILDREN, attempt)

    def _revoke(self, cascade: Cascade, attempt: Attempt) -> Revocation:
        token, key = self._stored(attempt)
        attempt.details |= {"token": token.plain_name, "namespace": token.namespace, **cascade.details}
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
        state = info_of(token, key, clock.now()).state if token else "unknown"
        if key is None or state != "active":
            attempt.details["reason"] = state
            raise InvalidCredentialError(state, principal=principal.name)
        return token, key


def renew(
    find: Callable[[], tuple[Token, TokenKey]],
    lifetime: timedelta | None,
    *,
    max_days: int,
    attempt: Attempt,
) -> Token:
    """Extend the active token that *find* returns by *lifetime* from now, and return it.

    At most, and by default, by its lifetime at creation, and a periodic token always by its period; never
    beyond its longest age, nor beyond an age of *max_days*, if that is not 0. If it ends later anyway, its
    expiry stays.

    Raises:
        TokenNotRenewableError: The token cannot be renewed.
        StorageUnavailableError: MongoDB became unavailable; the token may be renewed or not.
        VaultError: An error of *find*, also if the token was revoked in the meantime.
    """
    now = clock.now()
    token, key = find()
    if token.renewable_until is None:
        raise TokenNotRenewableError
    expires_at = _renewed(token, lifetime, now, max_days)
    attempt.details |= {
        "token": token.plain_name,
        "namespace": token.namespace,
        "expires_at": expires_at.isoformat(),
    }
    attempt.finish(Status.SUCCESS)
    for _ in attempts():
        with storage_errors("update"):
            if token.expires_at >= expires_at or token.renew(expires_at, key):
                return token
        # Another request has just renewed or revoked it.
        token, key = find()
    raise StorageUnavailableError("other requests kept changing the token")


def _renewed(token: Token, lifetime: timedelta | None, now: datetime, max_days: int) -> datetime:
    """Return the expiry of *token* after a renewal *now*."""
    longest = timedelta(seconds=token.renewal_seconds)
    extension = longest if token.periodic or not lifetime else min(lifetime, longest)
    ends = min(now + extension, token.renewable_until)
    if max_days:
        # The setting may be lower than when the token was created.
        ends = min(ends, token.created_at + timedelta(days=max_days))
    expires_at: datetime = token.expires_at
    return max(to_milliseconds(ends), expires_at)
