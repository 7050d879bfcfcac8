"""Entries of the audit trail, as pages show them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vault.common.text import printable

#: The most that an entry takes.
ENTRY_BYTES = 4_096

#: The longest text of a row.
_MAX_CHARACTERS = 160

#: Details that have a column of their own.
_COLUMNS = ("name", "namespace")


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as a page shows it. An attacker may have stored anything in it."""

    time: str
    action: str
    status: str
    principal: str
    secret: str
    origin: str
    details: str

    @classmethod
    def of(cls, entry: Mapping[str, Any], own: str, *, current_id: str = "") -> "Row":
        """Return the row of *entry*, with its namespace unless that is the person's *own*.

        With the *current_id* of a secret, another one of its name is an earlier one.
        """
        found = entry.get("details")
        details = found if isinstance(found, dict) else {}
        place, name = details.get("namespace", own), details.get("name")
        is_earlier = bool(current_id) and entry.get("secret_id", current_id) != current_id
        more = {name: value for name, value in details.items() if name not in _COLUMNS}
        return cls(
            time=_text(entry.get("ts"))[:19].replace("T", " "),
            action=_text(entry.get("action")),
            status=_text(entry.get("status")),
            principal=_text(entry.get("principal")),
            secret=_secret(_text(name), "" if place == own else _text(place), is_earlier=is_earlier),
            origin=_text(entry.get("ip")),
            details=", ".join(f"{_text(name)}: {_text(value)}" for name, value in more.items()),
        )


def _secret(name: str, namespace: str, *, is_earlier: bool) -> str:
    """Return what a row says about its secret: without a name, there can be a *namespace* all the same."""
    text = ": ".join(part for part in (namespace, name) if part)
    return f"{text} (an earlier secret)" if is_earlier else text


def _text(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    text = printable(text)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
