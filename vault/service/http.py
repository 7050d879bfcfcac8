"""The HTTP API."""

from collections import deque
from collections.abc import Sequence

from flask import Flask

from vault.common.config.settings import Settings
from vault.common.feature import Feature, resolved
from vault.core.services import Services
from vault.service.api import audit, secrets, tokens
from vault.service.site import docs_page, health, openapi, problems
from vault.toolkit.http import client_ip, cors, errors, hosts, rate_limits, request_log
from vault.toolkit.http.client_ip import TRUSTED_PROXIES
from vault.toolkit.http.memory import Memory
from vault.toolkit.http.prefixes import FORMS
from vault.toolkit.operations.blueprint import (
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
from vault.toolkit.operations.slots import MAX_CONCURRENT_REQUESTS

#: Bytes in a body in addition to the secret: name, JSON syntax, and labels of 40 KiB, of which each byte
#: takes up to 3 with escapes.
_BODY_ALLOWANCE = 131_072

#: The operations of no feature.
_BLUEPRINTS = tuple(module.blueprint for module in (secrets, audit, tokens, health))


def init_app(app: Flask, services: Services, settings: Settings, features: Sequence[Feature]) -> None:
    """Add the HTTP API to *app*, with the operations of *features*; it calls *services*."""
    app.extensions[EXTENSION] = services
    app.extensions[SLOTS] = deque([None] * MAX_CONCURRENT_REQUESTS)
    app.extensions[BODY_MEMORY] = Memory(MAX_BODY_BYTES)
    app.extensions[REPLY_MEMORY] = Memory(MAX_REPLY_BYTES)
    # Base64 has 4 characters for each 3 bytes.
    length = (settings.max_secret_bytes + 2) // 3 * 4 + _BODY_ALLOWANCE
    app.config.update(
        MAX_CONTENT_LENGTH=length,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        **{
            TRUSTED_PROXIES: settings.trusted_proxies,
            BATCH_LENGTH: MAX_BATCH_BYTES,
            REQUEST_TIMEOUT: settings.request_timeout_seconds,
            client_ip.ALLOWED_NETWORKS: settings.allowed_networks,
            health.WARNINGS: [health.NO_AUTHENTICATION] if settings.is_open else [],
        },
    )
    # A trailing slash is optional, without a redirect: many clients do not follow one on POST.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    rate_limits.init_app(app, settings)
    request_log.init_app(app, serves_tls=bool(settings.tls_cert))
    hosts.init_app(app, settings.allowed_hosts)
    client_ip.init_app(app)
    cors.init_app(app, settings.cors_origins)
    errors.init_app(app)
    blueprints = (*_BLUEPRINTS, *resolved(path for feature in features for path in feature.blueprints))
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    for init in resolved(feature.init_app for feature in features if feature.init_app):
        init(app, settings)
    forms = tuple(form.description for form in app.extensions[FORMS].values())
    docs_page.init_app(app, openapi.of(blueprints, forms))
    app.register_blueprint(problems.blueprint)


def close(app: Flask) -> None:
    """Release the API's resources."""
    rate_limits.close(app)
