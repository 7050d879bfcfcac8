"""Rate limits, by principal and by address."""

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Timer
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from limits.storage import MongoDBStorage
from pymongo.errors import InvalidOperation
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.lifecycle import UNKNOWN_ID, trail
from tests.support.rotation import Stored
from vault.core.crypto.token import new_token
from vault.toolkit.http import counters

FETCH = "/vault/secret/fetch"


def ask(client: FlaskClient, token: str | None = None, address: str = "127.0.0.1") -> TestResponse:
    headers = bearer(token) if token else {}
    return client.post(FETCH, json={}, headers=headers, environ_overrides={"REMOTE_ADDR": address})


def statuses(
    client: FlaskClient, count: int, token: str | None = None, address: str = "127.0.0.1"
) -> list[int]:
    return [ask(client, token, address).status_code for _ in range(count)]


@contextmanager
def limited(environment: dict[str, str], **settings: str) -> Iterator[tuple[Flask, FlaskClient]]:
    with running_app({**environment, **settings}) as app:
        yield app, app.test_client()


def test_an_unrelated_timer_delays_no_application(environment: dict[str, str]) -> None:
    """An application starts and closes without waiting for a timer that is not its own."""
    unrelated = Timer(600, lambda: None)
    unrelated.daemon = True
    unrelated.start()
    try:
        with limited(environment):
            pass
        assert unrelated.is_alive()
    finally:
        unrelated.cancel()


def test_a_principal_has_its_limit(environment: dict[str, str]) -> None:
    """Each principal has its own limit across all addresses, and uses up no other's."""
    with limited(environment, RATE_LIMIT="3/hour") as (app, client):
        one, other = (make_token(app, name, role="reader") for name in ("one", "other"))
        assert statuses(client, 2, one) + statuses(client, 3, one, "192.0.2.1") == [422] * 3 + [429] * 2
        assert statuses(client, 4, other) == [422] * 3 + [429]
        assert statuses(client, 1) == [422]


def test_anonymous_callers_are_limited_by_address(environment: dict[str, str]) -> None:
    """Without a credential, the address is counted; of IPv6, the 64 bits of one client."""
    for asking, status in (("false", 422), ("true", 401)):
        with limited(environment, RATE_LIMIT="3/hour", AUTH_ENABLED=asking) as (_, client):
            assert statuses(client, 4) == [status] * 3 + [429]
            assert statuses(client, 1, address="192.0.2.1") == [status]
            found = [statuses(client, 1, address=f"2001:db8::{number}")[0] for number in range(4)]
            assert found == [status] * 3 + [429]
            assert statuses(client, 1, address="2001:db8:0:1::1") == [status]


def test_a_reply_has_limit_and_remaining_requests(environment: dict[str, str], stored: Stored) -> None:
    """Each reply has the limit and the rest; a 429 has a retry time and is recorded."""
    with limited(environment, RATE_LIMIT="2/minute;100/hour") as (_, client):
        for left in (1, 0):
            reply = ask(client)
            assert reply.headers["RateLimit-Policy"] == (
                '"requests-2/60s";q=2;w=60, "requests-100/3600s";q=100;w=3600'
            )
            [(name, state)] = structured(reply.headers["RateLimit"]).items()
            assert (name, state["r"]) == ("requests-2/60s", left)
            assert 1 <= state["t"] <= 61
            assert "Retry-After" not in reply.headers
        reply = ask(client)
    assert (reply.status_code, reply.content_type) == (429, "application/problem+json")
    assert reply.get_json(force=True)["detail"] == "Too many requests. Try again later."
    assert structured(reply.headers["RateLimit"])["requests-2/60s"]["r"] == 0
    assert 1 <= int(reply.headers["Retry-After"]) <= 61
    last = trail(stored)[-1]
    assert (last["status"], last["details"]) == ("denied", {"reason": "rate limit"})


def structured(field: str) -> dict[str, dict[str, int]]:
    """Return the members of a structured field (RFC 9651): strings with integers as parameters."""
    member = re.compile(r'"([ !#-\[\]-~]+)"((?:;[a-z]+=[0-9]{1,15})+)')
    found = {}
    for text in field.split(", "):
        match = member.fullmatch(text)
        assert match, text
        pairs = (pair.split("=") for pair in match[2][1:].split(";"))
        found[match[1]] = {name: int(value) for name, value in pairs}
    return found


