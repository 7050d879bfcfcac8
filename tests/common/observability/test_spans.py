"""The waits of a request, own round trips and shared ones, are reported to tracing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, DuplicateKeyError

from tests.common.test_batching import Gate
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.common import batching, deadline
from vault.common.batching import Batcher
from vault.common.errors import OverloadedError, StorageUnavailableError
from vault.common.greenlets import wait_until_idle
from vault.common.observability import spans
from vault.common.observability.tracing import Tracing


class Recorded(spans.Span):
    """Records everything reported to it."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, dict[str, str]]] = []
        self.ended: list[str] = []

    def begin(self, name: str, /, **attributes: str) -> spans.Span:
        """Record a start."""
        self.begun.append((name, attributes))
        return self

    def end(self, error: str = "", /) -> None:
        """Record an end."""
        self.ended.append(error)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Return the recorder of the test's own waits."""
    recorded = Recorded()
    token = spans.current.set(recorded)
    yield recorded
    spans.current.reset(token)


@pytest.mark.new_database
def test_the_text_of_a_failure_is_omitted(mongo_uri: str, recorded: Recorded) -> None:
    """A span has a command's error code, but not its text, which can quote documents."""
    with MongoClient[Any](mongo_uri, event_listeners=Tracing().listeners) as client:
        collection = client.get_default_database().tokens
        collection.insert_many([{"_id": number, "text": "hunter2"} for number in range(3)])
        assert len(list(collection.find({"text": "hunter2"}, batch_size=2))) == 3
        with pytest.raises(DuplicateKeyError, match=r"dup key: \{ _id: 1 \}"):
            collection.find_one_and_replace({"_id": 1, "text": "other"}, {"text": "hunter2"}, upsert=True)
        client.admin.command("ping")
        names = ["insert tokens", "find tokens", "getMore tokens", "findAndModify tokens", "ping"]
        assert [name for name, _ in recorded.begun] == names
        assert recorded.ended == ["", "", "", "11000", ""]
    assert {value for _, attributes in recorded.begun for value in attributes.values()} == {
        *("insert", "find", "getMore", "findAndModify", "ping", "endSessions", "tokens")
    }


@pytest.mark.process
def test_a_lost_connection_is_reported_by_its_kind(recorded: Recorded, tmp_path: Path) -> None:
    """Without MongoDB, a span has the kind of the failure, and not the address in its text."""
    with (
        Mongod(tmp_path / "db") as mongod,
        MongoClient[Any](mongod.uri, event_listeners=Tracing().listeners) as client,
    ):
        # It does not answer that any more.
        with pytest.raises(AutoReconnect, match=mongod.address):
            client.admin.command("shutdown", force=True)
        assert [name for name, _ in recorded.begun] == ["shutdown"]
        assert recorded.ended == ["AutoReconnect"]


def test_a_call_is_a_wait_of_its_request(recorded: Recorded) -> None:
    """A call to a shared round trip has a span from its start to the end of the round trip."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="numbers")
    waits = [batcher.start([1]), batcher.start([2])]
    assert (recorded.begun, recorded.ended) == ([("shared numbers", {})] * 2, [])
    gate.release(2)
    wait_until(lambda: recorded.ended == ["", ""])
    assert [wait() for wait in waits] == [[10], [20]]
    assert len(recorded.ended) == 2


def test_a_failed_or_abandoned_call_is_reported_too(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait ends once, with the kind of its failure, even if it was abandoned or could not start."""
    gate = Gate(lambda _: 1 // 0)
    batcher: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="numbers")
    failing = batcher.start([1])
    gate.wait_for(1)
    given_up = batcher.start([2])
    with deadline.Within(0), pytest.raises(StorageUnavailableError):
        given_up()
    assert recorded.ended == ["StorageUnavailableError"]
    gate.release()
    with pytest.raises(ZeroDivisionError):
        failing()
    monkeypatch.setattr(batching, "start_new_thread", no_thread)
    without_thread: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="numbers")
    with pytest.raises(OverloadedError):
        without_thread.start([3])()
    assert recorded.ended == ["StorageUnavailableError", "ZeroDivisionError", "OverloadedError"]


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")
