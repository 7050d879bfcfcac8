"""The HTTP API."""

from collections.abc import Sequence

from flask import Flask

from vault import __version__
from vault.api import audit, documentation, exchange, health, refusals, secrets
from vault.api.blueprint import EXTENSION, TRUSTED_PROXIES
from vault.api.client_address import Network
from vault.api.problems import Api
from vault.operations.services import Services

#: Room in a body for all that is not the secret: name, JSON itself, and labels, up to 12 bytes a character.
_BODY_ALLOWANCE = 32_768

_DESCRIPTION = """\
Keeps passwords, keys and tokens: encrypted at rest, every access on record.

**Try it here**: open *Create a secret*, choose *Try it out* and *Execute*. *Fetch a secret* then has the new
id filled in. Values travel as base64, and ids only ever in bodies, never in URLs.

Every refusal is a problem document (RFC 9457). Every reply carries the `X-Request-ID` under which logs and
audit trail know it.
"""


def init_app(
    app: Flask, services: Services, *, max_secret_bytes: int, trusted_proxies: Sequence[Network]
) -> None:
    """Let *app* answer HTTP requests by calling *services*."""
    app.extensions[EXTENSION] = services
    app.config.update(
        API_TITLE="Secret Manager",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/",
        API_SPEC_OPTIONS={"info": {"description": _DESCRIPTION}},
        # Base64 has 4 characters for each 3 bytes.
        MAX_CONTENT_LENGTH=(max_secret_bytes + 2) // 3 * 4 + _BODY_ALLOWANCE,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        **{TRUSTED_PROXIES: trusted_proxies},
    )
    # With and without a closing slash alike, and never a redirect: many clients do not follow one on POST.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    exchange.init_app(app)
    pages = Api(app)
    refusals.document(pages.spec)
    for blueprint in (secrets.blueprint, audit.blueprint, health.blueprint):
        pages.register_blueprint(blueprint)
    app.register_blueprint(documentation.blueprint)
