"""Who a credential stands for, and for how long that is believed."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from pymongo.monitoring import CommandListener, CommandStartedEvent

from tests.access import make_token, revoke, services
from tests.conftest import running_app
from vault.auth.authenticator import BELIEVED_SECONDS
from vault.core import ttl_cache
from vault.core.attempt import Action, Attempt
from vault.core.errors import (
    CredentialRequiredError,
    InvalidCredentialError,
    ScopeMissingError,
    StorageUnavailableError,
)
from vault.core.principal import Scope
from vault.core.ttl_cache import TTLCache
from vault.crypto.token import _checksum, new_token
from vault.documents import database

Stored = MongoDatabase[dict[str, Any]]


class Finds(CommandListener):
    """Takes note of what is looked for among the tokens."""

    def __init__(self) -> None:
        self.filters: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note a look-up."""
        if event.command.get("find") == "tokens":
            self.filters.append(dict(event.command["filter"]))

    def succeeded(self, _event: object) -> None:
        """Do nothing."""

    def failed(self, _event: object) -> None:
        """Do nothing."""


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Finds:
    """Listen to what the application asks of MongoDB; use it before `app`."""
    listener = Finds()

    def client(*arguments: Any, **options: Any) -> MongoClient[dict[str, Any]]:
        return MongoClient(*arguments, **options | {"event_listeners": [listener]})

    monkeypatch.setattr(database, "MongoClient", client)
    return listener


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return the time that what was looked up is held against; a test moves it."""
    now = [0.0]
    monkeypatch.setattr(ttl_cache, "monotonic", lambda: now[0])
    monkeypatch.setattr("vault.auth.authenticator.monotonic", lambda: now[0])
    return iter([now])


def identify(app: Flask, credential: str | None, ip: str = "192.0.2.7") -> Attempt:
    attempt = Attempt(action=Action.FETCH, ip=ip)
    services(app).authenticator.identify(credential, attempt=attempt)
    return attempt


def refused(app: Flask, credential: str, ip: str = "192.0.2.7") -> tuple[str, str]:
    attempt = Attempt(action=Action.FETCH, ip=ip)
    with pytest.raises(InvalidCredentialError):
        services(app).authenticator.identify(credential, attempt=attempt)
    assert not attempt.principal.scopes
    return attempt.principal.name, attempt.details["reason"]


def test_a_token_is_its_principal(app: Flask) -> None:
    """Name, namespace and scopes of a principal are those that its token was given."""
    principal = identify(app, make_token(app, "ci", role="reader", namespace="team-a")).principal
    assert (principal.name, principal.namespace, principal.authenticated) == ("team-a/ci", "team-a", True)
    assert principal.scopes == {Scope.SECRET_FETCH, Scope.SECRET_DESCRIBE, Scope.SECRET_LIST}


def test_a_network_holds_a_token(app: Flask) -> None:
    """A token that is bound to networks counts there, and nowhere else; what is no address is nowhere."""
    token = make_token(app, "ci", role="reader", networks=("192.0.2.0/28", "2001:db8::/32"))
    for ip in ("192.0.2.7", "2001:db8::1"):
        assert identify(app, token, ip).principal.name == "ci"
    for ip in ("192.0.2.16", "2001:db9::1", ""):
        assert refused(app, token, ip) == ("ci", "network")


def test_a_token_ends(app: Flask) -> None:
    """A token that has expired is refused, and the trail knows whose it was."""
    assert refused(app, make_token(app, "ci", role="reader", seconds=1e-3)) == ("ci", "expired")


@pytest.mark.parametrize(
    ("credential", "reason"),
    [("", "malformed"), ("smt_", "malformed"), ("a.b.c", "malformed"), (new_token(), "unknown")],
    ids=["nothing", "prefix", "JWT", "token of nobody"],
)
def test_nobody_s_credential_is_refused(app: Flask, credential: str, reason: str) -> None:
    """What is no token, or was never given out, is refused before there are tokens, and after."""
    for _ in range(2):
        assert refused(app, credential)[1] == reason
        make_token(app, f"t{_}", role="reader")


def test_a_wrong_checksum_costs_no_look_up(finds: Finds, app: Flask) -> None:
    """A mistyped token is refused without asking MongoDB."""
    token = make_token(app, "ci", role="reader")
    finds.filters.clear()
    assert refused(app, token[:-1] + ("0" if token[-1] != "0" else "1")) == ("anonymous", "malformed")
    assert finds.filters == []


def test_a_token_is_looked_up_by_its_hash_alone(finds: Finds, app: Flask) -> None:
    """However much of a token is right, the look-up is one and the same: time tells nothing about it."""
    token = make_token(app, "ci", role="reader")
    finds.filters.clear()
    for kept in (4, 12, 20, 35):
        # The checksum is no secret: whoever guesses can make one.
        body = token[:kept] + new_token()[kept:36]
        assert refused(app, body + _checksum(body))[1] == "unknown"
    for found in finds.filters:
        assert {**found, "_id": len(found["_id"])} == {"_id": 64, "pending": None}
    assert len({found["_id"] for found in finds.filters}) == len(finds.filters) == 4


def test_a_token_is_believed_for_a_moment(finds: Finds, app: Flask, clock: Iterator[list[float]]) -> None:
    """Within 3 seconds a token is looked up once; a revocation counts at the latest after them."""
    [now] = clock
    token = make_token(app, "ci", role="reader")
    finds.filters.clear()
    for now[0] in (0.0, 1.0, BELIEVED_SECONDS - 0.01):
        assert identify(app, token).principal.name == "ci"
    assert len(finds.filters) == 1
    revoke(app, "ci")
    now[0] = BELIEVED_SECONDS
    assert refused(app, token) == ("ci", "revoked")
    assert BELIEVED_SECONDS < 5


def test_a_new_token_counts_at_once(app: Flask) -> None:
    """That a token was unknown a moment ago is not remembered."""
    stranger = new_token()
    assert refused(app, stranger)[1] == "unknown"
    assert identify(app, make_token(app, "ci", role="reader")).principal.name == "ci"


def test_an_altered_token_is_in_the_log(app: Flask, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever watches the log learns that somebody wrote to the tokens."""
    token = make_token(app, "ci", role="reader")
    stored.tokens.update_one({}, {"$set": {"namespace": "other"}})
    with caplog.at_level(logging.ERROR):
        name, reason = refused(app, token)
    assert reason == "altered"
    assert f"the stored token {name} is not as the service wrote it" in caplog.text
    assert token not in caplog.text


