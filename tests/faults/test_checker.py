"""The check of secrets' histories finds each kind of violation, and no false ones."""

import json
from dataclasses import replace

import pytest

from tests.faults.evidence import Stored
from tests.faults.history import NOT_SENT, UNKNOWN
from tests.faults.told import ONE, OTHER, TWO, Told


def test_a_valid_history_has_no_findings(told: Told) -> None:
    """A valid history, with refusals and unknown outcomes, has no violation."""
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
def test_an_unknown_update_may_have_happened_or_not(told: Told, status: int, *, done: bool) -> None:
    """An update with an unknown outcome is not a violation, with or without its effect."""
    told.update(status, recorded="success")
    told.fetch(TWO if done else ONE)
    told.stored["id-a"] = Stored(version=1 + done)
    assert told.found() == {}


def test_a_missing_create_is_lost(told: Told) -> None:
    """An acknowledged secret missing from the database, or for readers, is lost."""
    told.stored.clear()
    assert told.found() == {"lost": 1}
    told.stored["id-a"] = Stored()
    told.ask("fetch", 404)
    assert told.found() == {"lost": 1}


def test_a_missing_update_is_lost(told: Told) -> None:
    """After an acknowledged update, a read of the previous value is a loss."""
    told.update()
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {}
    told.fetch(ONE)
    assert told.found() == {"lost": 1}


def test_a_change_missing_in_the_database_is_lost(told: Told) -> None:
    """An acknowledged change missing from the database is lost, even without a later read."""
    told.update()
    assert told.found() == {"lost": 1}


@pytest.mark.parametrize("changes", [["delete"], ["delete", "restore"]])
def test_a_missing_deletion_or_restore_is_lost(told: Told, changes: list[str]) -> None:
    """A missing acknowledged deletion or restore is a loss."""
    for change in changes:
        told.ask(change)
    told.stored["id-a"] = Stored(deleted=len(changes) == 1)
    assert told.found() == {}
    told.stored["id-a"] = Stored(deleted=len(changes) == 2)
    assert told.found() == {"lost": 1}


def test_an_effect_that_disappears_is_lost(told: Told) -> None:
    """The effect of an update with an unknown outcome must stay once it was seen."""
    told.update(UNKNOWN, recorded="success")
    told.fetch(TWO)
    told.fetch(ONE)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_an_effect_without_an_entry_is_found(told: Told) -> None:
    """An effect without an entry is found, whether or not its client knows it."""
    told.update(UNKNOWN)
    told.fetch(TWO)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_two_updates_with_one_number_are_found(told: Told) -> None:
    """Two concurrent updates with the same version number are found."""
    first, second = told.update(), told.update()
    told.requests[-1] = replace(second, sent=first.sent)
    told.stored["id-a"] = Stored(version=2)
    assert told.found() == {"lost": 1}


def test_an_extra_read_is_duplicated() -> None:
    """More released values than the limit of a secret are found."""
    told = Told()
    told.create(max_reads=1)
    told.fetch(ONE)
    assert told.found() == {}
    told.fetch(ONE)
    assert told.found() == {"duplicated": 1}


def test_an_unreleased_read_is_lost() -> None:
    """A secret that is not found before its reads were used, or may have been, has lost one."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503)
    told.stored["id-a"] = Stored(reads=2)
    told.ask("fetch", 404)
    # It may be held for that time.
    assert told.found() == {}
    late = told.ask("fetch", 404)
    told.requests[-1] = replace(late, sent=late.sent + 60, answered=late.answered + 60)
    assert told.found() == {"lost": 1}


def test_reads_that_are_never_released_are_lost() -> None:
    """A failed read that the database does not count must become available again."""
    told = Told()
    told.create(max_reads=2)
    told.fetch(ONE)
    told.ask("fetch", 503, recorded="success")
    told.ask("fetch", 404)
    told.stored["id-a"] = Stored(reads=2)
    assert told.found() == {}
    told.stored["id-a"] = Stored(reads=1)
    assert told.found() == {"lost": 1}


def test_two_ids_for_one_key_are_duplicated() -> None:
    """Two secrets with one idempotency key are found, whether or not both IDs were returned."""
    told = Told()
    told.requests += [replace(told.create(), key="key"), replace(told.create(), key="key")]
    told.requests = told.requests[2:]
    assert told.found() == {}
    told.requests[1].text = json.dumps({"secret_id": "id-b"})
    told.entries[1] = replace(told.entries[1], secret_id="id-b")
    assert told.found() == {"duplicated": 1}
    # Its ID was lost in transit; if it does not exist, no client has two.
    told.requests[1] = replace(told.requests[1], status=UNKNOWN, text="")
    assert told.found() == {}
    told.stored["id-b"] = Stored()
    assert told.found() == {"duplicated": 1}
