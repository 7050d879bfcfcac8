"""Deliveries: policy, cache, and what reaches Docker, the log and the metrics."""

import json
import logging
from base64 import b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.clients.swarm.docker import CONTEXT, asked
from tests.support.waiting import wait_until
from vault.clients.delivery import deliveries
from vault.clients.delivery import driver as module
from vault.clients.delivery.cache import EncryptedCache, Fetched
from vault.clients.delivery.client import Fetch, TokenFile
from vault.clients.delivery.driver import Driver
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.outcomes import (
    DeniedError,
    LargeValueError,
    NotDeliveredError,
    Outcome,
    RefusedError,
    UnavailableError,
)
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import DeliveryRequest, Reference
from vault.common import batching
from vault.common.observability.logs import JsonFormatter

FETCH = Fetch(Reference(name="a"), DeliveryRequest(asked()).task)
ID = "550e8400-e29b-41d4-a716-446655440000"


class Service:
    """A service with some secrets, which raises `error` if it is set."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes | NotDeliveredError] = {"a": b"hush", "b": b"hush too", ID: b"hush"}
        self.error: Exception | None = None
        self.batches: list[Sequence[Fetch]] = []
        self.answers = Event()
        self.answers.set()

    def fetch(self, fetches: Sequence[Fetch]) -> Sequence[Fetched | NotDeliveredError]:
        """Return the secrets."""
        self.batches.append(fetches)
        self.answers.wait(60)
        if self.error:
            raise self.error
        return [self._one(fetch) for fetch in fetches]

    def _one(self, fetch: Fetch) -> Fetched | NotDeliveredError:
        if fetch.refusal:
            return DeniedError("the service answers 403 (delivery_refused)")
        reference = fetch.reference.name or fetch.reference.secret_id
        found = self.secrets[reference]
        references = frozenset({"b"} if reference == "b" else {"a", ID})
        return Fetched(3, found, "r-1", references) if isinstance(found, bytes) else found


class World:
    """A driver with its service, and what it has logged and measured."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.service = Service()
        self.token = folder / "token"
        self.token.write_text("smt_abc")
        self.metrics = Metrics()
        self._log = log
        self.driver = self.new()

    def new(self, **options: Any) -> Driver:
        """Replace the driver with one with these options."""
        options = {"policy": None, "cache": EncryptedCache(0), "metrics": self.metrics} | options
        self.driver = Driver(self.service, TokenFile(self.token), **options)
        return self.driver

    def ask(self, **labels: str) -> bytes | str:
        """Return the value, or the error."""
        reply = self.driver.get_secret(asked(labels or {"name": "a"}))
        if "Err" in reply:
            assert reply.keys() == {"Err"}
            return str(reply["Err"])
        assert reply == {"Value": reply["Value"], "DoNotReuse": True}
        return b64decode(reply["Value"])

    def logged(self) -> dict[str, Any]:
        """Return the last line of the log, without its time and place."""
        line: dict[str, Any] = json.loads(JsonFormatter().format(self._log.records[-1]))
        return {name: line[name] for name in line if name not in ("time", "logger", "pid")}

    def counted(self, outcome: Outcome) -> int:
        """Return the number of deliveries with this outcome."""
        [count] = [
            float(line.split()[-1])
            for line in self.metrics.page().decode().splitlines()
            if line.startswith(f'secret_manager_driver_deliveries_total{{outcome="{outcome}"}}')
        ]
        return int(count)


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> World:
    """Return a driver without a policy and a cache."""
    caplog.set_level(logging.INFO)
    return World(tmp_path, caplog)


def test_a_delivery_is_logged_and_counted(world: World) -> None:
    """A task gets its value; the log says which task got which version, and does not have the value."""
    assert world.ask(name="a") == b"hush"
    assert world.logged() == {
        "level": "info",
        "message": "delivered",
        "docker_secret": "shop_db_password",
        **CONTEXT,
        "secret_name": "a",
        "version": 3,
        "request_id": "r-1",
    }
    assert world.counted(Outcome.DELIVERED) == 1
    page = world.metrics.page().decode()
    assert 'secret_manager_driver_batches_total{outcome="answered"} 1.0' in page
    assert "secret_manager_driver_batch_size_sum 1.0" in page
    assert "secret_manager_driver_delivery_duration_seconds_count 1.0" in page
    assert "secret_manager_driver_build_info{version=" in page


