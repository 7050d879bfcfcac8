"""Warnings in replies of Vault's dialect: what was not done as asked."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import request


def ignored(body: Mapping[str, Any], *known: str) -> list[str]:
    """Return the warning of the parameters of the request, in *body* and query, that are not *known*."""
    unknown = sorted(name for name in {*body, *request.args} if name not in known)
    return [f"Endpoint ignored these unrecognized parameters: [{' '.join(unknown)}]"] if unknown else []


def capped(what: str, asked: timedelta, longest: timedelta) -> list[str]:
    """Return the warning that the time *asked* for is more than the *longest*, which is 0 for none."""
    if not timedelta() < longest < asked:
        return []
    times = f'of "{_shown(asked)}" exceeded the effective max_ttl of "{_shown(longest)}"'
    return [f"{what} {times}; {what} value is capped accordingly"]


def _shown(duration: timedelta) -> str:
    """Return *duration* as Vault shows it, such as 1h30m."""
    minutes, seconds = divmod(duration.total_seconds(), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number:g}{unit}" for number, unit in parts if number)
