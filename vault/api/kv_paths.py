"""Paths of KV, version 2, at which there is nothing: what Vault's clients show then."""

from http import HTTPStatus

from flask import Response, request

from vault.api.blueprint import current_attempt
from vault.api.dialect import LIST, WRITES, DialectBlueprint
from vault.api.dialect_messages import envelope, no_content
from vault.api.kv_replies import missing, unsupported
from vault.api.kv_requests import MOUNT, asks_for_list, require_no_folder
from vault.core.attempt import Action
from vault.core.errors import ScopeMissingError, SecretNotFoundError

_ALL = (LIST, "GET", *WRITES, "PATCH", "DELETE")

#: Not documented.
blueprint = DialectBlueprint("kv_paths", __name__, path=MOUNT, description="Paths that are not operations.")


@blueprint.route("", methods=_ALL)
@blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_kv_root() -> Response:
    """Say that there is nothing at the mount itself."""
    return _nothing_at("")


@blueprint.route("/<path:path>", methods=_ALL)
@blueprint.operation(Action.UNKNOWN_PATH, scope=None)
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
