"""Signing in to the console, and out of it."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, request, url_for

from vault.core.attempt import Action
from vault.features.console.open_id import MAX_DURATION, OpenID
from vault.features.console.sessions import Sessions
from vault.toolkit.http.auth import CountedFailures
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.pages import requests
from vault.toolkit.pages.operations import (
    arguments,
    lead_to,
    operation,
    page,
    require_address,
    see_other,
    sign_in_operation,
)
from vault.toolkit.pages.requests import Cookie
from vault.toolkit.pages.screens import home_of

#: A sign-in at a provider, which sends the browser back from another site.
SIGN_IN = Cookie("sign-in", "Lax", int(MAX_DURATION.total_seconds()))

blueprint = Blueprint("sign_in", __name__, template_folder="templates")


@blueprint.get("/sign-in")
def sign_in_page() -> Response:
    """Return the page on which people sign in."""
    require_address()
    requests.require_private(request)
    return page("sign_in", problem="", next=_page_or_none(request.args.get("next", "")))


def _page_or_none(path: str) -> str:
    """Return *path* if a sign-in may lead there, or else an empty text."""
    return path if requests.is_page(path) else ""


@blueprint.post("/sign-in")
@sign_in_operation
def sign_in() -> Response:
    """Begin a session for the holder of a token or a JWT."""
    # A pasted credential can have white space around it, and a JWT line breaks in it.
    form = requests.fields()
    credential = "".join(form.get("token", "").split())
    g.following = _page_or_none(form.get("next", ""))
    attempt, sessions = current_attempt(), services().of(Sessions)
    with CountedFailures(attempt):
        cookie = sessions.begin(credential, earlier=requests.cookie_of(request), attempt=attempt)
    return _begun(lead_to(g.following or home_of(attempt.principal)), cookie)


def offers(_values: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether the page of the sign-in offers OpenID Connect."""
    return {"offers_open_id": services().of(OpenID).is_offered}


@blueprint.get("/oidc/start")
@sign_in_operation
def oidc_start() -> Response:
    """Lead to the provider of OpenID Connect."""
    requests.require_private(request)
    requests.require_same_origin(request)
    with CountedFailures(current_attempt()):
        cookie, address = services().of(OpenID).begin(_callback())
    # Browsers do not send its cookie when the provider sends them back.
    services().of(Sessions).forget(requests.cookie_of(request))
    reply = lead_to(address)
    requests.set_cookie(reply, request, cookie, SIGN_IN)
    return reply


@blueprint.get("/oidc/callback")
@sign_in_operation
def oidc_callback() -> Response:
    """Begin a session for the person whom the provider sends back.

    The reply is a page, not a redirect: browsers do not send `SameSite=Strict` cookies with a request that
    another site began, redirects included.
    """
    attempt, open_id, sessions = current_attempt(), services().of(OpenID), services().of(Sessions)
    with CountedFailures(attempt):
        credential = open_id.credential(
            requests.cookie_of(request, SIGN_IN), request.args.to_dict(), _callback()
        )
        earlier = requests.cookie_of(request)
        cookie = sessions.begin(credential, is_id_token=True, earlier=earlier, attempt=attempt)
    reply = _begun(page("signed_in", home=home_of(attempt.principal)), cookie)
    requests.set_cookie(reply, request, "", SIGN_IN)
    return reply


def _callback() -> str:
    return requests.origin_of(request) + url_for("console.sign_in.oidc_callback")


@blueprint.post("/role")
@sign_in_operation
def choose_role() -> Response:
    """Begin the session again, with one of the roles that the person's JWT matches."""
    role, attempt = arguments().get("role", ""), current_attempt()
    with CountedFailures(attempt):
        cookie = services().of(Sessions).choose(role, cookie=requests.cookie_of(request), attempt=attempt)
    return _begun(lead_to(home_of(attempt.principal)), cookie)


def _begun(reply: Response, cookie: str) -> Response:
    requests.set_cookie(reply, request, cookie)
    return reply


@blueprint.post("/sign-out")
@operation(Action.LOGOUT)
def sign_out() -> Response:
    """End the session."""
    arguments()
    services().of(Sessions).end(requests.cookie_of(request), attempt=current_attempt())
    reply = see_other("console.sign_in.sign_in_page")
    requests.set_cookie(reply, request, "")
    return reply
