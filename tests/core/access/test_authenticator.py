"""The principal of a credential, and the time for which it is cached."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.core.access.conftest import Reads
from tests.support.access import age_token, make_token, revoke, services
from tests.support.rotation import Stored
from vault.common import clock as core_clock
from vault.common.errors import InvalidCredentialError, StorageUnavailableError
from vault.core.access import ttl_cache
from vault.core.access.authenticator import CACHE_SECONDS, Authenticator
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.uses import TokenUses
from vault.core.access.ttl_cache import TTLCache
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token import _checksum, new_token
from vault.core.documents.token import StoredTokenKey
from vault.core.principal import ANONYMOUS, Principal, Scope


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return the clock of the cache, which a test can move."""
    now = [0.0]
    monkeypatch.setattr(ttl_cache, "monotonic", lambda: now[0])
    monkeypatch.setattr("vault.core.access.authenticator.monotonic", lambda: now[0])
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


def test_a_token_identifies_its_principal(app: Flask) -> None:
    """A principal has the name, namespace and scopes of its token."""
    principal = identify(app, make_token(app, "ci", role="reader", namespace="team-a")).principal
    assert (principal.name, principal.namespace, principal.authenticated) == ("team-a/ci", "team-a", True)
    assert principal.scopes == {Scope.SECRET_FETCH, Scope.SECRET_DESCRIBE, Scope.SECRET_LIST}


def test_a_token_is_bound_to_its_networks(app: Flask) -> None:
    """A token bound to networks works only from them, and never from an invalid address."""
    token = make_token(app, "ci", role="reader", networks=("192.0.2.0/28", "2001:db8::/32"))
    for ip in ("192.0.2.7", "2001:db8::1"):
        assert identify(app, token, ip).principal.name == "ci"
    for ip in ("192.0.2.16", "2001:db9::1", ""):
        assert refused(app, token, ip) == ("ci", "network")


def test_a_wrong_checksum_needs_no_look_up(reads: Reads, app: Flask) -> None:
    """A mistyped token is refused without a query to MongoDB."""
    token = make_token(app, "ci", role="reader")
    reads.clear()
    assert refused(app, token[:-1] + ("0" if token[-1] != "0" else "1")) == ("anonymous", "malformed")
    assert reads.of("tokens") == []


def test_a_token_is_looked_up_by_its_hash_alone(reads: Reads, app: Flask) -> None:
    """The query is the same however much of a token is right, so timing reveals nothing."""
    token = make_token(app, "ci", role="reader")
    reads.clear()
    for kept in (4, 12, 20, 35):
        # The checksum is not secret: anyone who guesses can compute it.
        body = token[:kept] + "".join("b" if character == "a" else "a" for character in token[kept:36])
        assert refused(app, body + _checksum(body))[1] == "unknown"
    filters = [command["filter"] for command in reads.of("tokens")]
    for query in filters:
        assert {**query, "_id": len(query["_id"])} == {"_id": 64, "pending": None}
    assert len({query["_id"] for query in filters}) == len(filters) == 4


def test_a_token_is_cached_for_3_seconds(reads: Reads, app: Flask, clock: Iterator[list[float]]) -> None:
    """A token is looked up once in 3 seconds; a revocation takes effect after at most that time."""
    [now] = clock
    token = make_token(app, "ci", role="reader")
    reads.clear()
    for now[0] in (0.0, 1.0, CACHE_SECONDS - 0.01):
        assert identify(app, token).principal.name == "ci"
    assert len(reads.of("tokens")) == 1
    revoke(app, "ci")
    now[0] = CACHE_SECONDS
    assert refused(app, token) == ("ci", "revoked")
    assert CACHE_SECONDS < 5


