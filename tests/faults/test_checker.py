"""The check of a history finds each kind of violation, and nothing where there is none."""

import json
from base64 import b64encode
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Checker, Entry, Findings, Stored
from tests.faults.history import MARK, NOT_SENT, UNKNOWN, History, Request

ONE, TWO, OTHER = (b64encode(MARK + text).decode() for text in (b"one", b"two", b"other"))
#: How an answer is on record. That a request came to nothing is not.
RECORDED = {200: "success", 404: "not_found", 409: "bad_request"}


class Told:
    """A history in the making, and the trail and the database that belong to it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.entries: list[Entry] = []
        self.stored = {"id-a": Stored()}

    def ask(
        self,
        action: str,
        status: int = 200,
        *,
        of: str = "a",
        body: dict[str, Any] | None = None,
        reply: dict[str, Any] | None = None,
        recorded: str | None = None,
    ) -> Request:
        """Let a request be answered; its entry says *recorded*, or what belongs to its status."""
        number, at = len(self.requests), 2.0 * len(self.requests)
        body = (body or {}) if action == "create" else {"secret_id": f"id-{of}", **(body or {})}
        reply = reply or ({"secret_id": f"id-{of}"} if status == 200 else {"detail": "refused"})
        text = json.dumps(reply) if status > 0 else ""
        request = Request(f"r-{number}", action, of, body, at, at + 1, status, text)
        self.requests.append(request)
        if recorded := recorded or RECORDED.get(status):
            self.entries.append(Entry(request.id, action, recorded, f"id-{of}"))
        return request

    def create(self, value: str = ONE, *, of: str = "a", **more: Any) -> Request:
        """Let *value* be created."""
        return self.ask("create", of=of, body={"secret": value, **more})

    def fetch(self, value: str, *, of: str = "a", **more: Any) -> Request:
        """Let *value* be given."""
        return self.ask("fetch", of=of, body=more, reply={"secret": value})

    def update(self, status: int = 200, **more: Any) -> Request:
        """Let the second version be made, or perhaps not."""
        reply = {"secret_id": "id-a", "version": 2} if status == 200 else None
        return self.ask("update", status, body={"secret": TWO}, reply=reply, **more)

    def check(self) -> Findings:
        """Return what is found."""
        return Checker(History(self.requests), self.stored, self.entries).check()


@pytest.fixture
def told() -> Told:
    """Return the history of one secret that was created."""
    told = Told()
    told.create()
    return told


def found(told: Told) -> dict[str, int]:
    """Return how many violations are found, by what was violated."""
    findings = told.check()
    counts = {field.name: len(getattr(findings, field.name)) for field in fields(findings)}
    assert sum(counts.values()) == len(list(findings))
    return {name: count for name, count in counts.items() if count}


def test_a_good_history_has_no_findings(told: Told) -> None:
    """All that may happen to secrets, refusals and unknown outcomes among it, is no violation."""
    told.fetch(ONE)
    told.update()
    told.fetch(TWO)
    told.fetch(ONE, version=1)
    told.ask("fetch", 404, body={"version": 3})
    told.ask("update", 409, body={"secret": OTHER, "expected_version": 1})
    told.ask("restore", 404)
    for status in (503, UNKNOWN, NOT_SENT):
        told.ask("create", status, of="b", body={"secret": OTHER})
        told.ask("delete", status)
    told.ask("delete")
    for action in ("fetch", "update", "delete"):
        told.ask(action, 404, body={"secret": OTHER} if action == "update" else None)
    told.ask("restore")
    told.fetch(TWO)
    told.stored["id-a"] = Stored(version=2)
    told.create(OTHER, of="limited", max_reads=2)
    told.fetch(OTHER, of="limited")
    told.ask("fetch", UNKNOWN, of="limited", recorded="success")
    told.ask("fetch", 404, of="limited")
    assert found(told) == {}


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("status", [503, UNKNOWN])
def test_an_unknown_update_may_be_either(told: Told, status: int, *, done: bool) -> None:
    """Whether or not an update whose outcome nobody knows was made, it is no violation."""
    told.update(status, recorded="success")
    told.fetch(TWO if done else ONE)
    told.stored["id-a"] = Stored(version=1 + done)
    assert found(told) == {}


def test_a_create_that_is_gone_is_lost(told: Told) -> None:
    """A secret that was acknowledged and is not there any more is lost, for the database and for readers."""
    told.stored.clear()
    assert found(told) == {"lost": 1}
    told.stored["id-a"] = Stored()
    told.ask("fetch", 404)
    assert found(told) == {"lost": 1}


def test_an_update_that_is_gone_is_lost(told: Told) -> None:
    """After an acknowledged update the value before it does not come back."""
    told.update()
    told.stored["id-a"] = Stored(version=2)
    assert found(told) == {}
    told.fetch(ONE)
    assert found(told) == {"lost": 1}


def test_what_the_database_lost_is_lost(told: Told) -> None:
    """An acknowledged change that the database does not have is lost, even if nobody has read since."""
    told.update()
    assert found(told) == {"lost": 1}


@pytest.mark.parametrize("changes", [["delete"], ["delete", "restore"]])
def test_a_deletion_or_restore_that_is_gone_is_lost(told: Told, changes: list[str]) -> None:
    """An acknowledged deletion holds, and so does a restore."""
    for change in changes:
        told.ask(change)
    told.stored["id-a"] = Stored(deleted=len(changes) == 1)
    assert found(told) == {}
    told.stored["id-a"] = Stored(deleted=len(changes) == 2)
    assert found(told) == {"lost": 1}


def test_an_effect_that_comes_and_goes_is_lost(told: Told) -> None:
    """An update whose outcome nobody knows was made or was not: once seen, it stays."""
    told.update(UNKNOWN, recorded="success")
    told.fetch(TWO)
    told.fetch(ONE)
    told.stored["id-a"] = Stored(version=2)
    assert found(told) == {"lost": 1}


def test_an_effect_without_an_entry_is_found(told: Told) -> None:
    """What has no entry must not have happened, whatever its client knows of it."""
    told.update(UNKNOWN)
    told.fetch(TWO)
    told.stored["id-a"] = Stored(version=2)
    assert found(told) == {"lost": 1}


def test_two_updates_with_one_number_are_found(told: Told) -> None:
    """Of two updates that overlap one is the second version, and the other one is not."""
    first, second = told.update(), told.update()
    told.requests[-1] = replace(second, sent=first.sent)
    told.stored["id-a"] = Stored(version=2)
    assert found(told) == {"lost": 1}


def test_a_read_too_many_is_doubled() -> None:
    """A secret of which the value was given more often than it may is found."""
    told = Told()
    told.create(max_reads=1)
    told.fetch(ONE)
    assert found(told) == {}
    told.fetch(ONE)
    assert found(told) == {"doubled": 1}


def test_a_read_that_nobody_got_is_lost() -> None:
    """A secret that is not found before its reads were given, or may have been, has lost one."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503)
    told.stored["id-a"] = Stored(reads=2)
    told.ask("fetch", 404)
    # It may be held for so long.
    assert found(told) == {}
    late = told.ask("fetch", 404)
    told.requests[-1] = replace(late, sent=late.sent + 60, answered=late.answered + 60)
    assert found(told) == {"lost": 1}


