"""A principal's own credential: describing, renewing and revoking it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import age_token, make_token, revoke, services
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import (
    AuditUnavailableError,
    GrantRefusedError,
    InvalidCredentialError,
    StorageUnavailableError,
    TokenNotRenewableError,
    TokenRequiredError,
)
from vault.common.paths import Paths
from vault.core.access.tokens import renewals
from vault.core.access.tokens.info import CredentialInfo, TokenInfo
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR, Principal, Scope

HOUR, DAY = 3_600, 86_400


def attempt(app: Flask, text: str, action: Action = Action.TOKEN_RENEW) -> Attempt:
    """Return an attempt with the token *text* as its credential."""
    mine = Attempt(action=action, ip="192.0.2.7")
    services(app).authenticator.identify(text, attempt=mine)
    return mine


def renew(app: Flask, text: str, seconds: int | None = None) -> CredentialInfo:
    lifetime = timedelta(seconds=seconds) if seconds else None
    return services(app).own_credential.renew(lifetime, attempt=attempt(app, text))


def aged(app: Flask, name: str = "ci") -> str:
    """Return a new token with a lifetime of an hour, of which 10 minutes remain."""
    text = make_token(app, name, role="reader", seconds=HOUR, max_age=DAY)
    age_token(app, name, minutes=50)
    return text


def info(app: Flask, name: str = "ci") -> TokenInfo:
    listed = services(app).tokens.list(attempt=Attempt(action=Action.TOKEN_LIST, principal=OPERATOR))
    [token] = [token for token in listed if token.name == name]
    return token


def remaining(app: Flask, name: str = "ci") -> timedelta:
    expires_at = info(app, name).expires_at
    assert expires_at
    return expires_at - datetime.now(UTC)


def test_a_principal_without_a_token_is_described(app: Flask) -> None:
    """A JWT's principal gets its grants, among them its paths, and no times of a token."""
    limited = Principal(name="jwt:build", scopes=frozenset(Scope), paths=Paths.of(["shared/db", "billing/"]))
    asked = Attempt(action=Action.TOKEN_SELF, principal=limited)
    described = services(app).own_credential.describe(attempt=asked)
    assert (described.kind, described.paths) == ("jwt", ("billing/", "shared/db"))
    assert described.scopes == tuple(sorted(Scope))
    assert (described.renewable, described.created_at, described.created_by) == (False, None, None)


def test_a_renewal_extends_a_token(app: Flask, stored: Stored) -> None:
    """A renewal moves the expiry to one lifetime from now, and its entry has the new expiry."""
    text = aged(app)
    fresh = attempt(app, text)
    assert remaining(app) < timedelta(minutes=10)
    renewed = services(app).own_credential.renew(attempt=fresh)
    assert renewed.expires_at == info(app).expires_at
    assert timedelta(minutes=59) < remaining(app) <= timedelta(hours=1)
    entry = stored.audit_logs.find_one({"action": "token_renew"})
    assert entry is not None
    assert (entry["status"], entry["details"]) == (
        "success",
        {
            "token": "ci",
            "namespace": "default",
            "expires_at": renewed.expires_at and renewed.expires_at.isoformat(),
        },
    )


def test_a_renewal_is_at_most_the_lifetime_and_shortens_nothing(app: Flask) -> None:
    """A caller can ask for less than the lifetime; for more, it gets the lifetime; no renewal shortens."""
    for seconds, expected in ((None, HOUR), (1_800, 1_800), (10 * HOUR, HOUR), (1, 600)):
        renew(app, aged(app, f"ci-{seconds}"), seconds)
        extended = remaining(app, f"ci-{seconds}").total_seconds()
        assert expected - 60 < extended <= expected


@pytest.mark.promise("credentials")
def test_no_renewal_exceeds_the_longest_age(app: Flask) -> None:
    """Near its longest age, a token gets what is left of it; then a renewal changes nothing."""
    text = make_token(app, "ci", role="reader", seconds=HOUR, max_age=1.5 * HOUR)
    age_token(app, "ci", minutes=50)
    for _ in range(2):
        renewed = renew(app, text)
        assert renewed.expires_at == renewed.renewable_until == info(app).renewable_until
        assert remaining(app) < timedelta(minutes=40)


def test_a_lifetime_ends_with_the_longest_age(app: Flask) -> None:
    """A new token whose longest age is shorter than its lifetime expires at the longest age."""
    make_token(app, "ci", role="reader", seconds=DAY, max_age=HOUR)
    assert info(app).expires_at == info(app).renewable_until
    assert remaining(app) <= timedelta(hours=1)


