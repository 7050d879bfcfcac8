"""Values: from the stored value to the content of a task's file."""

import json
from base64 import b64decode
from typing import Any

from vault.clients.delivery.outcomes import UnsuitableValueError
from vault.clients.delivery.selection import Encoding, Selection

#: Docker takes less than 500 KiB.
MAX_BYTES = 500 * 1024 - 1


def content(
    value: bytes, selection: Selection, *, max_bytes: int = MAX_BYTES, recipient: str = "Docker"
) -> bytes:
    """Return the part of *value* that the labels select, decoded.

    Raises:
        UnsuitableValueError: The value does not have it, or the *recipient* does not take it.
    """
    part = _field(value, selection.field) if selection.field else value
    if selection.encoding is Encoding.BASE64:
        part = _decoded(part)
    if not 1 <= len(part) <= max_bytes:
        raise UnsuitableValueError(f"{recipient} takes 1 to {max_bytes} bytes, and the value has {len(part)}")
    return part


def _field(value: bytes, name: str) -> bytes:
    try:
        found: Any = json.loads(value)
        if not isinstance(found, dict):
            raise UnsuitableValueError("the value is not a JSON object, so it has no fields")
        if name not in found:
            raise UnsuitableValueError(f"the value has no field {name}")
        field = found[name]
        text = field if isinstance(field, str) else _json(field)
        return text.encode()
    except (ValueError, RecursionError):
        # Its text can quote the value.
        raise UnsuitableValueError("the value is not JSON in UTF-8, so it has no fields") from None


def _json(field: Any) -> str:
    return json.dumps(field, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _decoded(part: bytes) -> bytes:
    try:
        # A trailing newline is not part of base64.
        return b64decode(part.strip(), validate=True)
    except ValueError:
        raise UnsuitableValueError("the value is not base64") from None
