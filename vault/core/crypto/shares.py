"""SLIP-39: a secret split into shares of words, which a threshold of people restores.

https://github.com/satoshilabs/slips/blob/master/slip-0039.md. Sums and products of secret bytes take the same
steps for all values: no table is read at a secret index. Only coefficients, which follow from the public
numbers of shares, decide anything.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

from vault.common.errors import SharesRefusedError

#: The most shares of a group, and the most groups.
MAX_SHARES = 16

_DIGEST_BYTES = 4
_DIGEST_INDEX, _SECRET_INDEX = 254, 255
_CHECKSUM_WORDS = 3
#: Words in addition to those of the value: identifier and exponent, numbers and thresholds, checksum.
_OTHER_WORDS = 2 + 2 + _CHECKSUM_WORDS
_MIN_WORDS = 20
_ROUNDS = 4
_BASE_ITERATIONS = 10_000
_EXPONENT = 1
#: A larger exponent in a share would take minutes.
_MAX_EXPONENT = 6
_GENERATOR = (
    *(0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009),
    *(0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120),
)


class Group(NamedTuple):
    """A group of people: how many of its shares are needed, and how many there are."""

    threshold: int
    shares: int


@dataclass(frozen=True, slots=True)
class _Share:
    identifier: int
    extendable: int
    exponent: int
    group_index: int
    group_threshold: int
    group_count: int
    index: int
    threshold: int
    value: bytes = field(repr=False)

    @property
    def set(self) -> tuple[int, ...]:
        """The numbers that all shares of one secret have in common."""
        return astuple(self)[:3] + astuple(self)[4:6]


def split(secret: bytes, groups: Sequence[Group], group_threshold: int) -> list[list[str]]:
    """Return the shares of *secret* for each of *groups*; *group_threshold* of the groups restore it.

    *secret* has an even number of bytes, at least 16.

    Raises:
        SharesRefusedError: The thresholds and counts do not fit each other.
    """
    for threshold, count in [(group_threshold, len(groups)), *groups]:
        if not 1 <= threshold <= count <= MAX_SHARES:
            raise SharesRefusedError(f"cannot split into {threshold} of {count}", hint="at most 16 of 16")
    if any(threshold == 1 < count for threshold, count in groups):
        raise SharesRefusedError("a group with threshold 1 has one share", hint="give copies of it")
    identifier = secrets.randbits(15)
    hidden = _cipher(secret, range(_ROUNDS), exponent=_EXPONENT, salt=b"", passphrase=b"")
    made = []
    for number, part in _points(group_threshold, len(groups), hidden).items():
        group, common = groups[number], (identifier, 1, _EXPONENT, number, group_threshold, len(groups))
        points = _points(group.threshold, group.shares, part)
        made.append([_words(_Share(*common, at, group.threshold, value)) for at, value in points.items()])
    return made


def combine(mnemonics: Iterable[str], *, passphrase: bytes = b"") -> bytes:
    """Return the secret of these shares; more than needed are allowed, and one of them may be forged.

    Raises:
        SharesRefusedError: A share is damaged or of another set, or there are too few.
    """
    shares = [_share(number, text) for number, text in enumerate(mnemonics, 1)]
    if not shares:
        raise SharesRefusedError("there are no shares")
    if len({share.set for share in shares}) != 1:
        raise SharesRefusedError("the shares are of different sets", hint="use the shares of one set")
    first = shares[0]
    groups: dict[int, dict[int, _Share]] = {}
    for share in shares:
        members = groups.setdefault(share.group_index, {})
        known = members.setdefault(share.index, share)
        if known != share or share.threshold != _threshold(members):
            raise SharesRefusedError("two shares contradict each other", hint="use the shares of one set")
    complete = {number: members for number, members in groups.items() if len(members) >= _threshold(members)}
    if len(complete) < first.group_threshold:
        raise SharesRefusedError(_missing(groups, complete, first.group_threshold))
    points = {
        number: _restored(_threshold(members), {index: share.value for index, share in members.items()})
        for number, members in complete.items()
    }
    hidden = _restored(first.group_threshold, points)
    salt = b"" if first.extendable else b"shamir" + first.identifier.to_bytes(2, "big")
    rounds = range(_ROUNDS)[::-1]
    return _cipher(hidden, rounds, exponent=first.exponent, salt=salt, passphrase=passphrase)


def require_share(number: int, text: str) -> None:
    """Require that *text*, the *number*-th one, is a share without a mistake.

    Raises:
        SharesRefusedError: It is not.
    """
    _share(number, text)


def _threshold(members: Mapping[int, _Share]) -> int:
    return next(iter(members.values())).threshold


def _missing(groups: Mapping[int, Mapping[int, _Share]], complete: Mapping[int, object], needed: int) -> str:
    if len(groups) > needed or needed == 1:
        short = [
            f"group {number + 1} has {len(members)} of {_threshold(members)}"
            for number, members in sorted(groups.items())
            if number not in complete
        ]
        return f"there are too few shares: {', '.join(short)}"
    return f"there are too few shares: {len(complete)} of {needed} groups are complete"


def _times(vector: int, factor: int, ones: int = 1) -> int:
    """Return the product of each byte of *vector* and the public *factor* in GF(256)."""
    product = 0
    for bit in range(8):
        product ^= vector * (factor >> bit & 1)
        carries = vector >> 7 & ones
        vector = (vector & ones * 0x7F) << 1 ^ carries * 0x1B
    return product


def _inverse(factor: int) -> int:
    product = 1
    for _ in range(254):
        product = _times(product, factor)
    return product


def _interpolated(points: Mapping[int, bytes], at: int) -> bytes:
    """Return the value at *at* of the polynomials through *points*."""
    size = len(next(iter(points.values())))
    ones = int.from_bytes(b"\1" * size, "big")
    total = 0
    for x, value in points.items():
        basis = 1
        for other in points:
            if other != x:
                basis = _times(basis, _times(at ^ other, _inverse(x ^ other)))
        total ^= _times(int.from_bytes(value, "big"), basis, ones)
    return total.to_bytes(size, "big")


def _digest(secret: bytes, salt: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha256")[:_DIGEST_BYTES]


def _points(threshold: int, count: int, secret: bytes) -> dict[int, bytes]:
    """Return *count* values, any *threshold* of which restore *secret*."""
    if threshold == 1:
        return dict.fromkeys(range(count), secret)
    points = {index: secrets.token_bytes(len(secret)) for index in range(threshold - 2)}
    salt = secrets.token_bytes(len(secret) - _DIGEST_BYTES)
    base = points | {_DIGEST_INDEX: _digest(secret, salt) + salt, _SECRET_INDEX: secret}
    return points | {index: _interpolated(base, index) for index in range(threshold - 2, count)}


def _restored(threshold: int, points: Mapping[int, bytes]) -> bytes:
    if threshold == 1:
        return next(iter(points.values()))
    # With more than are needed, each is left out in turn: one that is forged does not prevent a restore.
    attempts = [points]
    if len(points) > threshold:
        attempts += [{x: value for x, value in points.items() if x != left_out} for left_out in points]
    for attempt in attempts:
        used = dict(islice(attempt.items(), threshold))
        if len({len(value) for value in used.values()}) != 1:
            continue
        secret, check = _interpolated(used, _SECRET_INDEX), _interpolated(used, _DIGEST_INDEX)
        if hmac.compare_digest(check[:_DIGEST_BYTES], _digest(secret, check[_DIGEST_BYTES:])):
            return secret
    raise SharesRefusedError("the shares do not fit each other", hint="one of them is forged")


def _cipher(value: bytes, rounds: Iterable[int], *, exponent: int, salt: bytes, passphrase: bytes) -> bytes:
    """Return *value* after *rounds* of the Feistel network; the reverse order undoes them."""
    half = len(value) // 2
    left, right = value[:half], value[half:]
    for number in rounds:
        mask = hashlib.pbkdf2_hmac(
            "sha256",
            bytes([number]) + passphrase,
            salt + right,
            (_BASE_ITERATIONS << exponent) // _ROUNDS,
            half,
        )
        left, right = right, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return right + left


@cache
def _word_list() -> tuple[str, ...]:
    return tuple(files("vault.core.crypto").joinpath("words.txt").read_text().split())


def _checksum(indices: Sequence[int], extendable: int) -> int:
    check = 1
    for value in (*(b"shamir_extendable" if extendable else b"shamir"), *indices):
        top = check >> 20
        check = (check & 0xFFFFF) << 10 ^ value
        for bit, part in enumerate(_GENERATOR):
            check ^= part * (top >> bit & 1)
    return check


def _digits(number: int, count: int, bits: int = 10) -> list[int]:
    """Return *number* as *count* digits of *bits* bits each, the highest first."""
    return [number >> bits * place & (1 << bits) - 1 for place in reversed(range(count))]


def _number(digits: Iterable[int], bits: int = 10) -> int:
    number = 0
    for digit in digits:
        number = number << bits | digit
    return number


def _words(share: _Share) -> str:
    head = share.identifier << 5 | share.extendable << 4 | share.exponent
    places = (share.group_index, share.group_threshold - 1, share.group_count - 1, share.index)
    indices = _digits(head, 2) + _digits(_number((*places, share.threshold - 1), 4), 2)
    indices += _digits(int.from_bytes(share.value, "big"), -(-len(share.value) * 8 // 10))
    check = _checksum([*indices, *[0] * _CHECKSUM_WORDS], share.extendable) ^ 1
    # Reading a word at a secret index cannot be avoided: the words are the output.
    return " ".join(_word_list()[index] for index in indices + _digits(check, _CHECKSUM_WORDS))


def _share(number: int, text: str) -> _Share:
    """Return the share of *text*, the *number*-th. No message quotes a word."""
    places = {word: place for place, word in enumerate(_word_list())}
    words = text.lower().split()
    if unknown := [at for at, word in enumerate(words, 1) if word not in places]:
        raise SharesRefusedError(f"share {number}: word {unknown[0]} is not in the list of words")
    # The value fills whole pairs of bytes; fewer bits than a byte are padding.
    padding = (len(words) - _OTHER_WORDS) * 10 % 16
    if len(words) < _MIN_WORDS or padding > 8:
        raise SharesRefusedError(f"share {number} has {len(words)} words; words are missing")
    indices = [places[word] for word in words]
    head = _number(indices[:2])
    extendable, exponent = head >> 4 & 1, head & 15
    if _checksum(indices, extendable) != 1:
        raise SharesRefusedError(f"share {number} has a wrong word", hint="compare each word with the paper")
    group_index, group_threshold, group_count, index, threshold = _digits(_number(indices[2:4]), 5, 4)
    value, size = _number(indices[4:-_CHECKSUM_WORDS]), ((len(words) - _OTHER_WORDS) * 10 - padding) // 8
    if value >> size * 8 or group_threshold > group_count or exponent > _MAX_EXPONENT:
        raise SharesRefusedError(f"share {number} is not one that this service makes")
    return _Share(
        *(head >> 5, extendable, exponent, group_index, group_threshold + 1, group_count + 1),
        *(index, threshold + 1, value.to_bytes(size, "big")),
    )
