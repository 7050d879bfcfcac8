"""Last uses of tokens: noted by requests, stored in the background."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import make_token, services
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.common.errors import InvalidCredentialError, StorageUnavailableError
from vault.common.periodic import Periodic
from vault.core.access.tokens import uses as token_uses
from vault.core.access.tokens.uses import TokenUses
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token import new_token
from vault.core.documents import database
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR

pytestmark = pytest.mark.own_app


def identify(app: Flask, text: str, ip: str = "192.0.2.7") -> None:
    services(app).authenticator.identify(text, attempt=Attempt(action=Action.FETCH, ip=ip))


def uses(app: Flask) -> TokenUses:
    return services(app).authenticator._uses


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record each call that stores uses, with the number of tokens."""
    seen: list[str] = []
    store = Token.store_uses

    def looking(ages: dict[str, int]) -> None:
        seen.append(str(len(ages)))
        store(ages)

    monkeypatch.setattr(Token, "store_uses", looking)
    return iter([seen])


def test_a_use_is_stored_once_for_many_requests(
    app: Flask, stored: Stored, quiet: Iterator[list[str]]
) -> None:
    """Many requests with a token cost one write, by MongoDB's clock; until then the token is unchanged."""
    [seen] = quiet
    text = make_token(app, "ci", role="reader")
    make_token(app, "unused", role="reader")
    for _ in range(10):
        identify(app, text)
    assert seen == []
    assert "last_used_at" not in stored.tokens.find_one({"name": "ci"})
    uses(app).flush()
    assert seen == ["1"]
    last = stored.tokens.find_one({"name": "ci"})["last_used_at"]
    assert abs(last.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "last_used_at" not in stored.tokens.find_one({"name": "unused"})
    uses(app).flush()
    assert seen == ["1"]
    identify(app, text)
    assert {token.name: bool(token.last_used_at) for token in listed(app)} == {"ci": True, "unused": False}


def listed(app: Flask) -> Any:
    return services(app).tokens.list(attempt=Attempt(action=Action.TOKEN_LIST, principal=OPERATOR))


def test_a_use_keeps_a_token_genuine(app: Flask) -> None:
    """The last use is not part of the seal: the token stays valid, and can be renewed and revoked."""
    text = make_token(app, "ci", role="reader", seconds=60, max_age=600)
    identify(app, text)
    uses(app).flush()
    mine = Attempt(action=Action.TOKEN_RENEW)
    services(app).authenticator.identify(text, attempt=mine)
    assert services(app).own_credential.renew(attempt=mine).last_used_at
    assert [token.state for token in listed(app)] == ["active"]


@pytest.mark.promise("credentials")
def test_a_refused_credential_is_no_use(app: Flask, quiet: Iterator[list[str]]) -> None:
    """Strangers, expired tokens and tokens from another network cause no write."""
    [seen] = quiet
    elsewhere = make_token(app, "elsewhere", role="reader", networks=("198.51.100.0/24",))
    expired = make_token(app, "expired", role="reader", seconds=1e-3)
    for text in (elsewhere, expired, new_token(), "smt_x", "a.b.c"):
        with pytest.raises(InvalidCredentialError):
            identify(app, text)
    uses(app).flush()
    assert seen == []


def test_many_tokens_are_stored_in_batches(
    app: Flask, stored: Stored, quiet: Iterator[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round trip stores a limited number of uses."""
    [seen] = quiet
    monkeypatch.setattr(token_uses, "_MAX_BATCH", 2)
    for name in "abc":
        identify(app, make_token(app, name, role="reader"))
    uses(app).flush()
    assert sorted(seen) == ["1", "2"]
    assert stored.tokens.count_documents({"last_used_at": {"$exists": True}}) == 3


def test_the_time_is_of_the_use_not_of_the_write(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use is stored as of the time at which the request came."""
    now = [0.0]
    monkeypatch.setattr(token_uses, "monotonic", lambda: now[0])
    identify(app, make_token(app, "ci", role="reader"))
    now[0] = 3_600.0
    uses(app).flush()
    last = stored.tokens.find_one()["last_used_at"].replace(tzinfo=UTC)
    assert timedelta(minutes=59) < datetime.now(UTC) - last < timedelta(minutes=61)


def test_a_worker_stores_uses_by_itself(app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first use starts a background thread that stores uses every minute."""
    authenticator = services(app).authenticator
    authenticator._uses = mine = TokenUses()
    monkeypatch.setattr(mine, "_flushes", Periodic("token-uses", 0.01, mine.flush))
    text = make_token(app, "ci", role="reader")
    for _ in range(2):
        identify(app, text)
    wait_until(lambda: "last_used_at" in stored.tokens.find_one())
    mine.close()


def test_the_end_of_a_process_stores_uses(environment: dict[str, str], stored: Stored) -> None:
    """A process that ends stores the uses that it has noted."""
    with running_app(environment) as app:
        identify(app, make_token(app, "ci", role="reader"))
    assert "last_used_at" in stored.tokens.find_one()


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_uses_are_lost(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """While MongoDB is unavailable, noted uses are dropped, and the next minute begins empty."""
    monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.1)
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as app:
        uses(app)._latest["0" * 64] = 0.0
        with pytest.raises(StorageUnavailableError):
            uses(app).flush()
        assert uses(app)._latest == {}
        # Nothing is left, so this needs no MongoDB.
        uses(app).flush()
