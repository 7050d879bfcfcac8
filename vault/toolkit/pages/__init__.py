"""What pages for people are made of: they are faces of the services, limits and entries of the API."""

from collections.abc import Sequence

from flask import Flask

from vault.common.feature import Feature, resolved
from vault.common.text import printable
from vault.toolkit.pages import assets, style
from vault.toolkit.pages.operations import NEEDS_REASON, SESSIONS, Sessions, console_blueprint
from vault.toolkit.pages.screens import FEATURES


def init_app(app: Flask, features: Sequence[Feature], sessions: Sessions, *, needs_reason: bool) -> None:
    """Serve the pages of *features* at `/console/`, to people with one of *sessions*.

    A reveal *needs_reason* or not.
    """
    app.extensions[FEATURES] = features
    app.extensions[SESSIONS] = sessions
    pages = [assets.blueprint, *resolved(path for feature in features for path in feature.pages)]
    # Now: the workers are forks and share the files, compressed.
    app.extensions[assets.FILES] = assets.load(assets.folders_of(pages))
    blueprint = console_blueprint()
    for page in pages:
        blueprint.register_blueprint(page)
    app.register_blueprint(blueprint)
    app.config[NEEDS_REASON] = needs_reason
    app.jinja_env.filters |= {"number": "{:,}".format, "printable": printable}
    app.jinja_env.globals["console_asset_of"] = assets.address
    app.jinja_env.globals["chart_macros"] = app.jinja_env.from_string(style.CHARTS)
