"""The console: pages for people, over the services, limits and entries of the API.

Its own pages are declared as those of a feature are.
"""

from collections.abc import Sequence

from flask import Flask

from vault.common.feature import Feature, Screen, resolved
from vault.console import assets
from vault.console.operations import NEEDS_REASON, console_blueprint
from vault.console.screens import FEATURES
from vault.core import style
from vault.core.principal import Scope
from vault.core.text import printable

FEATURE = Feature(
    name="console",
    pages=(
        "vault.console.assets:blueprint",
        "vault.console.changes:blueprint",
        "vault.console.credentials:blueprint",
        "vault.console.keys:blueprint",
        "vault.console.secrets:blueprint",
        "vault.console.sign_in:blueprint",
        "vault.console.trail:blueprint",
    ),
    screens=(
        Screen(Scope.SECRET_LIST, "console.secrets.index", "Secrets"),
        Screen(Scope.SECRET_LIST, "console.secrets.index", "Expiring", "expiring"),
        Screen(Scope.AUDIT_READ, "console.trail.activity", "Activity"),
        Screen(Scope.AUDIT_READ, "console.trail.audit", "Audit"),
        Screen(Scope.TOKEN_MANAGE, "console.credentials.tokens", "Tokens"),
        Screen(Scope.TOKEN_MANAGE, "console.credentials.roles", "Roles"),
        Screen(Scope.AUDIT_READ, "console.keys.index", "Keys", is_of_all=True),
    ),
)


def init_app(app: Flask, features: Sequence[Feature], *, needs_reason: bool) -> None:
    """Serve the console at `/console/`, with what *features* bring; a reveal *needs_reason* or not."""
    app.extensions[FEATURES] = (FEATURE, *features)
    pages = resolved(path for feature in app.extensions[FEATURES] for path in feature.pages)
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
