"""Formats of text: one line, printable, JSON without duplicate names, MongoDB's connection strings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.uri_parser import parse_uri

_SRV_SCHEME = "mongodb+srv://"
_PLAIN_SCHEME = "mongodb://"

#: Control characters, line separators, and invisible characters that can change how other text looks.
_INVISIBLE = r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
ONE_LINE_PATTERN = f"^[^{_INVISIBLE}]*$"
# Half of a surrogate pair is not text. A pattern cannot say that: to some readers, others consist of halves.
_NOT_ONE_LINE = re.compile(rf"[{_INVISIBLE}\ud800-\udfff]")


def is_one_line(text: str) -> bool:
    """Return whether *text* is one line, without invisible characters."""
    return _NOT_ONE_LINE.search(text) is None


def printable(text: str) -> str:
    """Return *text* with its unprintable characters escaped."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def quantity(number: int, singular: str, plural: str = "") -> str:
    """Return *number* with its noun; the plural form is *singular* and an "s" unless given."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the JSON object of *pairs*; pass it to `json` as `object_pairs_hook`.

    Readers disagree on which of two values of one name they see.

    Raises:
        ValueError: A name occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


@dataclass(frozen=True, slots=True)
class MongoURI:
    """The parts of a MongoDB connection string, as PyMongo reads them."""

    is_srv: bool
    #: Host names and ports. An SRV record names the ports, so there is no port with `is_srv`.
    hosts: tuple[tuple[str, int | None], ...]
    #: Empty if the connection string names none; the same goes for the next three.
    database: str
    collection: str
    username: str
    password: str = field(repr=False)
    #: By their documented names, whatever their case was. Some are secret, too.
    options: Mapping[str, Any] = field(repr=False)


def parse_mongodb_uri(uri: str) -> MongoURI:
    """Parse a connection string without looking up SRV records: the client does that when it connects.

    Raises:
        PyMongoError: The connection string or one of its options is invalid.
        ValueError: The same.
        OSError: A file that an option names cannot be read.
    """
    is_srv = uri.startswith(_SRV_SCHEME)
    parts = parse_uri(_PLAIN_SCHEME + uri.removeprefix(_SRV_SCHEME) if is_srv else uri)
    return MongoURI(
        is_srv=is_srv,
        hosts=tuple((host, None if is_srv else port) for host, port in parts["nodelist"]),
        database=parts["database"] or "",
        collection=parts["collection"] or "",
        username=parts["username"] or "",
        password=parts["password"] or "",
        options=parts["options"],
    )
