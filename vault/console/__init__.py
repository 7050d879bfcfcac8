"""The console: pages for people, over the services, limits and entries of the API."""

from flask import Flask

from vault.console import (
    assets,
    changes,
    credentials,
    keys,
    links,
    rotations,
    secrets,
    sign_in,
    trail,
    webhooks,
)
from vault.console.operations import NEEDS_REASON, blueprint
from vault.core import style
from vault.core.text import printable

__all__ = [
    "changes",
    "credentials",
    "init_app",
    "keys",
    "links",
    "rotations",
    "secrets",
    "sign_in",
    "trail",
    "webhooks",
]


def init_app(app: Flask, *, needs_reason: bool) -> None:
    """Serve the console at `/console/`, where a reveal *needs_reason* or not."""
    # Now: the workers are forks and share the files, compressed.
    assets.load()
    app.register_blueprint(blueprint)
    app.config[NEEDS_REASON] = needs_reason
    app.jinja_env.filters |= {"number": "{:,}".format, "printable": printable}
    app.jinja_env.globals["console_asset_of"] = assets.address
    app.jinja_env.globals["chart_macros"] = app.jinja_env.from_string(style.CHARTS)
