"""Errors in Vault's form, with the statuses that its clients expect."""

import json
from http import HTTPStatus

from flask import Response
from werkzeug.exceptions import NotFound

from vault.toolkit.http.refusals import code_of, detail_of, headers_of, refusal

#: Vault's refusal of a missing or invalid credential, and of what a valid one may not do.
DENIED = "permission denied"
FORBIDDEN = f"1 error occurred:\n\t* {DENIED}\n\n"

#: Status and texts by code, where Vault has its own.
_OWN: dict[str, tuple[int, list[str]]] = {
    "secret_not_found": (404, []),
    "method_not_allowed": (405, []),
    "version_conflict": (400, ["check-and-set parameter did not match the current version"]),
    "expected_version_required": (400, ["check-and-set parameter required for this call"]),
    "token_not_found": (403, ["bad token"]),
    "token_not_renewable": (400, ["lease is not renewable"]),
    "token_required": (400, ["only tokens of this service can be renewed or revoked"]),
}


def reply(error: Exception) -> Response:
    """Return the reply that refuses a request because of *error*."""
    status, texts = _status_and_texts(error)
    return Response(
        json.dumps({"errors": texts}) + "\n",
        status,
        headers=headers_of(error),
        content_type="application/json",
    )


def _status_and_texts(error: Exception) -> tuple[int, list[str]]:
    code = code_of(error)
    if code in _OWN:
        return _OWN[code]
    status = refusal(error).status
    if status == HTTPStatus.UNAUTHORIZED:
        return HTTPStatus.FORBIDDEN, [DENIED]
    if status == HTTPStatus.FORBIDDEN and code != "mount_forbidden":
        # Not the detail: Vault does not say what the caller lacks.
        return status, [FORBIDDEN]
    if type(error) is NotFound and error.description == NotFound.description:
        return status, []
    return status, [detail_of(error)]
