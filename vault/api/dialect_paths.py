"""Paths of Vault's dialect: clean ones, and those at which there is nothing."""

import posixpath
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import unquote

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from vault.api.blueprint import current_attempt
from vault.api.client_ip import address_of, require_allowed
from vault.api.dialect import LIST, DialectBlueprint
from vault.api.dialect_messages import reply
from vault.api.prefixes import DIALECT
from vault.core.attempt import Action
from vault.core.credentials import without_tokens
from vault.core.errors import ScopeMissingError

_RELATIVE = {".", ".."}

blueprint = DialectBlueprint(
    "dialect_paths", __name__, description="Every path and method that is not an operation."
)


def init_app(app: Flask) -> None:
    """Redirect requests of Vault's dialect to clean paths."""
    app.before_request(_require_clean)
    # Not documented.
    app.register_blueprint(blueprint)


def _require_clean() -> Response | None:
    """Redirect as Vault does: its clients send `//`, and a path must not name another one's secret."""
    # Not the raw path: its prefix can have escapes, or more slashes.
    if not request.path.startswith(DIALECT):
        return None
    raw, _, query = request.environ.get("RAW_URI", "").partition("?")
    if not raw.startswith("/"):
        # A request line can have the whole address, as for a proxy.
        raw = f"/{raw.partition('://')[2].partition('/')[2]}"
    segments = raw.split("/")
    if "" in segments[1:-1] or _RELATIVE.intersection(segments):
        require_allowed(address_of(request))
        # With two slashes at its beginning, it would name another server.
        clean = posixpath.normpath(f"/{raw.lstrip('/')}")
        if raw.endswith("/") and clean != "/":
            # It is part of the name.
            clean += "/"
        found = reply({"errors": []}, HTTPStatus.TEMPORARY_REDIRECT)
        found.headers["Location"] = f"{clean}?{query}" if query else clean
        return found
    if "%" in raw and _RELATIVE.intersection(unquote(raw).split("/")):
        require_allowed(address_of(request))
        raise BadRequest("relative paths not supported")
    return None


@blueprint.route("<path:path>", methods=[LIST, "GET", "POST", "PUT", "PATCH", "DELETE"])
@blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_path(path: str) -> NoReturn:
    """Say that there is nothing at *path*, to those who may know."""
    attempt = current_attempt()
    if not attempt.principal.has_all_rights:
        attempt.details["reason"] = "unknown path"
        raise ScopeMissingError("every")
    if path.startswith(("sys/", "auth/token/")):
        raise NotFound("1 error occurred:\n\t* unsupported path\n\n")
    if request.method == LIST:
        path = f"{path.rstrip('/')}/"
    raise NotFound(f'no handler for route "{without_tokens(path)}". route entry not found.')
