"""Descriptions of secrets in replies: the fields that commands read, of the types that they take."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vault.common.attributes import ATTRIBUTES, Form

_ROW: Mapping[str, Any] = {"secret_id": str, "name": str | None}
_DESCRIPTION = {
    **_ROW,
    **dict.fromkeys(("created_at", "expires_at", "last_fetched_at"), str | None),
    **dict.fromkeys(("max_reads", "reads_left"), int | None),
    "version": int,
    "versions": list,
    "purged_versions": list,
}
_VERSION = {"version": int, "created_at": str, "deleted_at": str | None}


def is_row(found: Any) -> bool:
    """Return whether *found* is a secret in a list."""
    return _has(_ROW, found) and _is_described(found)


def is_description(found: Any) -> bool:
    """Return whether *found* is the description of a secret."""
    return (
        _has(_DESCRIPTION, found)
        and _is_described(found)
        and all(map(_is_version, found["versions"]))
        and all(isinstance(number, int) for number in found["purged_versions"])
    )


def _is_described(found: Mapping[str, Any]) -> bool:
    # An earlier version of the service does not know all texts.
    forms = {Form.TEXT: str | None, Form.PAIRS: dict}
    return all(isinstance(found.get(one.name), forms[one.form]) for one in ATTRIBUTES)


def _is_version(found: Any) -> bool:
    return _has(_VERSION, found) and (found["deleted_at"] is None or _is_time(found["deleted_at"]))


def _has(fields: Mapping[str, Any], found: Any) -> bool:
    return isinstance(found, dict) and all(
        name in found and isinstance(found[name], kind) for name, kind in fields.items()
    )


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
