"""The sessions of people and their sign-in, and the pages of all features in the application."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Flask

from vault.common import feature
from vault.common.config.settings import Settings
from vault.core.parts import Parts
from vault.features.console.open_id import OpenID
from vault.features.console.sessions import Sessions
from vault.features.console.settings import ConsoleSettings
from vault.toolkit import pages
from vault.toolkit.operations.blueprint import EXTENSION, PUBLIC_URL

if TYPE_CHECKING:
    from vault.features.console.open_id_provider import OpenIDProvider


def services(parts: Parts) -> Iterator[Sessions | OpenID]:
    """Yield the services: sessions, and sign-ins by OpenID Connect."""
    yield Sessions(parts.token_keys, parts.authenticator)
    yield OpenID(parts.token_keys, _provider(parts.settings.of(ConsoleSettings)))


def _provider(own: ConsoleSettings) -> "OpenIDProvider | None":
    """Return the provider by which people sign in, if there is one."""
    if not (own.console_enabled and own.oidc_issuer):
        return None
    # Imported lazily: its library takes memory.
    from vault.features.console.open_id_provider import OpenIDProvider

    return OpenIDProvider(own.oidc_issuer, str(own.oidc_client_id), str(own.oidc_client_secret))


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the pages of all features that are on, with `CONSOLE_ENABLED`."""
    own = settings.of(ConsoleSettings)
    if not own.console_enabled:
        return
    app.config[PUBLIC_URL] = own.public_url
    features = feature.active(settings.features_off)
    sessions = app.extensions[EXTENSION].of(Sessions)
    pages.init_app(app, features, sessions, needs_reason=own.console_reason_required)
