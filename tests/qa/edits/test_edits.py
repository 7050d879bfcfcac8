"""No random edit by an attacker without a key changes the results of readers unnoticed."""

from collections import Counter
from collections.abc import Iterator
from random import SystemRandom

import pytest

from tests.qa.edits.edits import drop_indexes
from tests.qa.edits.run import ALTERATIONS, UnnoticedError, run
from tests.qa.edits.victim import Victim, victim
from tests.support.rotation import Stored


@pytest.fixture
def edited(mongo_uri: str, stored: Stored) -> Iterator[Victim]:
    """Return a trail to edit."""
    with victim(mongo_uri, stored) as found:
        yield found


@pytest.mark.promise(3)
def test_random_edits_are_tampering_or_without_effect(edited: Victim) -> None:
    """Each of 25 edits is found, or leaves every entry of an export, a query and a tail, and all exposures.

    Of three kinds of evidence, two are no checkpoint: the receipts that clients hold, and a certificate.
    """
    first = SystemRandom().randrange(2**32)
    # Shown when it fails.
    print(f"seeds {first} to {first + 24}: python -m tests.qa.edits --count 25 --seed {first}")  # noqa: T201 - as above
    outcomes = Counter(run(edited, seed) for seed in range(first, first + 25))
    assert outcomes[True] > outcomes[False]
    for alter in ALTERATIONS.values():
        altered = Counter(alter(edited, seed) for seed in range(first, first + 25))
        assert altered[True] > altered[False]


def test_an_edit_without_effect_is_no_tampering(edited: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other indexes change no entry, so they are not reported."""
    monkeypatch.setattr("tests.qa.edits.run.EDITS", [drop_indexes])
    assert not any(run(edited, seed) for seed in range(5))


def test_an_unnoticed_edit_fails(edited: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """If verification finds nothing, the results of readers are compared, and the seed is named."""
    monkeypatch.setattr(Victim, "verify", lambda *_: [])
    with pytest.raises(UnnoticedError, match=r"^seed \d+: "):
        for seed in range(100):
            run(edited, seed)
