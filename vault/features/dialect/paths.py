"""The paths of Vault's dialect: clean ones, and those without an operation."""

import posixpath
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import unquote

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from vault.common.credentials import without_tokens
from vault.common.errors import ScopeMissingError, SecretNotFoundError
from vault.core.attempt import Action
from vault.features.dialect.envelopes import PREFIX, envelope, no_content, reply
from vault.features.dialect.kv_replies import missing, unsupported
from vault.features.dialect.kv_requests import MOUNT, asks_for_list, require_no_folder
from vault.features.dialect.operation import LIST, WRITES, DialectBlueprint
from vault.toolkit.http.client_ip import address_of, require_allowed
from vault.toolkit.operations.blueprint import current_attempt

_RELATIVE = {".", ".."}

_ALL = (LIST, "GET", *WRITES, "PATCH", "DELETE")

blueprint = DialectBlueprint(
    "dialect_paths", __name__, description="Every path and method that is not an operation."
)

#: Not documented.
kv_blueprint = DialectBlueprint(
    "kv_paths", __name__, path=MOUNT, description="Paths that are not operations."
)


def init_app(app: Flask) -> None:
    """Give *app* the rules of paths."""
    app.before_request(_require_clean)
    # Not documented.
    app.register_blueprint(blueprint)
    app.register_blueprint(kv_blueprint)


def _require_clean() -> Response | None:
    """Redirect as Vault does: its clients send `//`, and a path must not name another one's secret."""
    # Not the raw path: its prefix can have escapes, or more slashes.
    if not request.path.startswith(PREFIX):
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


@blueprint.route("<path:path>", methods=_ALL)
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


@kv_blueprint.route("", methods=_ALL)
@kv_blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_kv_root() -> Response:
    """Say that there is nothing at the mount itself."""
    return _nothing_at("")


@kv_blueprint.route("/<path:path>", methods=_ALL)
@kv_blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_kv_path(path: str) -> Response:
    """Say that there is nothing at *path* of the mount, in the words that Vault's clients show."""
    return _nothing_at(path)


#: What Vault's own client calls the methods.
_COMMANDS = {"GET": "get", LIST: "list", "DELETE": "delete", "PATCH": "patch"}

_PATHS = {"config", "data", "delete", "destroy", "metadata", "subkeys", "undelete"}


def _nothing_at(path: str) -> Response:
    attempt = current_attempt()
    if attempt.principal.paths:
        attempt.details["reason"] = "unknown path"
        raise ScopeMissingError("every")
    first, slash, _ = path.partition("/")
    if request.method in (*WRITES, "PATCH"):
        require_no_folder(path or "/")
    if _is_operation(path):
        return unsupported()
    if first in ("data", "metadata", "subkeys") and slash:
        if request.method == "DELETE":
            return missing(no_content())
        raise SecretNotFoundError
    if first in _PATHS - {"subkeys", "config"}:
        warning = "Non-listing operations on the root of a K/V v2 mount are not supported."
    else:
        warning = (
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API "
            "endpoints to use. If using the OpenBao CLI, use "
            f"'bao kv {_COMMANDS.get(request.method, 'put')}' for this operation."
        )
    return missing(envelope(None, status=HTTPStatus.NOT_FOUND, warnings=[warning]))


def _is_operation(path: str) -> bool:
    """Return whether *path* has operations, with other methods than the request's."""
    first, slash, rest = path.partition("/")
    if first == "config":
        return not slash and request.method != LIST
    is_list_of_values = first == "data" and bool(slash) and (request.method == LIST or asks_for_list())
    return is_list_of_values or (first in _PATHS and bool(rest.strip("/")))
