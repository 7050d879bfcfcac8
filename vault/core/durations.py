"""Durations as texts: `30d` in options of commands, `1h30m` in Vault's API."""

import re
from datetime import timedelta

import click

from vault.core.principal import MAX_LIFETIME

#: Seconds of each unit.
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

#: More than any limit of this service.
_MAX_SECONDS = 1_000_000_000

#: Seconds of each unit of Vault's API.
_KV_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw])")
_PARTS = re.compile(f"(?:{_PART.pattern}){{1,6}}")


def duration_text(length: timedelta) -> str:
    """Return *length* in the form of `duration`, with the largest unit that divides it: `36h`, `30d`."""
    seconds = int(length.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def duration(text: str) -> timedelta:
    """Return the duration *text*: a whole number of seconds, or of the unit that follows it.

    Raises:
        BadParameter: It has another form, or is not between 1 second and 10 years.
    """
    form = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text)
    if not form:
        raise click.BadParameter(
            "must be a number of seconds, or one with a unit: s, m, h, d or w, such as 30d"
        )
    seconds = int(form[1]) * _UNITS[form[2]]
    if not 1 <= seconds <= MAX_LIFETIME.total_seconds():
        raise click.BadParameter("must be between 1 second and 3650 days")
    return timedelta(seconds=seconds)


def kv_duration_text(seconds: int) -> str:
    """Return *seconds* in the form of Go, for example `1h0m0s`, and `0s` for none."""
    hours, rest = divmod(seconds, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    first = next((place for place, (number, _) in enumerate(parts) if number), 2)
    return "".join(f"{number}{unit}" for number, unit in parts[first:])


def parse_kv_duration(text: str) -> timedelta:
    """Return the duration *text*.

    Raises:
        ValueError: It has another form, or is longer than any limit.
    """
    if not _PARTS.fullmatch(text):
        raise ValueError("invalid duration")
    seconds = sum(float(number) * _KV_UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _MAX_SECONDS:
        raise ValueError("too long")
    # Anything that is not 0 stays so: 0 stands for no limit.
    return max(timedelta(seconds=seconds), timedelta.resolution) if seconds else timedelta()
