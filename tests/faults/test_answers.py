"""The check of answers finds forbidden content and missing entries."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.evidence import Stored
from tests.faults.history import MARK, UNKNOWN, History
from tests.faults.told import ONE, OTHER, Told


@pytest.mark.parametrize("number", range(3))
def test_a_missing_entry_is_found(told: Told, number: int) -> None:
    """A released value, an effect or a refusal without its entry is found."""
    told.fetch(ONE)
    told.ask("restore", 404)
    del told.entries[number]
    assert told.found() == {"unrecorded": 1}


@pytest.mark.parametrize("wrong", [{"action": "fetch"}, {"secret_id": "id-b"}, {"status": "not_found"}])
def test_a_wrong_entry_is_found(told: Told, wrong: dict[str, str]) -> None:
    """An entry that does not match its request does not count."""
    told.entries[0] = replace(told.entries[0], **wrong)
    assert told.found() == {"unrecorded": 1}


def test_a_second_entry_is_found(told: Told) -> None:
    """A request has one entry, whether or not it was answered."""
    told.ask("fetch", UNKNOWN, recorded="success")
    told.entries *= 2
    assert told.found() == {"duplicated": 2}


def test_a_swapped_value_is_found(told: Told) -> None:
    """A value of another secret, or of none, is found, even for a secret with a limit."""
    told.create(OTHER, of="b", max_reads=1)
    told.fetch(ONE, of="b")
    told.stored["id-b"] = Stored()
    assert told.found() == {"swapped": 1}
    told.fetch("bm9ib2R5J3M=")
    assert told.found() == {"swapped": 2, "lost": 1}


@pytest.mark.parametrize("form", [ONE, (MARK + b"one").decode(), (MARK + b"one").hex()])
def test_a_value_in_a_refusal_is_found(told: Told, form: str) -> None:
    """A value in an answer other than 200 is found in any form."""
    told.ask("fetch", 503, reply={"detail": f"no {form}"})
    assert told.found() == {"leaked": 1}


@pytest.mark.parametrize("status", [500, 400, 422, 429])
def test_an_unexpected_answer_is_found(told: Told, status: int) -> None:
    """An answer that reports a defect or an invalid request is found, since clients send none."""
    told.ask("fetch", status)
    assert told.found() == {"unexpected": 1}


def test_a_reply_that_is_no_json_is_found(told: Told) -> None:
    """A refusal in other words than the service's is found."""
    told.ask("fetch", 503).text = "<h1>Bad gateway</h1>"
    assert told.found() == {"unexpected": 1}


def test_a_history_is_kept(told: Told, tmp_path: Path) -> None:
    """Loading a saved history returns it unchanged."""
    told.ask("fetch", UNKNOWN)
    History(told.requests).save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").requests == told.requests
