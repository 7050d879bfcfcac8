"""The forms in which a text can contain a value: as it is, for URLs, in JSON, and in base64."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = _ALPHABET[:-2] + "-_"

#: The bits of a character in base64.
_ALL_BITS = 63

#: How many bytes of other content can precede a value within a group of base64.
_ALIGNMENTS = range(3)

#: Escapes of JSON with one letter.
_SHORT = {'"': b'\\"', "\\": b"\\\\", "/": b"\\/"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A place of a form: what can be written there, and the beginnings of that."""

    spellings: frozenset[bytes]
    beginnings: frozenset[bytes]


#: The places of a form, one after the other.
Form = Sequence[Unit]


def forms(value: str) -> Sequence[Form]:
    """Return the forms of *value*, which is not short. Each mixes the escapes of URLs and JSON freely."""
    content = value.encode()
    return [
        [_unit(character) for character in value],
        *([_unit(characters) for characters in _base64(content, offset)] for offset in _ALIGNMENTS),
    ]


def _base64(content: bytes, offset: int) -> Iterator[str]:
    """Yield the characters that can be at each place of *content*, *offset* bytes after a group's start.

    At both ends, a character has bits of what is next to the content, which can be anything.
    """
    rest = -(offset + len(content)) % 3
    lowest, highest = (b64encode(fill * offset + content + fill * rest) for fill in (b"\x00", b"\xff"))
    for low, high in zip(lowest.decode(), highest.decode(), strict=True):
        bits = _ALPHABET.index(low)
        open_bits = bits ^ _ALPHABET.index(high)
        if open_bits != _ALL_BITS:
            numbers = [number for number in range(_ALL_BITS + 1) if number & ~open_bits == bits]
            yield "".join({alphabet[number] for number in numbers for alphabet in (_ALPHABET, _URL_SAFE)})


@lru_cache(4_096)
def _unit(characters: str) -> Unit:
    spellings = {spelling for character in characters for spelling in _spellings(character)}
    beginnings = {spelling[:length] for spelling in spellings for length in range(1, len(spelling))}
    return Unit(frozenset(spellings), frozenset(beginnings))


def _spellings(character: str) -> Iterator[bytes]:
    encoded = character.encode()
    yield encoded
    yield from (b"".join(escapes) for escapes in product(*map(_percent, encoded)))
    # Two for a character that JSON writes as a surrogate pair.
    halves = character.encode("utf-16-be")
    codes = [halves[at : at + 2].hex() for at in range(0, len(halves), 2)]
    yield from (b"".join(escapes) for escapes in product(*map(_code, codes)))
    if character in _SHORT:
        yield _SHORT[character]
    if character == " ":
        yield b"+"


def _percent(byte: int) -> list[bytes]:
    return [f"%{digits}".encode() for digits in _cases(f"{byte:02x}")]


def _code(digits: str) -> list[bytes]:
    return [f"\\u{spelled}".encode() for spelled in _cases(digits)]


def _cases(digits: str) -> set[str]:
    """Return hexadecimal *digits* with each letter in both cases."""
    return {"".join(letters) for letters in product(*({digit, digit.upper()} for digit in digits))}
