"""Durations as Vault's clients write them: seconds, or numbers with units, such as `90s` and `1h30m`."""

import re
from datetime import timedelta
from typing import Any

from werkzeug.exceptions import BadRequest

#: Seconds of each unit.
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_SECONDS = re.compile("[0-9]{1,9}")
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw])")
_PARTS = re.compile(f"(?:{_PART.pattern}){{1,6}}")


def duration_text(seconds: int) -> str:
    """Return *seconds* in the form of Go, for example `1h0m0s`, and `0s` for none."""
    hours, rest = divmod(seconds, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    first = next((place for place, (number, _) in enumerate(parts) if number), 2)
    return "".join(f"{number}{unit}" for number, unit in parts[first:])


def duration(value: Any, what: str) -> timedelta:
    """Return the duration *value*, a text or `Number`. Nothing stands for 0.

    Raises:
        BadRequest: It has another form, which the message says of *what*.
    """
    if value is None or value == "":
        return timedelta()
    text = value if isinstance(value, str) else ""
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    if not _PARTS.fullmatch(text):
        raise BadRequest(f"error parsing {what}: invalid duration")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
