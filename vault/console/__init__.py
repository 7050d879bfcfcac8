"""The console: pages for people, over the services, limits and entries of the API."""

from flask import Flask

from vault.console import assets, pages


def init_app(app: Flask) -> None:
    """Serve the console at `/console/`."""
    # Now: the workers are forks and share the files, compressed.
    assets.load()
    app.register_blueprint(pages.blueprint)
    app.jinja_env.globals["console_asset_of"] = assets.address
