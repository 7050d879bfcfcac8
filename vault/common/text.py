"""Formats of text: one line, printable, visible, JSON without duplicate names."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

#: Control characters, line separators, and invisible characters that can change how other text looks.
INVISIBLE = r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
ONE_LINE_PATTERN = f"^[^{INVISIBLE}]*$"
# Half of a surrogate pair is not text. A pattern cannot say that: to some readers, others consist of halves.
_NOT_ONE_LINE = re.compile(rf"[{INVISIBLE}\ud800-\udfff]")

#: Characters that Python calls printable, and that are displayed as blank: joiners, fillers, variation
#: selectors and blank symbols; and the two placeholders for text that could not be decoded.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc\ufffd"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)


def is_one_line(text: str) -> bool:
    """Return whether *text* is one line, without invisible characters."""
    return _NOT_ONE_LINE.search(text) is None


def is_blank(text: str) -> bool:
    """Return whether *text* shows nothing: it is empty, or has spaces and invisible characters only."""
    return not _BLANK.sub("", "".join(filter(str.isprintable, text))).strip()


def visible_flaw(text: str, *, max_bytes: int) -> str:
    """Return the rule that *text* breaks as an identifier, without the text; empty if it breaks none.

    Each character is visible or a plain space, and Unicode has one sequence for it. Letters of two scripts
    can still look alike. Text that breaks a rule is refused, never changed.
    """
    too_long = f"must have at most {max_bytes} bytes in UTF-8"
    if len(text) > max_bytes:
        return too_long
    # Unassigned characters are not printable, so the normal form of the others never changes.
    is_ascii = text.isascii()
    if not text.isprintable() or (not is_ascii and _BLANK.search(text)):
        return "must have visible characters only, and no spaces other than U+0020"
    if is_ascii:
        return ""
    if not unicodedata.is_normalized("NFC", text):
        return "must be in the Unicode normal form NFC"
    return too_long if len(text.encode()) > max_bytes else ""


def printable(text: str) -> str:
    """Return *text* with its unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def shorten(text: str, length: int) -> str:
    """Return *text* with at most *length* characters; an ellipsis stands for its end."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def printable_lines(text: str) -> str:
    """Return *text* with its unprintable characters escaped, except line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def decoded(value: bytes) -> str | None:
    """Return *value* as a text; None if it is not UTF-8 without NUL bytes."""
    try:
        return None if b"\0" in value else value.decode()
    except UnicodeDecodeError:
        return None


def is_shown(text: str) -> bool:
    """Return whether a terminal shows *text* as it is: lines of printable characters and tabs."""
    return text.expandtabs(1).replace("\n", "").isprintable()


def quantity(number: int, singular: str, plural: str = "") -> str:
    """Return *number* with its noun; the plural form is *singular* and an "s" unless given."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


class RepeatedNameError(ValueError):
    """A JSON object has a name twice."""

    def __init__(self, name: str) -> None:
        super().__init__("a name occurs twice")
        self.name = name


def unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the JSON object of *pairs*; pass it to `json` as `object_pairs_hook`.

    Readers disagree on which of two values of one name they see.

    Raises:
        RepeatedNameError: A name occurs twice.
    """
    named = dict(pairs)
    if len(named) < len(pairs):
        raise RepeatedNameError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return named
