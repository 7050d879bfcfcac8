"""SLIP-39: the published vectors, Trezor's library as the oracle, and every refusal."""

import json
from itertools import combinations
from pathlib import Path
from secrets import token_bytes

import pytest
import shamir_mnemonic
from hypothesis import given
from hypothesis import strategies as st

from vault.common.errors import SharesRefusedError
from vault.core.crypto import shares
from vault.core.crypto.shares import Group

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "slip39.json").read_text())
SECRET = bytes(range(32))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0].split(".")[0])
def test_the_published_vectors_hold(vector: tuple[str, list[str], str, str]) -> None:
    """Each of Trezor's published sets restores its secret, or is refused."""
    _, mnemonics, expected, _ = vector
    if expected:
        assert shares.combine(mnemonics, passphrase=b"TREZOR").hex() == expected
    else:
        with pytest.raises(SharesRefusedError):
            shares.combine(mnemonics, passphrase=b"TREZOR")


def test_any_three_of_five_restore_with_the_oracle_too() -> None:
    """Every combination of three shares restores the secret, here and with Trezor's library."""
    (made,) = shares.split(SECRET, [Group(3, 5)], 1)
    for chosen in combinations(made, 3):
        assert shares.combine(chosen) == SECRET
    assert shamir_mnemonic.combine_mnemonics(made[2:]) == SECRET
    assert shares.combine([*made, made[0]]) == SECRET, "more shares, and one twice, do no harm"


def test_groups_restore_with_the_oracle_too() -> None:
    """The safe and 2 of 3 people restore the secret; neither does alone."""
    safe, people = shares.split(SECRET, [Group(1, 1), Group(2, 3)], 2)
    assert shares.combine([*people[1:], *safe]) == SECRET
    assert shamir_mnemonic.combine_mnemonics([*safe, *people[:2]]) == SECRET
    for few in (safe, people, [*safe, people[0]]):
        with pytest.raises(SharesRefusedError, match="too few"):
            shares.combine(few)


@given(st.binary(min_size=16, max_size=32).filter(lambda secret: len(secret) % 2 == 0))
def test_shares_of_the_oracle_restore_here(secret: bytes) -> None:
    """Shares that Trezor's library made restore their secret here, whether their set is extendable or not."""
    (made,) = shamir_mnemonic.generate_mnemonics(1, [(2, 3)], secret, extendable=False, iteration_exponent=0)
    assert shares.combine(made[1:]) == secret


@pytest.mark.parametrize(
    ("groups", "threshold"),
    [([Group(3, 2)], 1), ([Group(2, 17)], 1), ([Group(0, 1)], 1), ([Group(1, 2)], 1), ([Group(2, 3)], 2)],
    ids=str,
)
def test_impossible_numbers_are_refused(groups: list[Group], threshold: int) -> None:
    """Thresholds and counts that do not fit are refused before anything is made."""
    with pytest.raises(SharesRefusedError):
        shares.split(SECRET, groups, threshold)


def test_shares_of_two_sets_are_refused() -> None:
    """Shares of another set, or of another creation with the same identifier, restore nothing."""
    (first,), (second,) = shares.split(SECRET, [Group(2, 3)], 1), shares.split(SECRET, [Group(2, 3)], 1)
    with pytest.raises(SharesRefusedError, match="different sets"):
        shares.combine([first[0], second[1]])
    with pytest.raises(SharesRefusedError, match="there are no shares"):
        shares.combine([])


def test_forged_shares_are_refused() -> None:
    """Shares with a right checksum and a wrong value are refused: they do not fit each other."""
    (made,) = shares.split(SECRET, [Group(2, 3)], 1)
    genuine = shares._share(1, made[0])

    def forged(**changes: object) -> str:
        fields = {name: getattr(genuine, name) for name in genuine.__slots__}
        return shares._words(shares._Share(**fields | changes))

    with pytest.raises(SharesRefusedError, match="do not fit"):
        shares.combine([forged(value=token_bytes(32)), made[1]])
    with pytest.raises(SharesRefusedError, match="do not fit"):
        shares.combine([made[1], forged(index=2, value=bytes(30))])
    with pytest.raises(SharesRefusedError, match="contradict"):
        shares.combine([made[0], forged(value=token_bytes(32))])
    with pytest.raises(SharesRefusedError, match="not one that this service makes"):
        shares.require_share(1, forged(exponent=9))


@pytest.mark.parametrize("size", [30, 32])
def test_one_forged_share_does_not_prevent_a_restore(size: int) -> None:
    """With one share more than needed, a forged one among them is left out, wherever it is."""
    (made,) = shares.split(SECRET, [Group(3, 5)], 1)
    genuine = shares._share(1, made[0])
    fields = {name: getattr(genuine, name) for name in genuine.__slots__}
    wrong = shares._words(shares._Share(**fields | {"index": 4, "value": token_bytes(size)}))
    for place in range(4):
        assert shares.combine([*made[:place], wrong, *made[place:3]]) == SECRET
    with pytest.raises(SharesRefusedError, match="do not fit"):
        shares.combine([wrong, *made[:2]])


def test_a_mistake_is_named_without_its_word() -> None:
    """A refusal names the share and the place of the word, and quotes none of the words."""
    (made,) = shares.split(SECRET, [Group(2, 3)], 1)
    words = made[0].split()
    for text, reason in {
        " ".join([*words[:5], "nonsense", *words[6:]]): "word 6 is not in the list",
        " ".join([*words[:5], "academic" if words[5] != "academic" else "acid", *words[6:]]): "a wrong word",
        " ".join(words[:-1]): "words are missing",
        "": "0 words",
    }.items():
        with pytest.raises(SharesRefusedError, match=reason) as caught:
            shares.combine([made[1], text])
        # "paper" is in the list of words, and in a hint.
        assert not {"nonsense", *words[10:]} - {"paper"} & set(str(caught.value).split())


def test_the_repr_of_a_share_has_no_value() -> None:
    """A share's value is in no `repr`."""
    (made,) = shares.split(SECRET, [Group(2, 2)], 1)
    share = shares._share(1, made[0])
    assert repr(share.value) not in repr(share)
