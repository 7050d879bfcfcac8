"""Who a credential stands for."""

import logging
from datetime import UTC, datetime
from ipaddress import ip_network
from time import monotonic
from typing import NamedTuple, Protocol

from vault.auth.tokens import TokenKeys
from vault.core.attempt import Attempt
from vault.core.errors import (
    CredentialRequiredError,
    CredentialsUnavailableError,
    InvalidCredentialError,
    ScopeMissingError,
)
from vault.core.networks import contain
from vault.core.principal import Principal, Scope, scopes_named
from vault.core.ttl_cache import TTLCache
from vault.crypto.token import PREFIX, is_token
from vault.crypto.token_key import TokenKey
from vault.documents.guard import storage_errors
from vault.documents.token import Token

logger = logging.getLogger(__name__)

#: Seconds that a looked-up token is believed: with time to spare, what counts as at once for a revocation.
BELIEVED_SECONDS = 3.0

_MAX_BELIEVED = 1_000

#: Characters of a token's hash that name it where its name is not certain.
_HASH_CHARACTERS = 16


class Credentials(Protocol):
    """One kind of credential."""

    def principal(self, credential: str) -> Principal:
        """Return whose *credential* it is; when and where it counts is looked at elsewhere.

        Raises:
            InvalidCredentialError: It is not good.
            CredentialsUnavailableError: Whether it is good cannot be found out now.
            StorageUnavailableError: The same.
        """


class Authenticator:
    """Finds out who acts, and whether they may."""

    def __init__(self, tokens: Credentials, web_tokens: Credentials, *, anonymous: Principal) -> None:
        self._tokens = tokens
        self._web_tokens = web_tokens
        self._anonymous = anonymous

    def identify(self, credential: str | None, *, attempt: Attempt) -> None:
        """Let *attempt* have the principal whose *credential* it is; None stands for no credential.

        One that is not good is refused also where none is needed: its sender believes that it counts.

        Raises:
            InvalidCredentialError: It is not good; *attempt* says why, and whose it is if that is certain.
            CredentialsUnavailableError: Whether it is good cannot be found out now.
            StorageUnavailableError: The same.
        """
        if credential is None:
            attempt.principal = self._anonymous
            return
        kind = self._tokens if credential.startswith(PREFIX) else self._web_tokens
        try:
            principal = kind.principal(credential)
            _require_valid_here_and_now(principal, attempt.ip)
        except InvalidCredentialError as error:
            attempt.principal = Principal(name=error.principal or attempt.principal.name, authenticated=False)
            attempt.details["reason"] = error.reason
            raise
        except CredentialsUnavailableError:
            attempt.details["reason"] = "cannot be checked"
            raise
        attempt.principal = principal

    @staticmethod
    def authorize(scope: Scope, *, attempt: Attempt) -> None:
        """Return if the principal of *attempt* has *scope*.

        Raises:
            CredentialRequiredError: It has not, and sent no credential.
            ScopeMissingError: It has not.
        """
        if scope in attempt.principal.scopes:
            return
        attempt.details["reason"] = f"needs {scope}"
        if not attempt.principal.authenticated:
            raise CredentialRequiredError
        raise ScopeMissingError(scope)


def _require_valid_here_and_now(principal: Principal, address: str) -> None:
    if principal.expires_at and principal.expires_at <= datetime.now(UTC):
        raise InvalidCredentialError("expired", principal=principal.name)
    if principal.networks and not contain(principal.networks, address):
        raise InvalidCredentialError("network", principal=principal.name)


class _Found(NamedTuple):
    """A token as it was found: what it stands for, and what is wrong with it, if anything is."""

    principal: Principal
    wrong: str


class TokenCredentials:
    """Tokens as credentials.

    A token is found by its keyed hash alone, and nothing here compares any part of it: how long a refusal
    takes tells nothing about how much of it was right.
    """

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._recent: TTLCache[_Found] = TTLCache(seconds=BELIEVED_SECONDS, max_size=_MAX_BELIEVED)

    def principal(self, credential: str) -> Principal:
        """Return whose token it is, as it was at most `BELIEVED_SECONDS` ago. Errors as `Credentials`."""
        if not is_token(credential):
            raise InvalidCredentialError("malformed")
        key = self._keys.find()
        if key is None:
            raise InvalidCredentialError("unknown")
        identifier = key.hash(credential)
        found = self._recent.get(identifier) or self._look_up(identifier, key)
        if found.wrong:
            raise InvalidCredentialError(found.wrong, principal=found.principal.name)
        return found.principal

    def _look_up(self, identifier: str, key: TokenKey) -> _Found:
        since = monotonic()
        with storage_errors():
            token = Token.objects(id=identifier, pending=None).first()
        if token is None:
            # Not remembered: it may be made at any moment, and strangers could fill the memory.
            return _Found(_unnamed(identifier), "unknown")
        found = _found(token, key)
        self._recent.put(identifier, found, since=since)
        return found


def _found(token: Token, key: TokenKey) -> _Found:
    if not token.is_genuine(key):
        principal = _unnamed(token.id)
        logger.error("the stored token %s is not as the service wrote it", principal.name)
        return _Found(principal, "altered")
    principal = Principal(
        name=token.name,
        namespace=token.namespace,
        scopes=scopes_named(token.scopes),
        networks=tuple(ip_network(network) for network in token.networks),
        expires_at=token.expires_at,
    )
    return _Found(principal, "revoked" if token.revoked_at else "")


def _unnamed(identifier: str) -> Principal:
    return Principal(name=f"token:{identifier[:_HASH_CHARACTERS]}")
