"""Authentication of credentials."""

import logging
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from time import monotonic
from typing import NamedTuple, Protocol

from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.common.networks import contain
from vault.common.paths import Paths
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.uses import TokenUses
from vault.core.access.ttl_cache import TTLCache
from vault.core.attempt import Attempt
from vault.core.crypto.token import PREFIX, is_token
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token
from vault.core.principal import DEFAULT_NAMESPACE, Principal, scopes_named

logger = logging.getLogger(__name__)

#: Seconds that a looked-up token is cached; a margin below the 5 seconds in which a revocation takes effect.
CACHE_SECONDS = 3.0

_MAX_CACHED = 1_000

#: Characters of a token's hash that identify it in place of an unverified name.
_HASH_CHARACTERS = 16


class Credentials(Protocol):
    """Credentials other than tokens, all of one form."""

    def has_form(self, credential: str) -> bool:
        """Return whether *credential* has their form."""

    def principal(self, credential: str, role: str = "", *, may_be_expired: bool = False) -> Principal:
        """Return the principal of a *credential* of their form, which acts with the *role* of this name.

        The caller checks its expiry and networks. Raises the errors of `Authenticator.identify`.
        """


class Authenticator:
    """Identifies the principal of each attempt, by a token or one of what *others* returns."""

    def __init__(
        self,
        tokens: "TokenCredentials",
        others: Callable[[], Sequence[Credentials]],
        *,
        anonymous: Principal,
        uses: TokenUses,
    ) -> None:
        self._tokens = tokens
        self._others = others
        self._anonymous = anonymous
        self._uses = uses

    def identify(
        self,
        credential: str | None,
        *,
        attempt: Attempt,
        role: str = "",
        may_be_expired: bool = False,
    ) -> None:
        """Set the principal of *attempt* by its *credential*; None stands for no credential.

        A credential is always checked, even where none is required: its sender relies on it. A JWT acts with
        the *role* of this name; tokens have no role. One that *may_be_expired* was valid at a sign-in.

        Raises:
            InvalidCredentialError: It is invalid; *attempt* has the reason, and a principal that is certain.
            CredentialsUnavailableError: It cannot be checked now.
            StorageUnavailableError: The same.
        """
        if credential is None:
            attempt.principal = self._anonymous
            return
        try:
            principal = (
                self._tokens.principal(credential)
                if credential.startswith(PREFIX)
                else self._of_form(credential).principal(credential, role, may_be_expired=may_be_expired)
            )
            _require_unexpired_and_in_network(principal, attempt.ip)
        except InvalidCredentialError as error:
            attempt.principal = Principal(
                name=error.principal or attempt.principal.name,
                namespace=error.namespace or DEFAULT_NAMESPACE,
                authenticated=False,
            )
            attempt.details["reason"] = error.reason
            raise
        except CredentialsUnavailableError:
            attempt.details["reason"] = "cannot be checked"
            raise
        attempt.principal = principal
        if principal.token_id:
            self._uses.note(principal.token_id)

    def _of_form(self, credential: str) -> Credentials:
        for other in self._others():
            if other.has_form(credential):
                return other
        raise InvalidCredentialError("malformed")


def _require_unexpired_and_in_network(principal: Principal, address: str) -> None:
    if principal.is_expired:
        raise InvalidCredentialError("expired", principal=principal.name, namespace=principal.namespace)
    if principal.networks and not contain(principal.networks, address):
        raise InvalidCredentialError("network", principal=principal.name, namespace=principal.namespace)


class _LookUp(NamedTuple):
    """The result of looking up a token: its principal, and the reason why it is invalid, if any."""

    principal: Principal
    wrong: str

    @property
    def is_outdated(self) -> bool:
        """True if the token has expired since it was looked up: another replica may have renewed it."""
        return not self.wrong and self.principal.is_expired


class TokenCredentials:
    """Tokens as credentials.

    A token is found by its keyed hash alone, and no part of it is compared: the time of a refusal does not
    depend on how much of a token is right.
    """

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._recent: TTLCache[_LookUp] = TTLCache(seconds=CACHE_SECONDS, max_size=_MAX_CACHED)

    def principal(self, credential: str) -> Principal:
        """Return the principal of a token, at most `CACHE_SECONDS` old.

        The caller checks its expiry and networks.

        Raises:
            InvalidCredentialError: The credential is invalid.
            StorageUnavailableError: It cannot be checked now.
        """
        if not is_token(credential):
            raise InvalidCredentialError("malformed")
        key = self._keys.find()
        if key is None:
            raise InvalidCredentialError("unknown")
        identifier = key.hash(credential)
        result = self._recent.get(identifier)
        if result is None or result.is_outdated:
            result = self._look_up(identifier, key)
        if result.wrong:
            invalid = result.principal
            raise InvalidCredentialError(result.wrong, principal=invalid.name, namespace=invalid.namespace)
        return result.principal

    def _look_up(self, identifier: str, key: TokenKey) -> _LookUp:
        since = monotonic()
        with storage_errors():
            token = Token.objects(id=identifier, pending=None).first()
        if token is None:
            # Not cached: it may be created at any moment, and anyone could fill the cache.
            return _LookUp(_unnamed(identifier), "unknown")
        result = _checked(token, key)
        self._recent.put(identifier, result, since=since)
        return result


def _checked(token: Token, key: TokenKey) -> _LookUp:
    if not token.is_genuine(key):
        principal = _unnamed(token.id)
        logger.error("the stored token %s is not as the service wrote it", principal.name)
        return _LookUp(principal, "altered")
    principal = Principal(
        name=token.name,
        namespace=token.namespace,
        scopes=scopes_named(token.scopes),
        paths=Paths.of(token.paths or ()),
        all_namespaces=not token.own_entries_only,
        networks=tuple(ip_network(network) for network in token.networks),
        expires_at=token.expires_at,
        token_id=token.id,
    )
    # An expired token cannot be renewed, so one that had expired when it was looked up is not outdated.
    return _LookUp(principal, "revoked" if token.revoked_at else "expired" if principal.is_expired else "")


def _unnamed(identifier: str) -> Principal:
    return Principal(name=f"token:{identifier[:_HASH_CHARACTERS]}")
