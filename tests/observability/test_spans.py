"""What a request waits for is told to whoever traces it: round trips of its own, and shared ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, DuplicateKeyError

from tests.cli.waiting import wait_until
from tests.core.test_batching import Gate
from vault.cli.mongod import Mongod
from vault.core import batching, deadline
from vault.core.batching import Batcher
from vault.core.errors import OverloadedError, StorageUnavailableError
from vault.observability import spans
from vault.observability.tracing import Tracing


class Recorded(spans.Span):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, dict[str, str]]] = []
        self.ended: list[str] = []

    def begin(self, name: str, /, **attributes: str) -> spans.Span:
        """Keep what is begun."""
        self.begun.append((name, attributes))
        return self

    def end(self, error: str = "", /) -> None:
        """Keep how it ended."""
        self.ended.append(error)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Return what the test's own waits are told to."""
    recorded = Recorded()
    token = spans.current.set(recorded)
    yield recorded
    spans.current.reset(token)


def test_the_text_of_a_failure_is_left_out(mongo_uri: str, recorded: Recorded) -> None:
    """A command's failure quotes documents: of it a span has the code alone, and no more of a good one."""
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


def test_a_lost_connection_is_told_by_its_kind(recorded: Recorded, tmp_path: Path) -> None:
    """Where MongoDB went away a span has the kind of the failure, and not the address that its text holds."""
    with (
        Mongod(tmp_path / "db") as mongod,
        MongoClient[Any](mongod.uri, event_listeners=Tracing().listeners) as client,
    ):
        # It does not answer that any more.
        with pytest.raises(AutoReconnect, match=mongod.address):
            client.admin.command("shutdown", force=True)
        assert [name for name, _ in recorded.begun] == ["shutdown"]
        assert recorded.ended == ["AutoReconnect"]


def test_a_call_is_a_wait_of_the_request_that_makes_it(recorded: Recorded) -> None:
    """Of each shared round trip it is told when the call begins, and when what carries it is done."""
    gate = Gate()
    coalescer: Batcher[int, object] = Batcher(gate, queue="numbers")
    waits = [coalescer.start(1), coalescer.start(2)]
    assert (recorded.begun, recorded.ended) == ([("shared numbers", {})] * 2, [])
    gate.let_through(2)
    wait_until(lambda: recorded.ended == ["", ""])
    assert [wait() for wait in waits] == [10, 20]
    assert len(recorded.ended) == 2


def test_a_call_that_failed_or_was_given_up_is_told_too(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait ends once, by the kind of its failure, whether it was carried, given up, or could not begin."""
    gate = Gate(lambda _: 1 // 0)
    coalescer: Batcher[int, object] = Batcher(gate, queue="numbers")
    failing = coalescer.start(1)
    gate.wait_for(1)
    given_up = coalescer.start(2)
    with deadline.within(0), pytest.raises(StorageUnavailableError):
        given_up()
    assert recorded.ended == ["StorageUnavailableError"]
    gate.let_through()
    with pytest.raises(ZeroDivisionError):
        failing()
    monkeypatch.setattr(batching, "start_new_thread", no_thread)
    wait_until(lambda: not coalescer._busy)
    with pytest.raises(OverloadedError):
        coalescer.start(3)()
    assert recorded.ended == ["StorageUnavailableError", "ZeroDivisionError", "OverloadedError"]


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")
