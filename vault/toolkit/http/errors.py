"""Errors as HTTP replies: problem details (RFC 9457), or the form of another API."""

import json
import logging
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

from flask import Flask, Request, Response, current_app, g, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from vault.common.errors import CredentialRequiredError, InvalidCredentialError, NotReadyError
from vault.common.observability import logs
from vault.common.text import quantity
from vault.toolkit.http import auth
from vault.toolkit.http.prefixes import FORMS, REST, Form
from vault.toolkit.http.refusals import InvalidArgumentsError, code_of, detail_of, headers_of, refusal

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: Path of the pages about the kinds of problems.
PAGES = "/problems/"

#: Maximum number of errors in a reply. A body can have thousands.
_MAX_ERRORS = 20

#: Maximum number of characters of a field's path in a reply. An unknown field can have a name of megabytes.
_MAX_FIELD_LENGTH = 256

#: marshmallow's key for errors of a whole object.
_WHOLE = "_schema"

_BEARER = "Send it in the header `Authorization`, after `Bearer` and a space."
_POST = "Send POST, with a JSON body."


def problem_body(error: Exception, hint: str = "") -> dict[str, Any]:
    """Return the problem document of *error*, as a reply or an item of a batch contains it, with a *hint*."""
    code, kind = code_of(error), refusal(error)
    body = {
        "type": uri_of(code),
        "title": kind.title,
        "status": kind.status,
        "detail": f"{detail_of(error)} {hint}".rstrip(),
        "code": code,
        "request_id": logs.request_id.get(),
    }
    errors = _listed(_messages(error))
    return {**body, "errors": errors} if errors else body


def problem(error: Exception, hint: str = "") -> Response:
    """Return the reply that refuses a request because of *error*, with a *hint* for its sender."""
    kind = refusal(error)
    reply = Response(json.dumps(problem_body(error, hint)) + "\n", kind.status, content_type=CONTENT_TYPE)
    reply.headers.extend(headers_of(error))
    if kind.challenge:
        reply.headers["WWW-Authenticate"] = kind.challenge
    return reply


def uri_of(code: str) -> str:
    """Return the URI reference of the kind of problem with *code*, where its page is."""
    # Relative: the service does not know the address under which clients reach it.
    return PAGES + code.replace("_", "-")


def _messages(error: Exception) -> Any:
    """Return the messages by field that *error* has, in marshmallow's form."""
    if isinstance(error, NotReadyError):
        return error.failures
    return error.messages if isinstance(error, InvalidArgumentsError) else {}


def _listed(messages: Any) -> list[dict[str, str]]:
    """Return the first of *messages*, each with its field, and the number of the others."""
    flat = _flat(messages, ())
    # As texts: the message about an unknown field looks for a similar one only now.
    listed = [one | {"message": str(one["message"])} for one in islice(flat, _MAX_ERRORS)]
    if rest := sum(1 for _ in flat):
        listed.append({"field": "", "message": f"{quantity(rest, 'more error')}."})
    return listed


def _flat(messages: Any, path: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if isinstance(messages, dict):
        for key, below in messages.items():
            yield from _flat(below, path if key == _WHOLE else (*path, str(key)))
    else:
        for message in messages:
            yield {"field": ".".join(path)[:_MAX_FIELD_LENGTH], "message": message}


def init_app(app: Flask) -> None:
    """Answer all errors of *app* with problem details, or in the form of their prefix."""
    app.extensions[FORMS] = {}
    app.register_error_handler(Exception, refuse)


def refuse(error: Exception) -> Response:
    """Return the reply that refuses a request because of *error*, and put it in the log and the metrics."""
    g.refused_for = code_of(error)
    if refusal(error).status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request failed", exc_info=error)
    forms: dict[str, Form] = current_app.extensions[FORMS]
    for prefix, form in forms.items():
        if request.path.startswith(prefix):
            return form.reply(error)
    return problem(error, _hint(error, request))


def _hint(error: Exception, req: Request) -> str:
    """Return the hint for the sender of *req*, which *error* refuses; empty for none.

    It has nothing of the request, which can be a credential, but the path that exists.
    """
    if not req.path.startswith(REST):
        return ""
    if isinstance(error, InvalidCredentialError) and not error.is_of_header:
        return ""
    if isinstance(error, CredentialRequiredError | InvalidCredentialError):
        return _BEARER if auth.has_another_scheme(req) else ""
    if isinstance(error, MethodNotAllowed):
        return _POST
    if isinstance(error, NotFound):
        return _path_hint(req.path, {rule.rule.rstrip("/") for rule in current_app.url_map.iter_rules()})
    return ""


def _path_hint(path: str, known: Iterable[str]) -> str:
    """Return the one of the paths *known* that *path* may stand for: the nouns in it are singular."""
    noun, _, rest = path.removeprefix(REST).rstrip("/").partition("/")
    folder = f"{REST}{noun.removesuffix('s')}/"
    meant = folder + rest.replace("_", "-")
    if meant in known:
        return f"Did you mean `{meant}`?"
    if any(one.startswith(folder) for one in known):
        return f"`/docs` lists the paths below `{folder}`."
    return ""
