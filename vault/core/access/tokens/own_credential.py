"""A principal's own credential: describe it, renew it, revoke it."""

from datetime import timedelta

from vault.common import clock
from vault.common.errors import InvalidCredentialError, TokenRequiredError
from vault.common.outcomes import Status
from vault.core.access.revocations import Cascade, Revocation, revoke_all
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.info import CredentialInfo, info_of
from vault.core.access.tokens.renewals import renew
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
        """Extend the token by *lifetime* from now, as `renewals.renew`, and return its public fields.

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
