"""The HTTP API."""

from collections import deque

from flask import Flask

from vault import __version__
from vault.api import (
    audit,
    auth,
    client_ip,
    cors,
    dialect,
    dialect_auth,
    dialect_paths,
    dialect_system,
    error_docs,
    errors,
    health,
    issuers,
    kv,
    kv_metadata,
    kv_paths,
    openapi,
    problem_pages,
    rate_limits,
    request_log,
    response_headers,
    roles,
    secrets,
    tokens,
    wrapping,
)
from vault.api.blueprint import (
    BATCH_LENGTH,
    BODY_MEMORY,
    EXTENSION,
    MAX_BATCH_BYTES,
    MAX_BODY_BYTES,
    MAX_REPLY_BYTES,
    REPLY_MEMORY,
    REQUEST_TIMEOUT,
    SLOTS,
)
from vault.api.client_ip import TRUSTED_PROXIES
from vault.api.errors import Api
from vault.api.memory import Memory
from vault.api.openapi import SchemaPlugin
from vault.api.slots import MAX_CONCURRENT_REQUESTS
from vault.config.settings import Settings
from vault.secrets.items import MAX_ITEMS
from vault.services import Services

#: Bytes in a body in addition to the secret: name, JSON syntax, and labels with up to 12 bytes a character.
_BODY_ALLOWANCE = 32_768

_DESCRIPTION = """\
Stores passwords, keys and tokens. Secrets are encrypted at rest, and every access is in the audit trail.

**Try it here**: open *Create a secret*, choose *Try it out*, type a value and choose *Execute*. *Fetch a
secret* then contains the new ID. Values are in base64. IDs appear only in bodies, never in URLs.

If the service requires a credential, choose *Authorize* and enter a token (`smt_…`) or a JWT.

Every error is a problem document (RFC 9457), and its `code` names the [kind](/problems/). Below `/v1/`,
errors have Vault's form, `{"errors": […]}`. Every reply has an `X-Request-ID` header; logs and the audit
trail contain the same ID.
"""

_CONTACT = {"name": "The Secret Manager authors"}
_LICENSE = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


def init_app(app: Flask, services: Services, settings: Settings) -> None:
    """Add the HTTP API to *app*; it calls *services*."""
    app.extensions[EXTENSION] = services
    app.extensions[SLOTS] = deque([None] * MAX_CONCURRENT_REQUESTS)
    app.extensions[BODY_MEMORY] = Memory(MAX_BODY_BYTES)
    app.extensions[REPLY_MEMORY] = Memory(MAX_REPLY_BYTES)
    # Base64 has 4 characters for each 3 bytes.
    length = (settings.max_secret_bytes + 2) // 3 * 4 + _BODY_ALLOWANCE
    app.config.update(
        API_TITLE="Secret Manager",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.0.3",
        API_SPEC_OPTIONS={
            "info": {"description": _DESCRIPTION, "contact": _CONTACT, "license": _LICENSE},
            "servers": [{"url": "/", "description": "The service that this document comes from"}],
        },
        MAX_CONTENT_LENGTH=length,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        **{
            TRUSTED_PROXIES: settings.trusted_proxies,
            BATCH_LENGTH: min(MAX_ITEMS * length, MAX_BATCH_BYTES),
            REQUEST_TIMEOUT: settings.request_timeout_seconds,
            openapi.CREDENTIAL_REQUIRED: settings.auth_enabled,
            client_ip.ALLOWED_NETWORKS: settings.allowed_networks,
            health.WARNINGS: [health.NO_AUTHENTICATION] if settings.is_open else [],
        },
    )
    # A trailing slash is optional, without a redirect: many clients do not follow one on POST.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    rate_limits.init_app(app, settings)
    request_log.init_app(app, serves_tls=bool(settings.tls_cert))
    client_ip.init_app(app)
    cors.init_app(app, settings.cors_origins)
    pages = Api(app, spec_kwargs={"marshmallow_plugin": SchemaPlugin()})
    # Remove the schemas of flask-smorest's own errors and pages: this API does not use them.
    pages.spec.components.schemas.clear()
    errors.init_app(app)
    response_headers.document(pages.spec)
    error_docs.document(pages.spec)
    auth.document(pages.spec)
    dialect.document(pages.spec)
    dialects = (kv, kv_metadata, dialect_system, dialect_auth, wrapping)
    for module in (secrets, audit, tokens, roles, issuers, health, *dialects):
        pages.register_blueprint(module.blueprint)
    dialect_paths.init_app(app)
    app.register_blueprint(kv_paths.blueprint)
    openapi.init_app(app, pages.spec)
    app.register_blueprint(problem_pages.blueprint)


def close(app: Flask) -> None:
    """Release the API's resources."""
    rate_limits.close(app)