def test_without_a_limit_a_token_can_be_renewed_for_10_years(app: Flask) -> None:
    """The longest age without a limit is 10 years."""
    services(app).tokens.create(
        Grant(name="ci", scopes=frozenset(), lifetime=timedelta(hours=1), renewable=True),
        attempt=Attempt(action=Action.TOKEN_CREATE, principal=OPERATOR),
    )
    token = info(app)
    assert token.renewable_until
    assert token.created_at
    assert token.renewable_until - token.created_at == timedelta(days=3_650)


@pytest.mark.promise("credentials")
def test_the_longest_lifetime_limits_renewals(environment: dict[str, str], app: Flask) -> None:
    """`TOKEN_MAX_DAYS` is the longest age too, of new tokens and at each renewal, and shortens nothing."""
    text = make_token(app, "ci", role="reader", seconds=2 * DAY, max_age=90 * DAY)
    with running_app({**environment, "TOKEN_MAX_DAYS": "3"}) as limited:
        with pytest.raises(GrantRefusedError, match="A token can last at most 3 days"):
            make_token(limited, "new", role="reader", seconds=HOUR, max_age=4 * DAY)
        make_token(limited, "new", role="reader", seconds=HOUR, max_age=3 * DAY)
        age_token(limited, "ci", days=1.5)
        token = info(limited)
        renewed = renew(limited, text)
        assert token.created_at
        assert renewed.expires_at == token.created_at + timedelta(days=3)
        age_token(limited, "ci", days=1.4)
        assert renew(limited, text).expires_at == info(limited).expires_at
    with running_app({**environment, "TOKEN_MAX_DAYS": "1"}) as stricter:
        before = info(stricter).expires_at
        assert renew(stricter, text).expires_at == before


@pytest.mark.promise("credentials")
def test_no_renewal_outlives_the_creator(app: Flask) -> None:
    """The creator's expiry limits the longest age: by default it is that, and a later one is refused."""
    soon = datetime(2100, 1, 1, tzinfo=UTC)
    maker = Attempt(
        action=Action.TOKEN_CREATE,
        principal=Principal(name="maker", scopes=frozenset(Scope), expires_at=soon),
    )
    grant: dict[str, Any] = {"scopes": frozenset(), "lifetime": timedelta(hours=1), "renewable": True}
    with pytest.raises(GrantRefusedError, match=": time"):
        services(app).tokens.create(Grant(name="x", max_age=timedelta(days=40_000), **grant), attempt=maker)
    maker.finished = False
    short = Principal(
        name="maker", scopes=frozenset(Scope), expires_at=datetime.now(UTC) + timedelta(hours=2)
    )
    maker.principal = short
    with pytest.raises(GrantRefusedError, match=": time"):
        services(app).tokens.create(Grant(name="x", max_age=timedelta(hours=3), **grant), attempt=maker)
    maker.finished = False
    services(app).tokens.create(Grant(name="ci", **grant), attempt=maker)
    token = info(app)
    assert token.renewable_until
    assert short.expires_at
    assert abs(token.renewable_until - short.expires_at) < timedelta(milliseconds=1)


@pytest.mark.promise("credentials")
def test_a_token_is_renewable_only_if_it_was_created_so(app: Flask, stored: Stored) -> None:
    """Renewing a token without that right, with or without an expiry, is refused and changes nothing."""
    for name, seconds in (("ends", HOUR), ("endless", None)):
        text = make_token(app, name, role="reader", seconds=seconds)
        before = list(stored.tokens.find())
        with pytest.raises(TokenNotRenewableError):
            renew(app, text)
        assert list(stored.tokens.find()) == before


def test_only_a_token_can_be_renewed_or_revoked(app: Flask) -> None:
    """A principal without a token, such as a JWT's, can neither renew nor revoke itself."""
    own = services(app).own_credential
    for operation in (own.renew, own.revoke):
        with pytest.raises(TokenRequiredError):
            operation(attempt=Attempt(action=Action.TOKEN_RENEW, principal=Principal(name="jwt:build")))