@pytest.mark.promise("swarm")
def test_an_id_is_not_logged(world: World) -> None:
    """The log names a secret by its name only: an ID can be enough to fetch."""
    assert world.ask(id=ID) == b"hush"
    assert ID not in json.dumps(world.logged())


@pytest.mark.parametrize(
    ("labels", "outcome", "reason"),
    [
        ({"field": "a"}, Outcome.INVALID, "set one of the labels"),
        ({"name": "a", "field": "x"}, Outcome.UNSUITABLE, "not JSON"),
        ({"name": "a", "services": "web"}, Outcome.FORBIDDEN, "secret-manager.services does not name"),
    ],
)
def test_a_refusal_is_logged_and_counted(
    world: World, labels: dict[str, str], outcome: Outcome, reason: str
) -> None:
    """Docker and the log get the same reason."""
    error = world.ask(**labels)
    assert isinstance(error, str)
    assert reason in error
    line = world.logged()
    assert line["level"] == "warning"
    assert line["message"] == "not delivered"
    assert (line["outcome"], line["reason"], line["service"]) == (outcome, error, "shop_api")
    assert world.counted(outcome) == 1


def test_a_malformed_request_is_answered(world: World) -> None:
    """A body that is not a request of Docker's gets an error, and the service is not asked."""
    assert world.driver.get_secret(b"[") == {"Err": "Docker's request is not a JSON object"}
    assert not world.service.batches


def test_a_refusal_of_the_policy_is_on_record(world: World, tmp_path: Path) -> None:
    """The service gets the reason for its trail, and no value is fetched; without it, the log says so."""
    path = tmp_path / "policy.toml"
    path.write_text("[services]\nweb = ['a']")
    world.new(policy=PolicyFile(path))
    reason = "the policy does not allow this secret to the service shop_api"
    assert world.ask(name="a") == reason
    [[fetch]] = world.service.batches
    assert fetch.body()["delivery"] == CONTEXT | {"refusal": reason}
    assert world.logged()["recorded"] is True
    world.service.error = UnavailableError("away")
    assert world.ask(name="a") == reason
    assert world.logged()["recorded"] is False


def test_a_large_value_is_fetched_alone(world: World) -> None:
    """A value that is too large for a batch is fetched in a request of its own."""
    world.service.secrets["a"] = LargeValueError("too large")

    def grow(fetches: Sequence[Fetch]) -> Sequence[Fetched | NotDeliveredError]:
        found = Service.fetch(world.service, fetches)
        world.service.secrets["a"] = b"large"
        return found

    world.service.fetch = grow  # type: ignore[method-assign]
    assert world.ask() == b"large"
    assert len(world.service.batches) == 2


def test_without_a_cache_an_absent_service_delivers_nothing(world: World) -> None:
    """By default, no value outlives its delivery."""
    assert world.ask() == b"hush"
    world.service.error = UnavailableError("the service cannot be reached (OSError)")
    assert world.ask() == "the service cannot be reached (OSError)"
    assert world.counted(Outcome.UNAVAILABLE) == 1
    assert 'batches_total{outcome="failed"} 1.0' in world.metrics.page().decode()


def test_the_cache_stands_in_while_the_service_is_away(world: World) -> None:
    """A known value is delivered while the service is away, and log and metrics say so."""
    world.new(cache=EncryptedCache(60))
    assert world.ask(name="a") == b"hush"
    world.service.error = UnavailableError("away")
    assert world.ask(name="a") == b"hush"
    line = world.logged()
    assert (line["message"], line["level"], line["version"]) == ("cached", "warning", 3)
    assert world.counted(Outcome.CACHED) == 1
    assert world.ask(name="b") == "away"
    assert world.ask(name="a", version="3") == "away"


