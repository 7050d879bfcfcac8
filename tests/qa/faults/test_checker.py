"""The check of secrets' histories finds each kind of violation, and no false ones."""

import json
from dataclasses import replace

import pytest

from tests.qa.faults.evidence import Stored
from tests.qa.faults.example import ONE, OTHER, TWO, Example
from tests.qa.faults.history import NOT_SENT, UNKNOWN


def test_a_valid_history_has_no_findings(example: Example) -> None:
    """A valid history, with refusals and unknown outcomes, has no violation."""
    example.fetch(ONE)
    example.update()
    example.fetch(TWO)
    example.fetch(ONE, version=1)
    example.ask("fetch", 404, body={"version": 3})
    example.ask("update", 409, body={"secret": OTHER, "expected_version": 1})
    example.ask("restore", 404)
    for status in (503, UNKNOWN, NOT_SENT):
        example.ask("create", status, of="b", body={"secret": OTHER})
        example.ask("delete", status)
    example.ask("delete")
    for action in ("fetch", "update", "delete"):
        example.ask(action, 404, body={"secret": OTHER} if action == "update" else None)
    example.ask("restore")
    example.fetch(TWO)
    example.stored["id-a"] = Stored(version=2)
    example.create(OTHER, of="limited", max_reads=2)
    example.fetch(OTHER, of="limited")
    example.ask("fetch", UNKNOWN, of="limited", recorded="success")
    example.ask("fetch", 404, of="limited")
    assert example.found() == {}


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("status", [503, UNKNOWN])
def test_an_unknown_update_may_have_happened_or_not(example: Example, status: int, *, done: bool) -> None:
    """An update with an unknown outcome is not a violation, with or without its effect."""
    example.update(status, recorded="success")
    example.fetch(TWO if done else ONE)
    example.stored["id-a"] = Stored(version=1 + done)
    assert example.found() == {}


def test_a_missing_create_is_lost(example: Example) -> None:
    """An acknowledged secret missing from the database, or for readers, is lost."""
    example.stored.clear()
    assert example.found() == {"lost": 1}
    example.stored["id-a"] = Stored()
    example.ask("fetch", 404)
    assert example.found() == {"lost": 1}


def test_a_missing_update_is_lost(example: Example) -> None:
    """After an acknowledged update, a read of the previous value is a loss."""
    example.update()
    example.stored["id-a"] = Stored(version=2)
    assert example.found() == {}
    example.fetch(ONE)
    assert example.found() == {"lost": 1}


def test_a_change_missing_in_the_database_is_lost(example: Example) -> None:
    """An acknowledged change missing from the database is lost, even without a later read."""
    example.update()
    assert example.found() == {"lost": 1}


@pytest.mark.parametrize("changes", [["delete"], ["delete", "restore"]])
def test_a_missing_deletion_or_restore_is_lost(example: Example, changes: list[str]) -> None:
    """A missing acknowledged deletion or restore is a loss."""
    for change in changes:
        example.ask(change)
    example.stored["id-a"] = Stored(deleted=len(changes) == 1)
    assert example.found() == {}
    example.stored["id-a"] = Stored(deleted=len(changes) == 2)
    assert example.found() == {"lost": 1}


def test_an_effect_that_disappears_is_lost(example: Example) -> None:
    """The effect of an update with an unknown outcome must stay once it was seen."""
    example.update(UNKNOWN, recorded="success")
    example.fetch(TWO)
    example.fetch(ONE)
    example.stored["id-a"] = Stored(version=2)
    assert example.found() == {"lost": 1}


def test_an_effect_without_an_entry_is_found(example: Example) -> None:
    """An effect without an entry is found, whether or not its client knows it."""
    example.update(UNKNOWN)
    example.fetch(TWO)
    example.stored["id-a"] = Stored(version=2)
    assert example.found() == {"lost": 1}


def test_two_updates_with_one_number_are_found(example: Example) -> None:
    """Two concurrent updates with the same version number are found."""
    first, second = example.update(), example.update()
    example.requests[-1] = replace(second, sent=first.sent)
    example.stored["id-a"] = Stored(version=2)
    assert example.found() == {"lost": 1}


