"""Durations in options of commands, such as `30d`."""

import re
from datetime import timedelta

import click

from vault.core.principal import MAX_LIFETIME

#: Seconds of each unit.
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


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
