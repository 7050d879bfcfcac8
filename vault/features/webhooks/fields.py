"""The fields of webhooks that the API and the console share."""

from marshmallow import fields, validate

from vault.api.document.fields import as_sentence, text_field
from vault.config import validators

URL = "https://hooks.example.com/vault"
ID_PATTERN = "^[0-9a-f]{16}$"

_MAX_URL_LENGTH = 2_048


def url_field() -> fields.String:
    """Return the field for the URL of a new webhook, with its documentation."""
    return text_field(
        "The URL that gets the events: https, or http on this machine. Networks that are not public, this "
        "machine included, must be in `WEBHOOK_NETWORKS`.",
        URL,
        shape={"format": "uri"},
        required=True,
        validate=[validate.Length(max=_MAX_URL_LENGTH), as_sentence(validators.public_url)],
    )
