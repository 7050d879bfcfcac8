"""Durations in requests of Vault's dialect: seconds, or numbers with units."""

from datetime import timedelta
from typing import Any

from werkzeug.exceptions import BadRequest

from vault.core.durations import parse_duration


def duration(value: Any, what: str) -> timedelta:
    """Return the duration *value*, a text or `Number`. Nothing stands for 0.

    Raises:
        BadRequest: It has another form, which the message says of *what*.
    """
    if value is None or value == "":
        return timedelta()
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        raise BadRequest(f"error parsing {what}: invalid duration") from None
