"""The console's sign-in and sign-out."""

from flask import Response, render_template, request

from vault.api.http.auth import CountedFailures
from vault.api.operations.blueprint import current_attempt, services
from vault.console import requests
from vault.console.operations import (
    arguments,
    blueprint,
    operation,
    require_address,
    see_other,
    sign_in_operation,
)
from vault.core.attempt import Action


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
