"""Creating, listing and revoking tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vault.common import clock
from vault.common.errors import (
    AmbiguousTokenNameError,
    GrantRefusedError,
    InvalidTokenNameError,
    TokenNotFoundError,
    VaultError,
)
from vault.common.networks import Network, cover
from vault.common.outcomes import Status
from vault.common.paths import ALL_PATHS, Paths
from vault.common.timestamps import to_milliseconds
from vault.core.access.entries import is_limited
from vault.core.access.publishing import publish
from vault.core.access.revocations import Cascade, Revocation, holdings, offboard, require_covered, revoke_all
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.info import CredentialInfo, TokenInfo, info_of
from vault.core.access.tokens.pages import TokenPages
from vault.core.attempt import Attempt
from vault.core.crypto.token import new_token
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token
from vault.core.principal import (
    MAX_LIFETIME,
    OPERATOR,
    RESERVED_NAMES,
    SIDES_OF_USE,
    Principal,
    Scope,
)

#: The scopes of the two sides of a use, in words.
BOTH_SIDES = " and ".join(sorted(SIDES_OF_USE, reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The request for a new token. Its creator's namespace, networks and paths stand for omitted ones."""

    name: str
    scopes: frozenset[Scope]
    namespace: str | None = None
    networks: tuple[Network, ...] = ()
    paths: Paths = ALL_PATHS
    #: True if its `audit:read` shows the entries of all namespaces.
    all_namespaces: bool = False
    #: The time to its expiry, from its creation and from each renewal.
    lifetime: timedelta | None = None
    #: True if it can extend itself; requires a lifetime.
    renewable: bool = False
    #: The age beyond which no renewal extends it.
    max_age: timedelta | None = None
    #: True if each renewal extends it by its whole lifetime.
    periodic: bool = False
    #: True if a revocation of its creator, with the tokens below that, leaves it valid.
    orphan: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A new token and its public fields."""

    text: str = field(repr=False)
    info: TokenInfo
    credential: CredentialInfo


class Tokens:
    """The tokens of one deployment.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, *, max_days: int) -> None:
        """Limit the lifetime of new tokens to *max_days*; 0 for no limit."""
        self._keys = keys
        self._max_days = max_days

    def create(self, grant: Grant, *, attempt: Attempt) -> IssuedToken:
        """Create a token and return it. Only this reply ever contains its text.

        Raises:
            GrantRefusedError: It would have more than its creator, or a longer lifetime than allowed.
            InvalidTokenNameError: The name is reserved.
            TokenNameTakenError: The namespace has, or had, a token of this name.
            InvalidCredentialError: The creator was revoked in the meantime.
        """
        now = clock.now()
        token = self._token(grant, attempt.principal, now)
        attempt.details |= {
            "token": token.name,
            "namespace": token.namespace,
            "scopes": token.scopes,
            "networks": token.networks,
            "paths": token.paths or [],
            "expires_at": token.expires_at and token.expires_at.isoformat(),
            **({"renewable_until": token.renewable_until.isoformat()} if token.renewable_until else {}),
            **{name: True for name in ("periodic", "orphan", "all_namespaces") if getattr(grant, name)},
        }
        self._require_short(grant)
        if grant.scopes >= SIDES_OF_USE:
            raise GrantRefusedError(f"A token has one of the scopes {BOTH_SIDES}, or none.")
        paths = grant.paths or attempt.principal.paths
        limited = is_limited(token.namespace, grant.scopes, paths, all_namespaces=grant.all_namespaces)
        token.own_entries_only = limited or None
        _require_held(token, grant, attempt.principal)
        if grant.name in RESERVED_NAMES:
            raise InvalidTokenNameError
        key = self._keys.find_or_make()
        text = new_token()
        token.id = key.hash(text)
        with storage_errors():
            token.name = Token.new_name(token.namespace, grant.name)
        token.close(key)
        publish(token, attempt=attempt)
        return IssuedToken(
            text=text, info=info_of(token, key, now), credential=CredentialInfo.of_token(token)
        )

    def page(
        self,
        *,
        state: str | None,
        unused_for: timedelta | None,
        cursor: str | None,
        limit: int,
        attempt: Attempt,
    ) -> tuple[list[TokenInfo], str | None]:
        """Return tokens that the principal sees, by name, and the next page's cursor.

        MongoDB selects up to *limit* tokens. Of these, altered ones that do not match are omitted, so that a
        page can be short. For filters, see `list`.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        pages = TokenPages(attempt.principal, self._keys.find(), state=state, unused_for=unused_for)
        page = pages.page(cursor, limit)
        attempt.finish(Status.SUCCESS)
        return page

    def list(
        self, state: str | None = None, *, unused_for: timedelta | None = None, attempt: Attempt
    ) -> list[TokenInfo]:
        """Return all tokens of the principal's namespace and within its paths, by name.

        Operators see all namespaces. With a *state*, only tokens in it. With *unused_for*, only active
        ones that are at least that old, and were not used for that time.
        """
        pages = TokenPages(attempt.principal, self._keys.find(), state=state, unused_for=unused_for)
        tokens = sorted(pages, key=lambda info: (info.name, info.namespace))
        attempt.finish(Status.SUCCESS)
        return tokens

    def revoke(
        self, name: str, *, namespace: str | None = None, cascade: bool = False, attempt: Attempt
    ) -> Revocation:
        """Revoke the token *name*, everywhere within 5 seconds; return what ended, and what stays.

        With *cascade*, also everything that it created, directly or through others, each after an entry of
        its own. To complete a failed call, repeat it. Only operators pass a *namespace*.

        Raises:
            TokenNotFoundError: The principal sees no such token.
            AmbiguousTokenNameError: Several namespaces have such a token; an operator has to pass one.
            RevocationRefusedError: The token has more than the principal.
        """
        attempt.details["token"] = name
        principal = attempt.principal
        key = self._keys.find()
        with storage_errors():
            tokens = Token.named(name, namespace=namespace if principal is OPERATOR else principal.namespace)
        if not tokens or key is None:
            raise TokenNotFoundError
        if len({token.namespace for token in tokens}) > 1:
            raise AmbiguousTokenNameError
        extent = Cascade.ALL if cascade else Cascade.NONE
        attempt.details |= {"namespace": str(tokens[0].namespace), **extent.details}
        for token in tokens:
            require_covered(token, key, attempt)
        attempt.finish(Status.SUCCESS)
        return revoke_all(tokens, key, cascade=extent, attempt=attempt)

    def offboard(
        self, principal: str, *, is_plan: bool, attempt: Attempt
    ) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
        """Revoke every token of *principal*, a name as the trail has it, and end all that it created.

        Return the kind and name of all that ends; with *is_plan*, nothing does. Also return the name of
        *principal*, and of each token that it created, directly or through others. To complete a failed call,
        repeat it.

        Raises:
            VaultError: The token key is missing, so nothing can end.
        """
        key = self._keys.find()
        if key is None:
            with storage_errors():
                if Token.objects.first():
                    raise VaultError("the token key is missing", hint="restore `token_keys` from a backup")
            return [], [principal]
        found, names = holdings(principal, key)
        if not is_plan:
            offboard(principal, key, attempt)
        return found, names

    def _token(self, grant: Grant, creator: Principal, now: datetime) -> Token:
        """Return the token for *grant*; omitted fields come from its *creator*."""
        longest = timedelta(days=self._max_days) if self._max_days else None
        expires_at = _end(grant.lifetime, longest, creator, now)
        renewable_until = renewal_seconds = None
        if grant.renewable and grant.lifetime:
            renewable_until = _end(grant.max_age, longest or MAX_LIFETIME, creator, now)
            renewal_seconds = round(grant.lifetime.total_seconds())
            expires_at = min(filter(None, (expires_at, renewable_until)))
        return Token(
            name=grant.name,
            namespace=grant.namespace or creator.namespace,
            scopes=sorted(grant.scopes),
            networks=[str(network) for network in grant.networks or creator.networks],
            paths=list((grant.paths or creator.paths).texts) or None,
            created_at=to_milliseconds(now),
            created_by=creator.name,
            expires_at=expires_at and to_milliseconds(expires_at),
            renewable_until=to_milliseconds(renewable_until) if renewable_until else None,
            renewal_seconds=renewal_seconds,
            periodic=grant.periodic or None,
            orphan=grant.orphan or None,
        )

    def _require_short(self, grant: Grant) -> None:
        longest = max(grant.lifetime or timedelta(), grant.max_age or timedelta())
        if self._max_days and longest > timedelta(days=self._max_days):
            raise GrantRefusedError(f"A token can last at most {self._max_days} days.")


def _end(
    requested: timedelta | None, default: timedelta | None, creator: Principal, now: datetime
) -> datetime | None:
    """Return the end of the *requested* time; without one, the earlier of *default* and the creator's end."""
    if requested:
        return now + requested
    if default and creator.expires_at:
        return min(now + default, creator.expires_at)
    return now + default if default else creator.expires_at


def _require_held(token: Token, grant: Grant, creator: Principal) -> None:
    if creator is OPERATOR:
        return
    more = {
        "scopes": grant.scopes - (creator.scopes - SIDES_OF_USE),
        "another namespace": token.namespace != creator.namespace,
        "networks": creator.networks and not all(cover(creator.networks, other) for other in grant.networks),
        "paths": grant.paths and not creator.paths.cover(grant.paths),
        "all namespaces": grant.all_namespaces and not creator.sees_all_entries,
        # It can outlive a revocation of its creator.
        "all rights, which an orphan requires": grant.orphan and not creator.has_all_rights,
        "time": creator.expires_at and (token.renewable_until or token.expires_at) > creator.expires_at,
    }
    if refused := [name for name, excess in more.items() if excess]:
        raise GrantRefusedError(f"A token cannot have more than its creator: {', '.join(refused)}.")
