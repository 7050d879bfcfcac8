"""Other principals' tokens, by text or accessor: describe, renew and revoke them."""

from dataclasses import dataclass, field
from datetime import timedelta

from vault.common import clock
from vault.common.errors import TokenNotFoundError
from vault.common.outcomes import Status
from vault.common.paths import Paths
from vault.core.access.revocations import Cascade, Revocation, require_covered, revoke_all
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.info import CredentialInfo, info_of
from vault.core.access.tokens.pages import TokenPages
from vault.core.access.tokens.renewals import renew
from vault.core.attempt import Attempt
from vault.core.crypto.token import is_token
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReference:
    """The text of a token, or its accessor."""

    text: str = field(default="", repr=False)
    # A caller may send a token in its place.
    accessor: str = field(default="", repr=False)


class OtherTokens:
    """Operations on the active tokens of the principal's namespace whose paths are within its own.

    Any other token is not found. Methods raise `StorageUnavailableError` and `AuditUnavailableError` as the
    methods of `Tokens`.
    """

    def __init__(self, keys: TokenKeys, *, max_days: int) -> None:
        """Renew no token beyond an age of *max_days*; 0 for no limit."""
        self._keys = keys
        self._max_days = max_days

    def describe(self, reference: TokenReference, *, attempt: Attempt) -> CredentialInfo:
        """Return the public fields of a token.

        Raises:
            TokenNotFoundError: The principal sees no such token.
        """
        token, _ = self._find(reference, attempt)
        attempt.finish(Status.SUCCESS)
        return CredentialInfo.of_token(token)

    def renew(
        self, reference: TokenReference, lifetime: timedelta | None, *, attempt: Attempt
    ) -> CredentialInfo:
        """Extend a token by *lifetime*, as `renewals.renew`, and return its public fields.

        Raises:
            TokenNotFoundError: The principal sees no such token.
            RevocationRefusedError: The token has more than the principal.
            TokenNotRenewableError: The token cannot be renewed.
        """

        def find() -> tuple[Token, TokenKey]:
            token, key = self._find(reference, attempt)
            require_covered(token, key, attempt)
            return token, key

        return CredentialInfo.of_token(renew(find, lifetime, max_days=self._max_days, attempt=attempt))

    def revoke(self, reference: TokenReference, *, cascade: Cascade, attempt: Attempt) -> Revocation:
        """Revoke a token, everywhere within 5 seconds, and its descendants as *cascade* says.

        Return what ended, and what stays.

        Raises:
            TokenNotFoundError: The principal sees no such token.
            RevocationRefusedError: The token has more than the principal.
        """
        token, key = self._find(reference, attempt)
        attempt.details |= cascade.details
        require_covered(token, key, attempt)
        attempt.finish(Status.SUCCESS)
        return revoke_all([token], key, cascade=cascade, attempt=attempt)

    def accessors(self, limit: int, *, attempt: Attempt) -> list[str]:
        """Return up to *limit* accessors of active tokens, by the tokens' names."""
        accessors = TokenPages(attempt.principal, self._keys.find(), state="active").accessors(limit)
        attempt.finish(Status.SUCCESS)
        return accessors

    def _find(self, reference: TokenReference, attempt: Attempt) -> tuple[Token, TokenKey]:
        """Return the token, and the key that seals it; the entry gets its name."""
        principal, key = attempt.principal, self._keys.find()
        if key is not None:
            with storage_errors():
                tokens = _stored(reference, key)
            for token in tokens:
                info = info_of(token, key, clock.now())
                is_seen = info.namespace == principal.namespace and principal.paths.cover(
                    Paths.of(info.paths)
                )
                if info.state == "active" and is_seen:
                    attempt.details |= {"token": info.name, "namespace": info.namespace}
                    return token, key
        raise TokenNotFoundError


def _stored(reference: TokenReference, key: TokenKey) -> list[Token]:
    if reference.accessor:
        return Token.with_accessor(reference.accessor)
    if not is_token(reference.text):
        return []
    return list(Token.objects(id=key.hash(reference.text), pending=None))
