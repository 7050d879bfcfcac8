"""The composition root: wires everything, decides nothing."""

import atexit
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from vault import __version__
from vault.common import feature
from vault.common.config.dotenv import dotenv_path
from vault.common.config.settings import Settings
from vault.common.config.summary import summary
from vault.common.config.validators import port
from vault.common.observability import logs, metrics
from vault.common.observability.spans import NoTracing
from vault.common.processes import harden
from vault.core.access.tokens.ended import EndedTokens
from vault.core.access.tokens.own_credential import OwnCredential
from vault.core.documents import Database, EncryptOnSave, outage
from vault.core.keys.status import KeyStatuses, KeyUsageCache
from vault.core.parts import Parts
from vault.core.secrets.queries import SecretQueries
from vault.core.secrets.wrapping import Wrapping
from vault.core.services import Health, Services, Startup
from vault.core.status import Overview
from vault.service import http as api
from vault.service.site import metrics as metrics_page
from vault.toolkit.http.application import Application
from vault.toolkit.operations.blueprint import EXTENSION

if TYPE_CHECKING:
    from vault.common.observability.tracing import Tracing

logger = logging.getLogger(__name__)

#: Key of the application's extensions: the function that closes the application.
CLOSE = "secret-manager-close"


def create_app(settings: Settings) -> Flask:
    """Return an application with these *settings*. It does not contact MongoDB before the first request."""
    tracing = _tracing(settings)
    database = Database(
        settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days, listeners=tracing.listeners
    )
    outage.current.begin(database.is_without_primary)
    parts = Parts(settings, database, auth_enabled=settings.auth_enabled)
    active = feature.active(settings.features_off)
    keyring, guard, token_keys = parts.keyring, parts.guard, parts.token_keys
    encrypt_on_save = EncryptOnSave(keyring)
    encrypt_on_save.connect()
    startup = Startup(
        database,
        guard,
        parts.trail,
        EndedTokens(token_keys),
        [
            task
            for tasks in feature.resolved(one.tasks for one in active if one.tasks)
            for task in tasks(parts)
        ],
    )
    services = Services(
        secrets=parts.secrets,
        changes=parts.changes,
        wrapping=Wrapping(keyring, guard, parts.secrets, token_keys.find),
        keys=KeyStatuses(keyring),
        features=parts.features,
        versions=parts.versions,
        metadata=parts.metadata,
        queries=SecretQueries(keyring, guard),
        guard=guard,
        startup=startup,
        health=Health(database, guard, parts.trail, startup, settings.certificates),
        overview=Overview(parts),
        tokens=parts.tokens,
        own_credential=OwnCredential(token_keys, max_days=settings.token_max_days),
        authenticator=parts.authenticator,
    )
    app = Application(__name__, static_folder=None)

    def close() -> None:
        startup.close()
        parts.close()
        encrypt_on_save.disconnect()
        api.close(app)
        tracing.close()

    # Signals reference their receivers weakly; this keeps them alive as long as the application.
    app.extensions[CLOSE] = close
    tracing.connect(app)
    api.init_app(app, services, settings, active)
    if settings.metrics_bind and metrics.FOLDER:
        folder = Path(metrics.FOLDER)
        key_usage = KeyUsageCache(keyring, folder)
        metrics_page.init_app(
            app,
            services.health,
            key_usage,
            folder=folder,
            port=port(settings.metrics_bind),
            hosts=settings.allowed_hosts,
        )
    return app


def _tracing(settings: Settings) -> "Tracing | NoTracing":
    """Return `Tracing`, or its stand-in if tracing is disabled."""
    if not settings.tracing:
        return NoTracing()
    # Imported lazily: the tracing packages are optional.
    from vault.common.observability.tracing import Tracing

    return Tracing()


def _warn(settings: Settings) -> None:
    """Log warnings about *settings*, at every start."""
    if settings.dotenv:
        found = {"file": str(dotenv_path()), "names": list(settings.dotenv)}
        if settings.decisive_dotenv:
            logger.warning("settings from .env", extra=found)
        else:
            logger.info("settings from .env", extra=found)
    for exposure in settings.exposures:
        logger.warning(exposure)
    for mistake in settings.mistakes:
        logger.warning("check the settings: %s", mistake)
    for warning in settings.certificates.warnings:
        logger.warning("check the certificates: %s", warning)
    for weakness in settings.weak_keys:
        logger.warning("weak master key: %s; rotate it", weakness)


def from_environment() -> Flask:
    """Configure this process from the environment, and return its application.

    Raises:
        SettingsError: The environment contains invalid settings.
        VaultError: The master keys cannot be opened, see `Settings.with_keys`.
    """
    harden()
    settings = Settings.from_environment()
    logs.configure(settings.log_level)
    # As they are set: not with the keys that a feature opens.
    shown = summary(settings)
    settings = settings.with_keys()
    logger.info("starting", extra={"version": __version__, "settings": shown})
    _warn(settings)
    app = create_app(settings)
    # Not now: no thread survives the fork of a server that preloads the application.
    app.before_request(app.extensions[EXTENSION].startup.begin)
    # Forked workers inherit this: each logs the head of its stream of the trail when it ends.
    atexit.register(app.extensions[CLOSE])
    return app
