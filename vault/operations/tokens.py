"""Make, list and revoke tokens."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from vault.crypto.token import new_token
from vault.crypto.token_key import TokenKey
from vault.documents.storage import storage_errors, taking_back
from vault.documents.token import Token
from vault.errors import (
    GrantRefusedError,
    InvalidTokenNameError,
    StorageUnavailableError,
    TokenNotFoundError,
    VaultError,
)
from vault.moments import to_milliseconds
from vault.networks import Network, cover
from vault.operations.attempt import Attempt, Status
from vault.operations.principal import OPERATOR, RESERVED_NAMES, Principal, Scope
from vault.operations.token_keys import TokenKeys

#: `altered`: the database holds what the service did not write.
STATES = ("active", "expired", "revoked", "altered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a new token is to have. What is not given is as whoever makes it has it."""

    name: str
    scopes: frozenset[Scope]
    namespace: str | None = None
    networks: tuple[Network, ...] = ()
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """What is known of a token."""

    name: str
    #: One of `STATES`.
    state: str
    namespace: str
    scopes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Tokens:
    """The tokens of one deployment."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys

    def create(self, grant: Grant, *, attempt: Attempt) -> str:
        """Make a token and return it, the only time that anybody sees it.

        Raises:
            GrantRefusedError: It would have more than whoever makes it.
            InvalidTokenNameError: The name is taken, by a revoked token too, or reserved.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored.
            AuditUnavailableError: The entry could not be written.
        """
        now = datetime.now(UTC)
        token = _token(grant, attempt.principal, now)
        attempt.details |= {
            "token": token.name,
            "namespace": token.namespace,
            "scopes": token.scopes,
            "networks": token.networks,
            "expires_at": token.expires_at and token.expires_at.isoformat(),
        }
        _require_held(token, grant, attempt.principal)
        if grant.name in RESERVED_NAMES:
            raise InvalidTokenNameError("This name is reserved.")
        key = self._keys.find_or_make()
        text = new_token()
        token.id = key.hash(text)
        token.close(key)
        try:
            with storage_errors():
                token.store()
            attempt.finish(Status.SUCCESS)
            with storage_errors():
                is_active = token.activate()
        except VaultError:
            with taking_back():
                token.withdraw()
            raise
        if not is_active:
            raise StorageUnavailableError("it took too long to record the token")
        return text

    def list(self, state: str | None = None, *, attempt: Attempt) -> list[TokenInfo]:
        """Return the tokens of the principal's namespace, an operator's of all, by name; of one *state*.

        Raises:
            StorageUnavailableError: MongoDB is not there.
            AuditUnavailableError: That somebody looked could not be recorded.
        """
        key, now = self._keys.find(), datetime.now(UTC)
        with storage_errors():
            found = list(Token.objects(**_visible(attempt.principal)).order_by("name"))
        infos = [info for info in (_info(token, key, now) for token in found) if state in (None, info.state)]
        attempt.finish(Status.SUCCESS)
        return infos

    def revoke(self, name: str, *, attempt: Attempt) -> None:
        """End the token *name*, everywhere within 5 seconds. One that has ended already stays so.

        Raises:
            TokenNotFoundError: The principal sees no such token.
            StorageUnavailableError: MongoDB went away; it may be revoked or not.
            AuditUnavailableError: The entry could not be written, and nothing was done.
        """
        attempt.details["token"] = name
        key = self._keys.find()
        with storage_errors():
            token = Token.objects(name=name, **_visible(attempt.principal)).first()
        if token is None or key is None:
            raise TokenNotFoundError
        attempt.finish(Status.SUCCESS)
        changes = {"set__revoked_at": datetime.now(UTC)}
        if token.is_genuine(key):
            if token.revoked_at:
                return
            token.revoked_at = to_milliseconds(changes["set__revoked_at"])
            token.close(key)
            changes |= {"set__revoked_at": token.revoked_at, "set__seal": token.seal}
        with storage_errors():
            Token.objects(id=token.id).update_one(**changes)


def _token(grant: Grant, maker: Principal, now: datetime) -> Token:
    """Return the token of *grant*, with what its *maker* has where it names nothing."""
    expires_at = now + grant.lifetime if grant.lifetime else maker.expires_at
    return Token(
        name=grant.name,
        namespace=grant.namespace or maker.namespace,
        scopes=sorted(grant.scopes),
        networks=[str(network) for network in grant.networks or maker.networks],
        created_at=to_milliseconds(now),
        created_by=maker.name,
        expires_at=expires_at and to_milliseconds(expires_at),
    )


def _require_held(token: Token, grant: Grant, maker: Principal) -> None:
    if maker is OPERATOR:
        return
    more = {
        "scopes": grant.scopes - maker.scopes,
        "another namespace": token.namespace != maker.namespace,
        "networks": maker.networks and not all(cover(maker.networks, other) for other in grant.networks),
        "time": maker.expires_at and token.expires_at > maker.expires_at,
    }
    if refused := [name for name, found in more.items() if found]:
        raise GrantRefusedError(f"A token cannot have more than its maker: {', '.join(refused)}.")


def _visible(principal: Principal) -> dict[str, Any]:
    seen = {"pending": None}
    return seen if principal is OPERATOR else {**seen, "namespace": principal.namespace}


def _info(token: Token, key: TokenKey | None, now: datetime) -> TokenInfo:
    if key is None or not token.is_genuine(key):
        # Nothing else in it is to be believed, not even the types.
        return TokenInfo(name=str(token.name), state="altered", namespace=str(token.namespace))
    state = "active"
    if token.revoked_at:
        state = "revoked"
    elif token.expires_at and token.expires_at <= now:
        state = "expired"
    return TokenInfo(
        name=token.name,
        state=state,
        namespace=token.namespace,
        scopes=tuple(token.scopes),
        networks=tuple(token.networks),
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )
