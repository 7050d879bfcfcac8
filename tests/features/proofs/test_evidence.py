"""Witnessed checkpoints as evidence: hostile lines, and what they prove."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from tests.support.rotation import new_key
from vault.common.errors import InvalidCheckpointError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.trail.evidence import Evidence
from vault.core.trail.streams import checkpoint, signing_keys
from vault.features.proofs import counter_signature
from vault.features.proofs.evidence import WitnessedFile

KEYRING, WITNESS = Keyring(new_key()), Keyring(new_key())
HEAD = {"stream": "2-" + "9f" * 15, "seq": 7, "ts": "2026-11-24T12:00:00.000Z", "hash": "9f" * 32}


def made(**ahead: float) -> dict[str, Any]:
    """Return a checkpoint whose time is ahead."""
    ts = moment(datetime.now(UTC) + timedelta(**ahead))
    return checkpoint.signed({"ts": ts, "heads": [HEAD], "retired": []}, KEYRING)


def line(shown: dict[str, Any], answer: Any = None, **change: Any) -> str:
    """Return the line of a checkpoint that was *shown*, by default with a genuine answer."""
    statement = counter_signature.make("site-a", checkpoint.digest(shown), WITNESS)
    answer = checkpoint.signed(statement | change, WITNESS) if answer is None else answer
    return json.dumps({"witness": "w", "checkpoint": shown, "answer": answer})


def findings(*lines: str) -> list[str]:
    """Return the texts of the findings about *lines*."""
    file = WitnessedFile(lines)
    file.witness_keys = signing_keys.own(WITNESS)
    return [one.text for one in file.read(Evidence(signing_keys.own(KEYRING)))]


@pytest.mark.promise(3)
def test_a_checkpoint_from_the_future_is_not_confirmed() -> None:
    """The retention counts back from the newest checkpoint: its time is not later than its confirmation."""
    assert findings(line(made(minutes=1))) == []
    [text] = findings(line(made(days=400)))
    assert text.endswith("w does not confirm it: its time is later than that of the answer")


@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026", 7])
def test_an_impossible_time_confirms_nothing(ts: object) -> None:
    """A counter-signature with a time that does not exist in UTC is a finding."""
    [text] = findings(line(made(), ts=ts))
    assert "does not confirm it" in text


@pytest.mark.parametrize("depth", [500, 9_990, 50_000])
def test_a_nested_line_is_refused(depth: int) -> None:
    """A line of any depth is refused, or a finding."""
    nested, whole = "[" * depth + "]" * depth, json.dumps(made())
    # The signature of a checkpoint does not cover a hash, which only entries have.
    checkpoints = [whole, *(f'{whole[:-1]}, "{name}": {nested}}}' for name in ("more", "hash"))]
    for shown in checkpoints:
        with suppress(InvalidCheckpointError):
            assert findings(f'{{"witness": "w", "checkpoint": {shown}, "answer": {{"more": {nested}}}}}')


@pytest.mark.promise(3)
def test_no_random_edit_of_a_line_is_confirmed() -> None:
    """Each of 500 edits of a line is refused, or found, or changes neither checkpoint nor answer."""
    random, text = Random(1), line(made())  # noqa: S311 - must be repeatable
    kept = {name: json.loads(text)[name] for name in ("checkpoint", "answer")}
    for _ in range(500):
        changed = list(text)
        for _ in range(random.choice((1, 2, 5))):
            changed[random.randrange(len(changed))] = random.choice((*text, "", "\x00", "é", "1"))
        with suppress(InvalidCheckpointError):
            if not findings("".join(changed)):
                found = json.loads("".join(changed))
                assert {name: found[name] for name in kept} == kept
