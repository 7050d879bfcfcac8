"""The check of secrets' histories finds each kind of violation, and nothing where there is none."""

import json
from dataclasses import replace

import pytest

from tests.faults.evidence import Stored
from tests.faults.history import NOT_SENT, UNKNOWN
from tests.faults.told import ONE, OTHER, TWO, Told


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
    assert told.found() == {}


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("status", [503, UNKNOWN])
def test_an_unknown_update_may_be_either(told: Told, status: int, *, done: bool) -> None:
    """Whether or not an update whose outcome nobody knows was made, it is no violation."""
    told.update(status, recorded="success")
    told.fetch(TWO if done else ONE)
    told.stored["id-a"] = Stored(version=1 + done)
    assert told.found() == {}


def test_a_create_that_is_gone_is_lost(told: Told) -> None:
    """A secret that was acknowledged and is not there any more is lost, for the database and for readers."""
    told.stored.clear()
    assert told.found() == {"lost": 1}
    told.stored["id-a"] = Stored()
    told.ask("fetch", 404)
    assert told.found() == {"lost": 1}


def test_an_update_that_is_gone_is_lost(told: Told) -> None:
    """After an acknowledged update the value before it does not come back."""
    told.update()
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {}
    told.fetch(ONE)
    assert told.found() == {"lost": 1}


def test_what_the_database_lost_is_lost(told: Told) -> None:
    """An acknowledged change that the database does not have is lost, even if nobody has read since."""
    told.update()
    assert told.found() == {"lost": 1}


@pytest.mark.parametrize("changes", [["delete"], ["delete", "restore"]])
def test_a_deletion_or_restore_that_is_gone_is_lost(told: Told, changes: list[str]) -> None:
    """An acknowledged deletion holds, and so does a restore."""
    for change in changes:
        told.ask(change)
    told.stored["id-a"] = Stored(deleted=len(changes) == 1)
    assert told.found() == {}
    told.stored["id-a"] = Stored(deleted=len(changes) == 2)
    assert told.found() == {"lost": 1}


def test_an_effect_that_comes_and_goes_is_lost(told: Told) -> None:
    """An update whose outcome nobody knows was made or was not: once seen, it stays."""
    told.update(UNKNOWN, recorded="success")
    told.fetch(TWO)
    told.fetch(ONE)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_an_effect_without_an_entry_is_found(told: Told) -> None:
    """What has no entry must not have happened, whatever its client knows of it."""
    told.update(UNKNOWN)
    told.fetch(TWO)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_two_updates_with_one_number_are_found(told: Told) -> None:
    """Of two updates that overlap one is the second version, and the other one is not."""
    first, second = told.update(), told.update()
    told.requests[-1] = replace(second, sent=first.sent)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_a_read_too_many_is_doubled() -> None:
    """A secret of which the value was given more often than it may is found."""
    told = Told()
    told.create(max_reads=1)
    told.fetch(ONE)
    assert told.found() == {}
    told.fetch(ONE)
    assert told.found() == {"doubled": 1}


def test_a_read_that_nobody_got_is_lost() -> None:
    """A secret that is not found before its reads were given, or may have been, has lost one."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503)
    told.stored["id-a"] = Stored(reads=2)
    told.ask("fetch", 404)
    # It may be held for so long.
    assert told.found() == {}
    late = told.ask("fetch", 404)
    told.requests[-1] = replace(late, sent=late.sent + 60, answered=late.answered + 60)
    assert told.found() == {"lost": 1}


def test_reads_that_are_never_free_again_are_lost() -> None:
    """A read that came to nothing, and that the database does not count, can be had in the end."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503, recorded="success")
    told.ask("fetch", 404)
    told.stored["id-a"] = Stored(reads=2)
    assert told.found() == {}
    told.stored["id-a"] = Stored(reads=1)
    assert told.found() == {"lost": 1}


def test_two_ids_for_one_key_are_doubled() -> None:
    """What was created twice under one idempotency key is found, whether or not both ids were given out."""
    told = Told()
    told.requests += [replace(told.create(), key="key"), replace(told.create(), key="key")]
    told.requests = told.requests[2:]
    assert told.found() == {}
    told.requests[1].text = json.dumps({"secret_id": "id-b"})
    told.entries[1] = replace(told.entries[1], secret_id="id-b")
    assert told.found() == {"doubled": 1}
    # Its id was lost on the way; if it is not there, nobody has two.
    told.requests[1] = replace(told.requests[1], status=UNKNOWN, text="")
    assert told.found() == {}
    told.stored["id-b"] = Stored()
    assert told.found() == {"doubled": 1}
