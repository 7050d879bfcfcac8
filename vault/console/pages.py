"""The console's pages."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from flask import Response, render_template, request
from werkzeug.exceptions import BadRequest

from vault.api.document.fields import UUID_PATTERN, id_field, number_field
from vault.api.http.auth import CountedFailures
from vault.api.operations.blueprint import current_attempt, services
from vault.api.operations.replies import MemoryIfLarge, reply_memory
from vault.audit import exposure
from vault.audit.knowledge import Question
from vault.console import requests
from vault.console.operations import (
    FormBody,
    answer,
    arguments,
    blueprint,
    body,
    operation,
    page,
    require_address,
    see_other,
    sign_in_operation,
)
from vault.core.attempt import Action
from vault.core.paths import name_flaw, prefix_flaw
from vault.core.principal import Scope
from vault.core.text import is_one_line, is_shown
from vault.secrets.queries import MAX_PAGE_BYTES, MAX_SEARCH_CHARACTERS
from vault.secrets.requests import Reference

__all__ = ["blueprint"]

#: Rows of a page.
_PAGE_SIZE = 100
_MAX_VERSION = 2**31 - 1


@blueprint.get("/sign-in")
def console_sign_in_page() -> str:
    """Return the page on which people sign in."""
    require_address()
    requests.require_private(request)
    return render_template("console/sign_in.html", problem="")


@blueprint.post("/sign-in")
@sign_in_operation
def console_sign_in() -> Response:
    """Begin a session for the holder of a token or a JWT."""
    # A pasted credential can have white space around it, and a JWT line breaks in it.
    credential = "".join(requests.fields().get("token", "").split())
    attempt = current_attempt()
    with CountedFailures(attempt):
        cookie = services().sessions.begin(credential, earlier=requests.cookie_of(request), attempt=attempt)
    reply = see_other("console_secrets")
    requests.set_cookie(reply, request, cookie)
    return reply


@blueprint.post("/sign-out")
@operation(Action.LOGOUT)
def console_sign_out() -> Response:
    """End the session."""
    arguments()
    services().sessions.end(requests.cookie_of(request), attempt=current_attempt())
    reply = see_other("console_sign_in_page")
    requests.set_cookie(reply, request, "")
    return reply


@blueprint.route("/", methods=["GET", "POST"])
@operation(Action.LIST, Scope.SECRET_LIST)
def console_secrets() -> Response:
    """Return a page of secrets: a folder, or the secrets in it that contain a text, in all folders below."""
    asked = arguments()
    folder, query = asked.get("folder", ""), asked.get("q")
    if prefix_flaw(folder) or (folder and not folder.endswith("/")):
        raise BadRequest("A folder's name ends with a slash.")
    shown: dict[str, Any] = {"folder": folder, "query": query}
    attempt, queries = current_attempt(), services().queries
    with reply_memory(MAX_PAGE_BYTES):
        if query is None:
            keys = queries.level(folder, after=asked.get("after", ""), limit=_PAGE_SIZE + 1, attempt=attempt)
            return page("folder", keys=keys[:_PAGE_SIZE], has_more=len(keys) > _PAGE_SIZE, **shown)
        if len(query) > MAX_SEARCH_CHARACTERS or not is_one_line(query):
            raise BadRequest(f"A search has one line of at most {MAX_SEARCH_CHARACTERS} characters.")
        cursor = asked.get("cursor")
        secrets, cursor = queries.search(
            query, folder=folder, cursor=cursor, limit=_PAGE_SIZE, attempt=attempt
        )
        return page("found", secrets=secrets, cursor=cursor, **shown)


@blueprint.route("/secret", methods=["GET", "POST"])
@operation(Action.DESCRIBE, Scope.SECRET_DESCRIBE)
def console_secret() -> Response:
    """Return the page of a secret."""
    secret = services().queries.describe(_reference(arguments()), attempt=current_attempt())
    return page("secret", secret=secret, now=datetime.now(UTC))


@blueprint.route("/known", methods=["GET", "POST"])
@operation(Action.AUDIT_EXPOSURE, Scope.AUDIT_READ)
def console_known() -> Response:
    """Return a page of those who know versions of a secret."""
    asked, attempt = arguments(), current_attempt()
    reference = _reference(asked)
    question = Question(
        secret_id=reference.secret_id,
        secret_name=reference.name,
        namespace=attempt.principal.namespace,
        stale=True,
    )
    with reply_memory(MAX_PAGE_BYTES):
        found = exposure.page(question, cursor=asked.get("cursor"), limit=_PAGE_SIZE, attempt=attempt)
        return page("known", reference=reference, found=found)


def _reference(asked: dict[str, str]) -> Reference:
    """Return the reference to a secret: by its name, or in a form by its ID, which is in no URL.

    Raises:
        BadRequest: Neither is valid.
    """
    name, secret_id = asked.get("name"), asked.get("secret_id", "")
    if name is None and request.method == "POST" and re.fullmatch(UUID_PATTERN, secret_id):
        return Reference(secret_id=secret_id.lower())
    if name is None or name_flaw(name):
        raise BadRequest("A secret's name is missing, or invalid.")
    return Reference(name=name)


class _Version(FormBody):
    """A version of a secret to reveal."""

    secret_id = id_field("The secret's ID.", required=True)
    version = number_field("The version; the newest if omitted.", 1, maximum=_MAX_VERSION)


@blueprint.post("/reveal")
@operation(Action.FETCH, Scope.SECRET_FETCH, is_page=False)
def console_reveal() -> Response:
    """Return a value as JSON: as text if it can be shown, or else in base64."""
    asked = body(_Version)
    with MemoryIfLarge() as memory:
        value = services().secrets.fetch(
            Reference(secret_id=asked["secret_id"]),
            version=asked["version"],
            reserve=memory.reserve,
            attempt=current_attempt(),
        )
        return answer(**_shown(value))


def _shown(value: bytes) -> dict[str, str]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if is_shown(text.replace("\r\n", "\n")):
        return {"value": text, "form": "text"}
    return {"value": b64encode(value).decode(), "form": "base64"}