def test_nobody_is_who_they_were_set_to_be(environment: dict[str, str]) -> None:
    """Without a credential one may do what an id is authority enough for, or, with a setting, nothing."""
    for setting, scope, error in (
        ("false", Scope.SECRET_FETCH, None),
        ("false", Scope.SECRET_LIST, CredentialRequiredError),
        ("false", Scope.TOKEN_MANAGE, CredentialRequiredError),
        ("true", Scope.SECRET_FETCH, CredentialRequiredError),
    ):
        with running_app({**environment, "AUTH_ENABLED": setting}) as app:
            attempt = identify(app, None)
            assert (attempt.principal.name, attempt.principal.authenticated) == ("anonymous", False)
            if error is None:
                services(app).authenticator.authorize(scope, attempt=attempt)
            else:
                with pytest.raises(error):
                    services(app).authenticator.authorize(scope, attempt=attempt)


def test_a_missing_scope_is_named(app: Flask) -> None:
    """Who is known and may not is told which scope it takes, and so is the trail."""
    attempt = identify(app, make_token(app, "ci", role="reader"))
    with pytest.raises(ScopeMissingError, match="secret:create"):
        services(app).authenticator.authorize(Scope.SECRET_CREATE, attempt=attempt)
    assert attempt.details == {"reason": "needs secret:create"}


def test_without_mongodb_nobody_is_let_in_or_called_wrong(environment: dict[str, str]) -> None:
    """While MongoDB is away, whether a token is good is not known: that is neither yes nor no."""
    away = {**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}
    with running_app(away) as app, pytest.raises(StorageUnavailableError):
        identify(app, new_token())


@given(credential=st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_credential_makes_another_kind_of_error(app: Flask, credential: str) -> None:
    """Whatever is sent is refused in one way."""
    assert refused(app, credential)[1] == "malformed"


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    """What was looked up longest ago makes room; what was looked up again is the youngest."""
    memory: TTLCache[int] = TTLCache(seconds=1e9, max_size=3)
    for number, key in enumerate("abcad"):
        memory.put(key, number, since=0)
    assert [memory.get(key) for key in "abcd"] == [3, None, 2, 4]