def test_an_extra_read_is_duplicated() -> None:
    """More released values than the limit of a secret are found."""
    example = Example()
    example.create(max_reads=1)
    example.fetch(ONE)
    assert example.found() == {}
    example.fetch(ONE)
    assert example.found() == {"duplicated": 1}


def test_an_unreleased_read_is_lost() -> None:
    """A secret that is not found before its reads were used, or may have been, has lost one."""
    example = Example()
    example.create(max_reads=2)
    example.fetch(ONE)
    example.ask("fetch", 503)
    example.stored["id-a"] = Stored(reads=2)
    example.ask("fetch", 404)
    # It may be held for that time.
    assert example.found() == {}
    late = example.ask("fetch", 404)
    example.requests[-1] = replace(late, sent=late.sent + 60, answered=late.answered + 60)
    assert example.found() == {"lost": 1}


def test_reads_that_are_never_released_are_lost() -> None:
    """A failed read that the database does not count must become available again."""
    example = Example()
    example.create(max_reads=2)
    example.fetch(ONE)
    example.ask("fetch", 503, recorded="success")
    example.ask("fetch", 404)
    example.stored["id-a"] = Stored(reads=2)
    assert example.found() == {}
    example.stored["id-a"] = Stored(reads=1)
    assert example.found() == {"lost": 1}


def test_two_ids_for_one_key_are_duplicated() -> None:
    """Two secrets with one idempotency key are found, whether or not both IDs were returned."""
    example = Example()
    example.requests += [replace(example.create(), key="key"), replace(example.create(), key="key")]
    example.requests = example.requests[2:]
    assert example.found() == {}
    example.requests[1].text = json.dumps({"secret_id": "id-b"})
    example.entries[1] = replace(example.entries[1], secret_id="id-b")
    assert example.found() == {"duplicated": 1}
    # Its ID was lost in transit; if it does not exist, no client has two.
    example.requests[1] = replace(example.requests[1], status=UNKNOWN, text="")
    assert example.found() == {}
    example.stored["id-b"] = Stored()
    assert example.found() == {"duplicated": 1}


@pytest.fixture
def named(example: Example) -> Example:
    """Return the history of a name that all clients write: created, written and read."""
    example.requests, example.entries = [], []
    example.ask("create", of="common/n", body={"secret": ONE, "name": "common/n"}, reply=MADE)
    example.ask("put", of="common/n", body={"secret": TWO}, reply={"data": {"version": 2}})
    example.ask("create", 409, of="common/n", body={"secret": ONE})
    example.ask("fetch", of="common/n", reply={"secret": TWO})
    example.entries = [replace(one, secret_id="id-n") for one in example.entries]
    example.entries[1] = replace(example.entries[1], action="update")
    example.stored["id-n"] = Stored(version=2)
    return example


MADE = {"secret_id": "id-n"}


def test_a_possible_history_of_a_name_is_accepted(named: Example) -> None:
    """Of several creates of a name one succeeds, and a write of Vault's API creates or updates."""
    assert named.found() == {}
    named.ask("put", UNKNOWN, of="common/n", body={"secret": ONE})
    assert named.found() == {}


def test_a_name_that_is_created_twice_is_found(named: Example) -> None:
    """Two clients cannot both have created the secret of one name, with one ID or with two."""
    again = replace(named.requests[0], id="again")
    named.requests.append(again)
    named.entries.append(replace(named.entries[0], request_id="again"))
    assert named.found() == {"lost": 1}
    named.requests.pop()
    named.entries[-1] = replace(named.entries[0], secret_id="id-m")
    named.stored["id-m"] = Stored()
    assert named.found() == {"lost": 1, "duplicated": 1}


def test_a_lost_write_of_a_name_is_found(named: Example) -> None:
    """An acknowledged write of a name must be in the database, and its entry must be of a write."""
    named.stored["id-n"] = Stored()
    assert named.found() == {"lost": 1}
    named.stored["id-n"] = Stored(version=2)
    named.entries[1] = replace(named.entries[1], action="fetch")
    assert named.found() == {"unrecorded": 1}