def test_a_client_finds_the_policy_of_the_limit_that_counts(environment: dict[str, str]) -> None:
    """`RateLimit` names a policy of `RateLimit-Policy`: the exceeded one, or the shortest window."""
    with limited(environment, RATE_LIMIT="50/second;4/hour", FAILED_AUTH_LIMIT="9/minute") as (_, client):
        for expected in [{"q": 50, "w": 1}] * 4 + [{"q": 4, "w": 3600}]:
            reply = ask(client)
            [name] = structured(reply.headers["RateLimit"])
            assert structured(reply.headers["RateLimit-Policy"])[name] == expected
        refused = ask(client, new_token())
    assert refused.headers["RateLimit-Policy"] == '"failures";q=9;w=60'
    assert structured(refused.headers["RateLimit"])["failures"]["r"] == 8


def batch(client: FlaskClient, items: int) -> TestResponse:
    return client.post("/vault/secret/fetch-batch", json={"secrets": [{"secret_id": UNKNOWN_ID}] * items})


def test_each_item_of_a_batch_counts(environment: dict[str, str], stored: Stored) -> None:
    """Each item counts as a request; a batch that does not fit is refused as a whole, and counts as one."""
    with limited(environment, RATE_LIMIT="50/minute;30/hour") as (_, client):
        reply = batch(client, 20)
        [state] = map(structured, reply.headers.get_all("RateLimit"))
        assert (reply.status_code, state["requests-50/60s"]["r"]) == (200, 30)
        assert stored.audit_logs.count_documents({}) == 20
        reply = batch(client, 20)
        assert (reply.status_code, reply.content_type) == (429, "application/problem+json")
        [state] = map(structured, reply.headers.get_all("RateLimit"))
        assert state["requests-30/3600s"]["r"] == 9
        assert reply.headers["Retry-After"]
        last = trail(stored)[-1]
        assert (last["action"], last["status"], last["details"]) == (
            "fetch",
            "denied",
            {"reason": "rate limit"},
        )
        assert stored.audit_logs.count_documents({}) == 21
        body = {"secrets": [{"secret": "YQ=="}] * 10}
        assert client.post("/vault/secret/create-batch", json=body).status_code == 429
        assert batch(client, 8).status_code == 200
        assert statuses(client, 1) == [429]
    assert stored.secrets.count_documents({}) == 0


def test_the_matches_of_a_prefix_count(environment: dict[str, str], stored: Stored) -> None:
    """Each secret with a prefix counts as a request, before any of them is returned."""
    with limited(environment, RATE_LIMIT="12/hour") as (app, client):
        token = bearer(make_token(app, "one", role="writer"))
        secrets = [{"secret": "YQ==", "name": f"app/{number}", "max_reads": 9} for number in range(5)]
        path = "/vault/secret/fetch-batch"
        assert (
            client.post("/vault/secret/create-batch", json={"secrets": secrets}, headers=token).status_code
            == 200
        )
        found = [client.post(path, json={"name_prefix": "app/"}, headers=token).status_code for _ in range(2)]
        assert found == [200, 429]
        assert client.post(path, json={"name_prefix": "none"}, headers=token).status_code == 200
        assert client.post(path, json={"name_prefix": "none"}, headers=token).status_code == 429
    assert [secret["reads"] for secret in stored.secrets.find()] == [1] * 5


def test_a_refused_batch_uses_up_no_shared_count(environment: dict[str, str]) -> None:
    """The items of a refused batch do not use up a count that workers share."""
    settings = {"RATE_LIMIT": "10/hour", "RATE_LIMIT_STORAGE_URI": environment["MONGO_URI"]}
    with limited(environment, **settings) as (_, client):
        assert batch(client, 20).status_code == 429
        assert batch(client, 9).status_code == 200


def test_without_a_limit_there_are_no_headers(client: FlaskClient) -> None:
    """By default, requests are not limited, and no reply has a rate-limit header."""
    assert statuses(client, 40) == [422] * 40
    assert not any(name.startswith("RateLimit") for name, _ in ask(client).headers)