def test_reads_that_are_never_free_again_are_lost() -> None:
    """A read that came to nothing, and that the database does not count, can be had in the end."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503, recorded="success")
    told.ask("fetch", 404)
    told.stored["id-a"] = Stored(reads=2)
    assert found(told) == {}
    told.stored["id-a"] = Stored(reads=1)
    assert found(told) == {"lost": 1}


def test_two_ids_for_one_key_are_doubled() -> None:
    """What was created twice under one idempotency key is found, whether or not both ids were given out."""
    told = Told()
    told.requests += [replace(told.create(), key="key"), replace(told.create(), key="key")]
    told.requests = told.requests[2:]
    assert found(told) == {}
    told.requests[1].text = json.dumps({"secret_id": "id-b"})
    told.entries[1] = replace(told.entries[1], secret_id="id-b")
    assert found(told) == {"doubled": 1}
    # Its id was lost on the way; if it is not there, nobody has two.
    told.requests[1] = replace(told.requests[1], status=UNKNOWN, text="")
    assert found(told) == {}
    told.stored["id-b"] = Stored()
    assert found(told) == {"doubled": 1}


@pytest.mark.parametrize("number", range(3))
def test_a_missing_entry_is_found(told: Told, number: int) -> None:
    """A value that left, an effect and a refusal each have their entry."""
    told.fetch(ONE)
    told.ask("restore", 404)
    del told.entries[number]
    assert found(told) == {"unrecorded": 1}


@pytest.mark.parametrize("wrong", [{"action": "fetch"}, {"secret_id": "id-b"}, {"status": "not_found"}])
def test_a_wrong_entry_is_found(told: Told, wrong: dict[str, str]) -> None:
    """An entry that tells something else than what happened does not count."""
    told.entries[0] = replace(told.entries[0], **wrong)
    assert found(told) == {"unrecorded": 1}


def test_a_second_entry_is_found(told: Told) -> None:
    """A request has one entry, whether or not it was answered."""
    told.ask("fetch", UNKNOWN, recorded="success")
    told.entries *= 2
    assert found(told) == {"doubled": 2}


def test_a_swapped_value_is_found(told: Told) -> None:
    """A value of another secret, or of none, is found, of a secret with a limit too."""
    told.create(OTHER, of="b", max_reads=1)
    told.fetch(ONE, of="b")
    told.stored["id-b"] = Stored()
    assert found(told) == {"swapped": 1}
    told.fetch("bm9ib2R5J3M=")
    assert found(told) == {"swapped": 2, "lost": 1}


@pytest.mark.parametrize("form", [ONE, (MARK + b"one").decode(), (MARK + b"one").hex()])
def test_a_value_in_a_refusal_is_found(told: Told, form: str) -> None:
    """A value does not leave with a status other than 200, in no form."""
    told.ask("fetch", 503, reply={"detail": f"no {form}"})
    assert found(told) == {"leaked": 1}


@pytest.mark.parametrize("status", [500, 400, 422, 429])
def test_an_answer_that_nobody_expects_is_found(told: Told, status: int) -> None:
    """The clients send nothing wrong: what says so, or that there is a defect, is found."""
    told.ask("fetch", status)
    assert found(told) == {"unexpected": 1}


def test_a_reply_that_is_no_json_is_found(told: Told) -> None:
    """A refusal is as the service words it, and not what a server in front made of it."""
    told.ask("fetch", 503).text = "<h1>Bad gateway</h1>"
    assert found(told) == {"unexpected": 1}


def test_a_history_is_kept(told: Told, tmp_path: Path) -> None:
    """What was saved is loaded as it was."""
    told.ask("fetch", UNKNOWN)
    History(told.requests).save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").requests == told.requests