def test_the_cache_is_not_used_while_the_service_answers(world: World) -> None:
    """A refusal of the service is passed on; a changed value is delivered, and cached."""
    world.new(cache=EncryptedCache(60))
    assert world.ask() == b"hush"
    world.service.secrets["a"] = RefusedError("the service answers 500 (decryption)")
    assert world.ask() == "the service answers 500 (decryption)"
    world.service.secrets["a"] = b"new"
    assert world.ask() == b"new"
    world.service.error = UnavailableError("away")
    assert world.ask() == b"new"


@pytest.mark.promise("swarm")
def test_a_revoked_right_ends_the_cache(world: World) -> None:
    """A denied secret leaves the cache, and all do with a denied token."""
    world.new(cache=EncryptedCache(60))
    for name in ("a", "b"):
        world.ask(name=name)
    world.service.secrets["a"] = DeniedError("the service answers 404 (secret_not_found)")
    world.ask(name="a")
    world.service.error = UnavailableError("away")
    assert world.ask(name="a") == "away"
    assert world.ask(name="b") == b"hush too"
    world.service.error = DeniedError("the service answers 401 (invalid_credential)")
    assert world.ask(name="c") == "the service answers 401 (invalid_credential)"
    world.service.error = UnavailableError("away")
    assert world.ask(name="b") == "away"


@pytest.mark.parametrize("refused", [{"name": "a"}, {"name": "a", "version": "3"}, {"id": ID}])
def test_a_denied_secret_leaves_the_cache_by_any_reference(world: World, refused: dict[str, str]) -> None:
    """After a refusal, the cache has the secret neither by its name nor by its ID, nor any version of it."""
    world.new(cache=EncryptedCache(60))
    references: list[dict[str, str]] = [{"name": "a"}, {"name": "a", "version": "3"}, {"id": ID}]
    assert [world.ask(**labels) for labels in references] == [b"hush"] * 3
    world.service.secrets = dict.fromkeys(
        ("a", ID), DeniedError("the service answers 404 (secret_not_found)")
    )
    world.ask(**refused)
    world.service.error = UnavailableError("away")
    assert [world.ask(**labels) for labels in references] == ["away"] * 3


@pytest.mark.promise("swarm")
def test_another_token_does_not_get_what_an_earlier_one_got(world: World) -> None:
    """A value that another token fetched is not delivered, as the new one can have fewer rights."""
    world.new(cache=EncryptedCache(60))
    assert world.ask() == b"hush"
    world.service.error = UnavailableError("away")
    world.token.write_text("smt_new")
    assert world.ask() == "away"
    world.token.write_text("smt_abc")
    assert world.ask() == b"hush"
    world.token.unlink()
    assert world.ask() == "the token file cannot be read (FileNotFoundError)"
    assert world.counted(Outcome.FAILED) == 1


@pytest.mark.promise("swarm")
def test_the_policy_applies_to_the_cache(world: World) -> None:
    """A task that may not have a secret does not get it from the cache either."""
    world.new(cache=EncryptedCache(60))
    assert world.ask(name="a") == b"hush"
    world.service.error = UnavailableError("away")
    assert "does not name" in str(world.ask(name="a", services="web"))


def test_a_defect_is_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the driver is an error for Docker, and its place is in the log."""

    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("hush")

    monkeypatch.setattr(module.values, "content", fail)
    assert world.ask() == "the driver has a defect; its log says where"
    line = world.logged()
    assert line["level"] == "error"
    assert line["exception"][0] == "ZeroDivisionError"
    assert "hush" not in json.dumps(line)
    assert world.counted(Outcome.FAILED) == 1


def test_deliveries_share_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries that are asked for during a request share the next one; a refused one fails alone."""
    monkeypatch.setattr(module, "_CALL_SECONDS", 60)
    world.service.secrets["c"] = RefusedError("no")
    world.service.answers.clear()
    with ThreadPoolExecutor(5) as pool:
        replies = [pool.submit(world.ask, name="a")]
        wait_until(lambda: world.service.batches)
        for count, name in enumerate("bcb", 1):
            replies.append(pool.submit(world.ask, name=name))
            wait_until(lambda count=count: world.driver._deliveries._batches.waiting == count)
        world.service.answers.set()
        assert [reply.result() for reply in replies] == [b"hush", b"hush too", "no", b"hush too"]
    assert [len(batch) for batch in world.service.batches] == [1, 3]