def test_an_expired_token_is_looked_up_once_more(
    reads: Reads,
    environment: dict[str, str],
    app: Flask,
    clock: Iterator[list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that expires while it is cached may have been renewed on another replica; one query tells."""
    assert next(clock) == [0.0]
    tokens = {
        name: make_token(app, name, role="reader", seconds=3_600, max_age=86_400) for name in ("a", "b")
    }
    for name, token in tokens.items():
        age_token(app, name, minutes=50)
        assert identify(app, token).principal.name == name
    with running_app(environment) as replica:
        services(replica).own_credential.renew(attempt=identify(replica, tokens["a"]))
        monkeypatch.setattr(core_clock, "now", lambda: datetime.now(UTC) + timedelta(minutes=30))
        reads.clear()
        for _ in range(3):
            assert identify(app, tokens["a"]).principal.name == "a"
            assert refused(app, tokens["b"]) == ("b", "expired")
    assert len(reads.of("tokens")) == 2


def test_any_expired_credential_is_refused() -> None:
    """A credential of any kind is refused once its principal has expired."""
    old = Principal(name="jwt:old", scopes=frozenset(Scope), expires_at=datetime(2000, 1, 1, tzinfo=UTC))
    kind = SimpleNamespace(has_form=lambda _: True, principal=lambda *_, **__: old)
    authenticator = Authenticator(kind, lambda: [kind], anonymous=ANONYMOUS, uses=TokenUses())
    asked = Attempt(action=Action.FETCH)
    with pytest.raises(InvalidCredentialError):
        authenticator.identify("a.b.c", attempt=asked)
    assert (asked.principal.name, asked.details["reason"]) == ("jwt:old", "expired")


def test_what_no_credential_looks_like_is_refused() -> None:
    """Without the features that know other credentials, everything but a token is malformed."""
    tokens = SimpleNamespace()
    authenticator = Authenticator(tokens, list, anonymous=ANONYMOUS, uses=TokenUses())
    asked = Attempt(action=Action.FETCH)
    with pytest.raises(InvalidCredentialError):
        authenticator.identify("a.b.c", attempt=asked)
    assert (asked.principal.name, asked.details["reason"]) == ("anonymous", "malformed")


def test_an_altered_token_is_logged(app: Flask, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    """A token that was altered in the database is reported in the log."""
    token = make_token(app, "ci", role="reader")
    stored.tokens.update_one({}, {"$set": {"namespace": "other"}})
    with caplog.at_level(logging.ERROR):
        name, reason = refused(app, token)
    assert reason == "altered"
    assert f"the stored token {name} is not as the service wrote it" in caplog.text
    assert token not in caplog.text


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_a_token_is_neither_accepted_nor_refused(environment: dict[str, str]) -> None:
    """While MongoDB is unreachable, a token is neither accepted nor called invalid."""
    away = {**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}
    with running_app(away) as app, pytest.raises(StorageUnavailableError):
        identify(app, new_token())


def test_the_cache_is_bounded_and_drops_the_oldest_entry() -> None:
    """A full cache drops the entry that was looked up longest ago; a repeated look-up renews one."""
    memory: TTLCache[int] = TTLCache(seconds=1e9, max_size=3)
    for number, key in enumerate("abcad"):
        memory.put(key, number, since=0)
    assert [memory.get(key) for key in "abcd"] == [3, None, 2, 4]


def test_all_processes_share_one_token_key(environment: dict[str, str], stored: Stored) -> None:
    """The first tokens, created concurrently, all use one key."""
    with running_app(environment) as app, ThreadPoolExecutor(8) as pool:
        shared = services(app).tokens._keys
        processes = [TokenKeys(shared._keyring, shared._guard) for _ in range(8)]
        keys = list(pool.map(TokenKeys.find_or_make, processes))
    assert stored.token_keys.count_documents({}) == 1
    assert len({key.hash("smt_") for key in keys}) == 1


@pytest.mark.own_app
def test_a_vanished_token_key_is_not_used(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the key just stored is missing, no token is created with it."""
    monkeypatch.setattr(StoredTokenKey, "stored", lambda: None)
    with pytest.raises(StorageUnavailableError):
        make_token(app, "new")
