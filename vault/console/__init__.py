"""The console: pages for people, over the services, limits and entries of the API."""

from flask import Flask

from vault.console import assets, changes, credentials, keys, links, pages, secrets, trail, webhooks
from vault.console.operations import blueprint
from vault.core import style
from vault.core.text import printable

__all__ = ["changes", "credentials", "init_app", "keys", "links", "pages", "secrets", "trail", "webhooks"]


def init_app(app: Flask) -> None:
    """Serve the console at `/console/`."""
    # Now: the workers are forks and share the files, compressed.
    assets.load()
    app.register_blueprint(blueprint)
    app.jinja_env.filters |= {"number": "{:,}".format, "printable": printable}
    app.jinja_env.globals["console_asset_of"] = assets.address
    app.jinja_env.globals["chart_macros"] = app.jinja_env.from_string(style.CHARTS)