def test_a_shared_request_gathers_deliveries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a shared request, the next one waits until it is full, or until none has come for a moment."""
    monkeypatch.setattr(deliveries, "MAX_ITEMS", 2)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            world.driver._deliveries._batches.start([FETCH])

    monkeypatch.setattr(deliveries, "sleep", sleep)
    world.driver._deliveries._gather()
    assert len(slept) == 1
    world.service.answers.clear()
    waits = [world.driver._deliveries._batches.start([FETCH])]
    wait_until(lambda: world.service.batches)
    waits.append(world.driver._deliveries._batches.start([FETCH]))
    world.driver._deliveries._gather()
    world.driver._deliveries._gather()
    assert (len(slept), world.driver._deliveries._batches.waiting) == (2, 2)
    monkeypatch.setattr(deliveries, "_MAX_GATHERING_SECONDS", 0)
    monkeypatch.setattr(deliveries, "MAX_ITEMS", 100)
    world.driver._deliveries._gather()
    assert len(slept) == 2
    world.service.answers.set()
    assert [len(wait()) for wait in waits] == [1, 1]


@pytest.mark.promise("swarm")
def test_a_delivery_that_is_late_is_not_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request hangs, others fail in their time, and are not fetched afterwards."""
    monkeypatch.setattr(module, "_CALL_SECONDS", 0.2)
    world.service.answers.clear()
    assert [world.ask(name=name) for name in "ab"] == ["the service did not answer in time"] * 2
    assert world.counted(Outcome.UNAVAILABLE) == 2
    world.service.answers.set()
    monkeypatch.setattr(module, "_CALL_SECONDS", 60)
    assert world.ask(name="b") == b"hush too"
    assert [fetch.reference.name for batch in world.service.batches for fetch in batch] == ["a", "b"]


def test_without_a_thread_nothing_is_delivered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, a delivery fails at once, and a later one can succeed."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(batching, "start_new_thread", refuse)
        assert world.ask() == "the driver cannot start a thread"
    assert world.ask() == b"hush"


def test_a_defect_of_a_request_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A defect while the service is asked fails the deliveries of the request, and is in the log."""
    world.service.error = ZeroDivisionError("hush")
    assert world.ask() == "the driver has a defect; its log says where"
    assert "a batch failed" in caplog.text
    world.service.error = None
    assert world.ask() == b"hush"


def test_a_defect_while_a_refusal_is_recorded_keeps_the_refusal(world: World) -> None:
    """If the record of a refusal fails by a defect, Docker gets the refusal, which is not recorded."""
    world.service.error = ZeroDivisionError("hush")
    assert "does not name" in str(world.ask(name="a", services="web"))
    assert world.logged()["recorded"] is False


def test_each_service_has_a_decoy_of_its_own(world: World) -> None:
    """With decoys, the name `canaries` stands for the service's canary, also in the cache."""
    world.service.secrets |= {
        "canaries": b"a secret",
        "service-accounts/shop_api": b"a decoy",
        "service-accounts/web": b"another",
    }
    assert world.ask(name="canaries") == b"a secret"
    world.new(has_decoys=True, cache=EncryptedCache(60))
    assert world.ask(name="canaries") == b"a decoy"
    [[fetch]] = world.service.batches[1:]
    assert (fetch.reference, fetch.is_decoy) == (Reference(name="service-accounts/shop_api"), True)
    world.service.error = UnavailableError("no reply")
    assert world.ask(name="canaries") == b"a decoy"
    assert world.logged()["secret_name"] == "canaries"
    assert "decoy" not in json.dumps(world.logged())
