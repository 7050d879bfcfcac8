"""The parts of Vault's API in the application that are no operations."""

from flask import Flask

from vault.common.config.settings import Settings
from vault.features.dialect import long_work, paths
from vault.features.dialect.envelopes import PREFIX
from vault.features.dialect.refusals import reply
from vault.toolkit.http.memory import Memory
from vault.toolkit.http.prefixes import FORMS, Form

_ERRORS = 'Below `/v1/`,\nerrors have Vault\'s form, `{"errors": […]}`.'


def init_app(app: Flask, _settings: Settings) -> None:
    """Give *app* the form of errors, the memory for values, and the rules of paths."""
    app.extensions[FORMS][PREFIX] = Form(reply, _ERRORS)
    app.extensions[long_work.VALUE_MEMORY] = Memory(long_work.MAX_VALUE_BYTES)
    paths.init_app(app)
