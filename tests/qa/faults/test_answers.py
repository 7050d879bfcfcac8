"""The check of answers finds forbidden content and missing entries."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.qa.faults.evidence import Stored
from tests.qa.faults.example import ONE, OTHER, Example
from tests.qa.faults.history import MARK, UNKNOWN, History


@pytest.mark.parametrize("number", range(3))
def test_a_missing_entry_is_found(example: Example, number: int) -> None:
    """A released value, an effect or a refusal without its entry is found."""
    example.fetch(ONE)
    example.ask("restore", 404)
    del example.entries[number]
    assert example.found() == {"unrecorded": 1}


@pytest.mark.parametrize("wrong", [{"action": "fetch"}, {"secret_id": "id-b"}, {"status": "not_found"}])
def test_a_wrong_entry_is_found(example: Example, wrong: dict[str, str]) -> None:
    """An entry that does not match its request does not count."""
    example.entries[0] = replace(example.entries[0], **wrong)
    assert example.found() == {"unrecorded": 1}


def test_a_second_entry_is_found(example: Example) -> None:
    """A request has one entry, whether or not it was answered."""
    example.ask("fetch", UNKNOWN, recorded="success")
    example.entries *= 2
    assert example.found() == {"duplicated": 2}


def test_a_swapped_value_is_found(example: Example) -> None:
    """A value of another secret, or of none, is found, even for a secret with a limit."""
    example.create(OTHER, of="b", max_reads=1)
    example.fetch(ONE, of="b")
    example.stored["id-b"] = Stored()
    assert example.found() == {"swapped": 1}
    example.fetch("bm9ib2R5J3M=")
    assert example.found() == {"swapped": 2, "lost": 1}


@pytest.mark.parametrize("form", [ONE, (MARK + b"one").decode(), (MARK + b"one").hex()])
def test_a_value_in_a_refusal_is_found(example: Example, form: str) -> None:
    """A value in an answer other than 200 is found in any form."""
    example.ask("fetch", 503, reply={"detail": f"no {form}"})
    assert example.found() == {"leaked": 1}


@pytest.mark.parametrize("status", [500, 400, 422, 429])
def test_an_unexpected_answer_is_found(example: Example, status: int) -> None:
    """An answer that reports a defect or an invalid request is found, since clients send none."""
    example.ask("fetch", status)
    assert example.found() == {"unexpected": 1}


def test_a_reply_that_is_no_json_is_found(example: Example) -> None:
    """A refusal in other words than the service's is found."""
    example.ask("fetch", 503).text = "<h1>Bad gateway</h1>"
    assert example.found() == {"unexpected": 1}


def test_a_history_is_kept(example: Example, tmp_path: Path) -> None:
    """Loading a saved history returns it unchanged."""
    example.ask("fetch", UNKNOWN)
    History(example.requests).save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").requests == example.requests
