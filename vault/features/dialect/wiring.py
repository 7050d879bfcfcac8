"""The service of Vault's dialect, and what it gives the application: errors, memory and paths."""

from collections.abc import Iterator

from flask import Flask

from vault.common.config.settings import Settings
from vault.core.parts import Parts
from vault.features.dialect import long_work, paths, refusals
from vault.features.dialect.envelopes import PREFIX
from vault.features.dialect.other_tokens import OtherTokens
from vault.toolkit.http.hosts import FOR_EVERYONE
from vault.toolkit.http.memory import Memory
from vault.toolkit.http.prefixes import FORMS, Form

_ERRORS = 'Below `/v1/`,\nerrors have Vault\'s form, `{"errors": […]}`.'


def services(parts: Parts) -> Iterator[OtherTokens]:
    """Yield the service: other principals' tokens."""
    yield OtherTokens(parts.token_keys, max_days=parts.settings.token_max_days)


def init_app(app: Flask, _settings: Settings) -> None:
    """Give *app* the form of errors, the probe, the memory for values, and the rules of paths."""
    app.extensions[FORMS][PREFIX] = Form(refusals.reply, _ERRORS)
    app.extensions[FOR_EVERYONE].add("Vault system.health_of_vault")
    app.extensions[long_work.VALUE_MEMORY] = Memory(long_work.MAX_VALUE_BYTES)
    paths.init_app(app)
