"""Durations in requests of Vault's dialect: seconds, or numbers with units."""

import re
from datetime import timedelta
from typing import Any

from werkzeug.exceptions import BadRequest

from vault.core.durations import parse_kv_duration

_SECONDS = re.compile("[0-9]{1,9}")


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
    try:
        return parse_kv_duration(text)
    except ValueError:
        raise BadRequest(f"error parsing {what}: invalid duration") from None
