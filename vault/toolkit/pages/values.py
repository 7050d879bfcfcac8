"""Values of secrets, as pages receive and show them."""

from base64 import b64encode
from typing import Any

from marshmallow import ValidationError, fields

from vault.common.text import decoded, is_shown


class Value(fields.String):
    """The text of a value, as its bytes."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> bytes:  # type: ignore[override]
        try:
            found: bytes = super()._deserialize(*args, **kwargs).encode()
        except UnicodeEncodeError:
            # It has half of a surrogate pair, and the error has the value.
            found = b""
        if not found:
            raise ValidationError("Must be a text, and not empty.")
        return found


def shown(value: bytes) -> dict[str, Any]:
    """Return *value* as scripts show it: as text if that is possible, or else in base64."""
    text = decoded(value)
    if text is not None and is_shown(text.replace("\r\n", "\n")):
        return {"value": text, "form": "text"}
    return {"value": b64encode(value).decode(), "form": "base64"}
