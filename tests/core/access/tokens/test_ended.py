"""Tokens that expired long ago are removed, and their names stay taken."""

from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import age_token, bearer, make_token, services
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.common.errors import TokenNameTakenError
from vault.core.access.tokens import ended as ended_tokens
from vault.core.access.tokens.ended import EndedTokens
from vault.core.attempt import Action, Attempt
from vault.core.documents import token
from vault.core.principal import OPERATOR, Principal, Scope


def ended(app: Flask) -> EndedTokens:
    return services(app).startup._ended_tokens


def names(app: Flask) -> set[str]:
    attempt = Attempt(action=Action.TOKEN_LIST, principal=OPERATOR)
    return {info.name for info in services(app).tokens.list(attempt=attempt)}


def by(creator: str, action: Action) -> Attempt:
    """Return an attempt of the administrator *creator*."""
    return Attempt(action=action, principal=Principal(name=creator, scopes=frozenset(Scope)))


@pytest.fixture
def old(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create tokens that expired 31 days ago, for several batches; return one of them, and its name."""
    monkeypatch.setattr(ended_tokens, "_MAX_BATCH", 2)
    texts = [make_token(app, f"old-{n}", role="reader", namespace="team", seconds=60) for n in range(5)]
    for n in range(5):
        age_token(app, f"team/old-{n}", days=31)
    return texts


def test_only_the_name_of_a_long_expired_token_is_kept(app: Flask, stored: Stored, old: list[str]) -> None:
    """30 days after its expiry, a token is removed except for its name; other tokens stay."""
    for name, seconds, days in (("recent", 60, 29), ("endless", None, 400), ("active", 90 * 86_400, 31)):
        make_token(app, name, role="reader", seconds=seconds)
        age_token(app, name, days=days)
    ended(app).remove()
    assert names(app) == {"recent", "endless", "active"}
    kept = list(stored.tokens.find({"namespace": "team"}))
    assert [sorted(document) for document in kept] == [["_id", "name", "namespace", "pending"]] * 5
    assert {document["name"] for document in kept} == {f"team/old-{n}" for n in range(5)}
    assert app.test_client().post("/vault/token/self", json={}, headers=bearer(old[0])).status_code == 401
    ended(app).remove()
    assert list(stored.tokens.find({"namespace": "team"})) == kept


@pytest.mark.promise("credentials")
@pytest.mark.usefixtures("old")
def test_the_name_of_a_removed_token_stays_taken(app: Flask) -> None:
    """No token gets the name of a removed one, also long after that; other namespaces are free to use it."""
    ended(app).remove()
    with pytest.raises(TokenNameTakenError, match="already used"):
        make_token(app, "old-0", role="reader", namespace="team")
    make_token(app, "old-0", role="reader")
    assert names(app) == {"old-0"}


@pytest.mark.promise("credentials")
@pytest.mark.usefixtures("old")
def test_altered_tokens_are_not_removed(app: Flask, stored: Stored) -> None:
    """A token that someone changed in the database stays, so that operators see it; others are removed."""
    for n in (0, 1, 3):
        stored.tokens.update_one({"name": f"team/old-{n}"}, {"$set": {"created_by": "somebody"}})
    ended(app).remove()
    assert names(app) == {"old-0", "old-1", "old-3"}


@pytest.mark.usefixtures("old")
def test_a_token_is_long_expired_by_both_clocks(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica whose clock is ahead by years removes no token: MongoDB's clock must agree."""
    text = make_token(app, "valid", role="reader", seconds=60)

    class Clock(datetime):
        """Two years ahead."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=730)

    with monkeypatch.context() as ahead:
        ahead.setattr(token, "datetime", Clock)
        ended(app).remove()
    assert names(app) == {"valid"}
    assert app.test_client().post("/vault/token/self", json={}, headers=bearer(text)).status_code == 200


@pytest.mark.usefixtures("old")
def test_a_worker_removes_them_in_the_background(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker removes long expired tokens from its start on, without a request for it."""
    monkeypatch.setattr(ended_tokens, "_INTERVAL_SECONDS", 0.01)
    with running_app(environment) as fresh:
        services(fresh).startup.begin()
        wait_until(lambda: stored.tokens.count_documents({"pending": None}) == 0)


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_nothing_is_removed(environment: dict[str, str]) -> None:
    """While MongoDB is unavailable, the removal ends without an error of its own."""
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as away:
        ended(away).remove()


@pytest.mark.own_app
def test_without_a_token_there_is_nothing_to_remove(app: Flask, stored: Stored) -> None:
    """A service that never made a token removes none, and makes no key for them."""
    ended(app).remove()
    assert stored.token_keys.count_documents({}) == 0
