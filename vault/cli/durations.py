"""Durations in options of commands, such as `30d`."""

import re
from datetime import timedelta

import click

from vault.auth.tokens import MAX_LIFETIME

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Return the duration *text*: a whole number of seconds, or of the unit that follows it.

    Raises:
        BadParameter: It has another form, or is not between 1 second and 10 years.
    """
    form = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text)
    if not form:
        raise click.BadParameter("must be a number with one of the units s, m, h, d and w, such as 30d")
    found = timedelta(**{_UNITS[form[2]]: int(form[1])})
    if not timedelta(seconds=1) <= found <= MAX_LIFETIME:
        raise click.BadParameter("must be between 1 second and 3650 days")
    return found
