"""What secrets have in requests: a value, a name, labels."""

from typing import Any

from marshmallow import fields, validate

from vault.api.fields import BASE64_PATTERN, ONE_LINE, Base64, BoundedDict, matches

SECRET = {"example": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
NAME = {"example": "billing/db-password"}
CURSOR = "WyJiaWxsaW5nIiwgIjU1MGUiXQ=="
LABELS = {"example": {"team": "billing", "env": "prod"}}

_NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
NAME_LENGTH = 256
_LABEL_KEY_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._/-]*$"
_MAX_LABELS = 16
_LABEL_KEY_LENGTH = 63
_LABEL_LENGTH = 128


def a_name(**description: Any) -> fields.String:
    """Return the field for a secret's name."""
    return fields.String(
        validate=[
            validate.Length(1, NAME_LENGTH),
            matches(_NAME_PATTERN, "Must be a path like billing/db-password."),
        ],
        metadata=NAME | {"pattern": _NAME_PATTERN, **description},
    )


def some_labels(**description: Any) -> BoundedDict:
    """Return the field for labels."""
    key = fields.String(
        validate=[
            validate.Length(1, _LABEL_KEY_LENGTH),
            matches(_LABEL_KEY_PATTERN, "Must be letters, digits, dots, dashes, slashes and underscores."),
        ]
    )
    text = fields.String(validate=[validate.Length(0, _LABEL_LENGTH), ONE_LINE])
    return BoundedDict(
        most=_MAX_LABELS,
        too_many=f"At most {_MAX_LABELS} labels.",
        keys=key,
        values=text,
        load_default=dict,
        metadata=LABELS | description,
    )


def a_value(description: str) -> Base64:
    """Return the field for a secret's value."""
    return Base64(
        required=True,
        metadata=SECRET
        | {
            "description": f"{description}, in canonical base64 (RFC 4648, section 4). Not empty; "
            "by default at most 64 KiB once it is decoded.",
            "format": "byte",
            "pattern": BASE64_PATTERN,
        },
    )