def test_a_token_that_has_ended_meanwhile_is_refused(app: Flask, stored: Stored) -> None:
    """A token that was revoked, altered or removed since its look-up is refused; the trail has the reason."""
    changes: dict[str, Callable[[], object]] = {
        "revoked": lambda: revoke(app, "revoked"),
        "altered": lambda: stored.tokens.update_one({"name": "altered"}, {"$set": {"scopes": []}}),
        "unknown": lambda: stored.tokens.delete_one({"name": "unknown"}),
        "expired": lambda: age_token(app, "expired", hours=2),
    }
    own = services(app).own_credential
    for reason, change in changes.items():
        text = make_token(app, reason, role="reader", seconds=HOUR, max_age=DAY)
        attempts = [attempt(app, text) for _ in range(3)]
        change()
        for operation, mine in zip((own.describe, own.renew, own.revoke), attempts, strict=True):
            with pytest.raises(InvalidCredentialError):
                operation(attempt=mine)
            assert mine.details["reason"] == reason


def test_without_the_token_key_there_is_no_own_token(
    environment: dict[str, str], app: Flask, stored: Stored
) -> None:
    """A process without the token key refuses, whatever its principal."""
    mine = attempt(app, make_token(app, "ci", role="reader", seconds=HOUR, max_age=DAY))
    stored.token_keys.delete_many({})
    with running_app(environment) as fresh, pytest.raises(InvalidCredentialError):
        services(fresh).own_credential.renew(attempt=mine)


def test_a_renewal_waits_for_its_entry(app: Flask, stored: Stored) -> None:
    """While the trail cannot be written, no token is described, renewed or revoked."""
    text = aged(app)
    before = list(stored.tokens.find())
    block_trail(stored)
    for operation in ("describe", "renew", "revoke"):
        with pytest.raises(AuditUnavailableError):
            getattr(services(app).own_credential, operation)(attempt=attempt(app, text))
    assert list(stored.tokens.find()) == before
    restore_trail(stored)


@pytest.mark.promise("credentials")
def test_a_renewal_does_not_undo_a_revocation(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is revoked while its renewal is recorded stays revoked, and the caller is refused."""
    text = aged(app)
    mine = attempt(app, text)
    extend = Token.renew

    def late(token: Token, *arguments: Any) -> bool:
        revoke(app, "ci")
        return extend(token, *arguments)

    monkeypatch.setattr(Token, "renew", late)
    with pytest.raises(InvalidCredentialError):
        services(app).own_credential.renew(attempt=mine)
    assert info(app).state == "revoked"


@pytest.mark.promise("credentials")
def test_a_revocation_ends_a_token_that_is_renewed_meanwhile(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is renewed between a revocation's read and its write is revoked, and is not altered."""
    text = aged(app)
    mine = attempt(app, text)
    named = Token.named

    def early(*arguments: Any, **options: Any) -> list[Token]:
        tokens = named(*arguments, **options)
        services(app).own_credential.renew(attempt=mine)
        return tokens

    monkeypatch.setattr(Token, "named", early)
    revoke(app, "ci")
    assert info(app).state == "revoked"


def test_concurrent_renewals_all_succeed(app: Flask) -> None:
    """Concurrent renewals all succeed, and the token has the latest of their expiries."""
    text = aged(app)
    attempts = [attempt(app, text) for _ in range(6)]
    start = Barrier(6)

    def extend(mine: Attempt) -> datetime | None:
        start.wait()
        return services(app).own_credential.renew(attempt=mine).expires_at

    with ThreadPoolExecutor(6) as pool:
        expiries = list(pool.map(extend, attempts))
    assert info(app).state == "active"
    assert info(app).expires_at == max(filter(None, expiries))


def test_a_renewal_ends_in_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that others keep preventing fails as if MongoDB were unavailable."""
    text = aged(app)
    monkeypatch.setattr(Token, "renew", lambda *_: False)
    monkeypatch.setattr(renewals, "attempts", lambda: iter(range(2)))
    with pytest.raises(StorageUnavailableError):
        renew(app, text)


def test_a_token_revokes_itself_and_what_it_made(app: Flask, stored: Stored) -> None:
    """With `cascade`, a token also ends every token that it made, each with its own entry."""
    text = make_token(app, "root", role="admin")
    for name in ("a", "b"):
        services(app).tokens.create(
            Grant(name=name, scopes=frozenset({Scope.SECRET_FETCH})),
            attempt=attempt(app, text, Action.TOKEN_CREATE),
        )
    mine = attempt(app, text, Action.TOKEN_REVOKE)
    assert services(app).own_credential.revoke(cascade=True, attempt=mine).revoked == ("root", "a", "b")
    assert {info(app, name).state for name in ("root", "a", "b")} == {"revoked"}
    assert stored.audit_logs.count_documents({"action": "token_revoke", "status": "success"}) == 3
