"""The fields of links, which the API and the console take."""

from marshmallow import fields, validate

from vault.api.document.fields import one_line, text_field
from vault.core.text import ONE_LINE_PATTERN
from vault.features.links.shares import MAX_PASSPHRASE_CHARACTERS
from vault.secrets.wrapping import MAX_LIFETIME

#: The longest time until a link expires.
MAX_SECONDS = round(MAX_LIFETIME.total_seconds())
TOKEN_PATTERN = "^[0-9A-Za-z_-]{1,64}$"  # noqa: S105 - a pattern
PASSPHRASE_EXAMPLE = "correct horse battery staple"  # noqa: S105 - an example


def passphrase_field(description: str) -> fields.String:
    """Return a field for a passphrase, empty if it is omitted, with its documentation."""
    return text_field(
        description,
        PASSPHRASE_EXAMPLE,
        shape={"pattern": ONE_LINE_PATTERN},
        load_default="",
        validate=[validate.Length(1, MAX_PASSPHRASE_CHARACTERS), one_line],
    )