def test_the_page_and_health_are_not_limited(environment: dict[str, str]) -> None:
    """Paths outside `/vault/` are always answered."""
    with limited(environment, RATE_LIMIT="1/hour") as (_, client):
        assert [client.get(path).status_code for path in ("/health/live", "/openapi.json") * 3] == [200] * 6


def test_refused_credentials_are_limited_by_address(environment: dict[str, str], stored: Stored) -> None:
    """Repeated invalid credentials are limited by address; valid ones from that address still work."""
    with limited(environment, FAILED_AUTH_LIMIT="3/hour") as (app, client):
        good = make_token(app, "good", role="reader")
        tried = [status for _ in range(5) for status in statuses(client, 1, new_token())]
        assert tried == [401] * 3 + [429] * 2
        assert statuses(client, 1, good) == [422]
        assert statuses(client, 1) == [422]
        assert statuses(client, 1, new_token(), "192.0.2.1") == [401]
    refused = list(stored.audit_logs.find({"status": "denied"}))
    assert Counter(entry["details"]["reason"] for entry in refused) == {"unknown": 4, "rate limit": 2}


def test_refused_credentials_are_limited_by_default(client: FlaskClient) -> None:
    """The limit on refused credentials applies without any setting."""
    assert statuses(client, 32, "no token") == [401] * 30 + [429] * 2


def test_a_count_can_be_shared(environment: dict[str, str], stored: Stored) -> None:
    """Workers count together with one MongoDB, however many requests they get at once, or else alone."""
    shared = {"RATE_LIMIT_STORAGE_URI": environment["MONGO_URI"]}
    for more, accepted in (({}, 40), (shared, 10)):
        with ExitStack() as running, ThreadPoolExecutor(8) as pool:
            apps = [running.enter_context(limited(environment, RATE_LIMIT="10/hour", **more)) for _ in "1234"]
            clients = [app.test_client() for app, _ in apps for _ in range(12)]
            found = Counter(reply.status_code for reply in pool.map(ask, clients))
        assert found == {422: accepted, 429: 48 - accepted}
    assert stored.rate_limits.count_documents({}) == 1


def test_first_counts_share_one_client(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent first requests open one client for the shared counts; closing the application closes it."""
    made = []
    create = MongoDBStorage._init_mongo_client

    def slowly(self: MongoDBStorage, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.1)
        made.append(create(self, *arguments, **options))
        return made[-1]

    monkeypatch.setattr(MongoDBStorage, "_init_mongo_client", slowly)
    settings = {"RATE_LIMIT": "3/hour", "RATE_LIMIT_STORAGE_URI": environment["MONGO_URI"]}
    with limited(environment, **settings) as (app, _):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: ask(app.test_client()).status_code, range(4)))
        assert sorted(found) == [422] * 3 + [429]
        assert len(made) == 1
    with pytest.raises(InvalidOperation):
        made[0].admin.command("ping")


def test_a_lost_counter_refuses_no_request(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the shared counter is unreachable, each worker counts alone and logs one line."""
    monkeypatch.setattr(counters, "_TIMEOUT_MILLISECONDS", 100)
    monkeypatch.setattr(counters, "_RETRY_SECONDS", 3_600)
    settings = {"RATE_LIMIT": "5/hour", "RATE_LIMIT_STORAGE_URI": "mongodb://127.0.0.1:1"}
    with caplog.at_level(logging.WARNING), limited(environment, **settings) as (_, client):
        assert statuses(client, 6) == [422] * 5 + [429]
        assert "RateLimit" in ask(client).headers
    assert caplog.text.count("rate limits are counted by each worker") == 1


def test_a_counter_lost_after_counting_refuses_no_request(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the rest cannot be read, the reply omits it."""
    settings = {"RATE_LIMIT": "5/hour", "RATE_LIMIT_STORAGE_URI": environment["MONGO_URI"]}
    with limited(environment, **settings) as (app, client):
        storage = app.extensions["secret-manager-limits"].counters.shared.storage
        assert ask(client).headers["RateLimit-Policy"] == '"requests";q=5;w=3600'
        client_of_limits = storage._storage
        wrapped = type(storage).get_expiry

        def get_expiry(self: Any, key: str) -> float:
            client_of_limits.close()
            return float(wrapped(self, key))

        monkeypatch.setattr(type(storage), "get_expiry", get_expiry)
        assert ask(client).status_code == 422
