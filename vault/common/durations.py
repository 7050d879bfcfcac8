"""Durations as texts: `30d` in options of commands, `1h30m` in Vault's API."""

import re
from datetime import timedelta

#: Seconds of each unit.
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

#: More than any limit of this service.
_MAX_SECONDS = 1_000_000_000

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw])")
_FORM = re.compile(f"[0-9]{{1,9}}|(?:{_PART.pattern}){{1,6}}")


def parse_duration(text: str) -> timedelta:
    """Return the duration *text*: a number of seconds, or numbers with units.

    Raises:
        ValueError: It has another form, or is longer than any limit.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("invalid duration")
    parts = _PART.findall(text) or [(text, "s")]
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _MAX_SECONDS:
        raise ValueError("too long")
    # Anything that is not 0 stays so: 0 stands for no limit.
    return max(timedelta(seconds=seconds), timedelta.resolution) if seconds else timedelta()


def duration_text(length: timedelta) -> str:
    """Return *length* with the largest unit that divides it: `36h`, `30d`."""
    seconds = int(length.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // int(_UNITS[unit])}{unit}"


def kv_duration_text(seconds: int) -> str:
    """Return *seconds* in the form of Go, for example `1h0m0s`, and `0s` for none."""
    hours, rest = divmod(seconds, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    first = next((place for place, (number, _) in enumerate(parts) if number), 2)
    return "".join(f"{number}{unit}" for number, unit in parts[first:])
