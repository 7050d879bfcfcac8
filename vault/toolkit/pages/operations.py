"""The console's operations: as those of the API, with a session as the credential, and pages as replies."""

import json
from collections.abc import Callable
from functools import partial, wraps
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from flask import Blueprint, Request, Response, current_app, g, render_template, request, url_for
from marshmallow import fields
from werkzeug.exceptions import BadRequest, NotFound, UnprocessableEntity

from vault.common.attributes import ATTRIBUTES
from vault.common.errors import (
    CredentialsUnavailableError,
    InvalidCredentialError,
    NameTakenError,
    RateLimitedError,
    VersionConflictError,
)
from vault.common.feature import resolved
from vault.common.text import is_blank, is_one_line
from vault.core.attempt import Action, Attempt
from vault.core.principal import UNAUTHENTICATED, Scope
from vault.toolkit.document.fields import Body
from vault.toolkit.http import auth, bodies, client_ip, errors, rate_limits
from vault.toolkit.http.arguments import of_body
from vault.toolkit.http.prefixes import CONSOLE
from vault.toolkit.http.refusals import detail_of, refusal
from vault.toolkit.operations.blueprint import BODY_LENGTH, Intake, current_attempt, perform
from vault.toolkit.pages import requests
from vault.toolkit.pages.screens import panels_of, screens_of

View = TypeVar("View", bound=Callable[[], Response])

#: In the application's configuration: true if each reveal needs a reason.
NEEDS_REASON = "CONSOLE_REASON_REQUIRED"

#: Key of the application's extensions: the sessions of its people.
SESSIONS = "secret-manager-sessions"

_MAX_REASON_CHARACTERS = 200

#: Enough for the longest JWT that headers have room for.
_MAX_BODY_BYTES = 32_768

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_HTML = "text/html; charset=utf-8"

#: The endpoints of sign-ins: their failures end no session.
_SIGN_INS = frozenset(f"console.sign_in.{name}" for name in ("sign_in", "oidc_start", "oidc_callback"))

#: What people read instead of the API's own message.
_WORDS: dict[type[Exception], str] = {
    NameTakenError: "Another secret has this name, or had it and can be restored.",
    VersionConflictError: "Someone has changed the secret since you opened this page. Reload the page first.",
}


class Sessions(Protocol):
    """The sessions of people who signed in, by their cookies."""

    def identify(self, cookie: str, *, attempt: Attempt) -> None:
        """Set the principal of *attempt*; raise `InvalidCredentialError` if there is no session."""

    def form_token(self, cookie: str) -> str:
        """Return the text that proves that a form is of the session."""


def _sessions() -> Sessions:
    found: Sessions = current_app.extensions[SESSIONS]
    return found


class FormBody(Body):
    """The JSON that a script of a page sends, with the proof of the session."""

    form_token = fields.String(required=True)


def operation(
    action: Action, scope: Scope | None = None, *, is_page: bool = True, has_value: bool = False
) -> Callable[[View], View]:
    """Make a view the operation *action* of people who signed in and have *scope*, if one is given.

    Without a cookie, a page leads to the sign-in. Other views take JSON, and their refusals are problems.
    A body that *has_value* can be as large as those of the API.
    """
    intake = _FORM_INTAKE if is_page else _JSON_INTAKE

    def decorate(view: View) -> Any:
        @wraps(view)
        def run() -> Any:
            if is_page and not requests.cookie_of(request):
                require_address()
                return see_other("console.sign_in.sign_in_page", next=requests.page_of(request) or None)
            authorized = intake(partial(_authorize, scope))
            return _perform(view, action, authorized, has_value=has_value, is_page=is_page)

        return run

    return decorate


def sign_in_operation(view: View) -> Any:
    """Make *view* the sign-in, whose form has the credential."""
    run = partial(_perform, view, Action.LOGIN, _FORM_INTAKE(_admit), has_value=False, is_page=True)
    return wraps(view)(run)


def open_operation(action: Action, *, has_value: bool = False) -> Callable[[View], View]:
    """Make a view the operation *action* of people without a session, who have the token of a link.

    It takes JSON, and is refused with a problem. A body that *has_value* can be as large as those of the API.
    """

    def decorate(view: View) -> Any:
        run = partial(_perform, view, action, _JSON_INTAKE(_admit), has_value=has_value, is_page=False)
        return wraps(view)(run)

    return decorate


_FORM_INTAKE = partial(Intake, max_size=requests.max_size, receive=requests.receive, refuse=BadRequest)
_JSON_INTAKE = partial(Intake, max_size=bodies.max_size, receive=bodies.receive, refuse=UnprocessableEntity)


def _perform(view: View, action: Action, intake: Intake, *, has_value: bool, is_page: bool) -> Any:
    g.is_page = is_page
    request.max_content_length = current_app.config[BODY_LENGTH] if has_value else _MAX_BODY_BYTES
    return perform(view, action, intake)


def _admit(req: Request, attempt: Attempt) -> None:
    _begin(req, attempt)
    rate_limits.count_request(attempt)


def _authorize(scope: Scope | None, req: Request, attempt: Attempt) -> None:
    _begin(req, attempt)
    with auth.CountedFailures(attempt):
        _sessions().identify(requests.cookie_of(req), attempt=attempt)
    if attempt.action is not Action.LOGOUT:
        rate_limits.count_request(attempt)
    attempt.require(scope)


def _begin(req: Request, attempt: Attempt) -> None:
    attempt.details["via"] = "console"
    attempt.principal = UNAUTHENTICATED
    auth.require_address(attempt)
    if req.method == "POST":
        requests.require_own_origin(req)
    else:
        requests.require_whole_page(req)


def require_address() -> None:
    """Require an allowed address of the current request, which is no operation.

    Raises:
        AddressRefusedError: It is not in `ALLOWED_NETWORKS`.
    """
    client_ip.require_allowed(client_ip.address_of(request))


def see_other(endpoint: str, **values: Any) -> Response:
    """Return the reply that leads to the page with this *endpoint* and these *values* in its URL."""
    return lead_to(url_for(endpoint, **values))


def lead_to(path: str) -> Response:
    """Return the reply that leads to the page at *path*."""
    return Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


def form_token() -> str:
    """Return the form token of the current session."""
    return _sessions().form_token(requests.cookie_of(request))


def arguments() -> dict[str, str]:
    """Return the arguments of the current page: the fields of its form, or else those in the URL.

    Raises:
        BadRequest: The form cannot be read, or is of another session.
    """
    if request.method != "POST":
        return request.args.to_dict()
    form = requests.fields()
    requests.require_form_token(form.pop(requests.FORM_TOKEN, ""), form_token())
    return form


def body(schema: type[FormBody]) -> dict[str, Any]:
    """Return the JSON that a page's script has sent, by *schema*, without the form token.

    Raises:
        BadRequest: It cannot be read, or is of another session.
        UnprocessableEntity: It does not have the form of *schema*.
    """
    asked: dict[str, Any] = of_body(schema())
    requests.require_form_token(asked.pop("form_token"), form_token())
    return asked


def answer(**values: Any) -> Response:
    """Return the JSON reply to a page's script."""
    return Response(json.dumps(values) + "\n", content_type="application/json")


def open_body(schema: type[Body]) -> dict[str, Any]:
    """Return the JSON that the script of a page without a session has sent, by *schema*.

    Raises:
        UnprocessableEntity: It does not have the form of *schema*.
    """
    asked: dict[str, Any] = of_body(schema())
    return asked


def open_page(template: str) -> Response:
    """Return the page of *template* for people without a session. It depends on nothing, and leaves no entry.

    Raises:
        AddressRefusedError: Their address is not in `ALLOWED_NETWORKS`.
        BadRequest: The page would be read or changed on the way, or is a part of another page.
    """
    require_address()
    requests.require_private(request)
    requests.require_whole_page(request)
    return Response(render_template(f"console/{template}.html"), content_type=_HTML)


class ReasonedBody(FormBody):
    """The JSON that a script sends to read a value, with the reason if there is one."""

    reason = fields.String(load_default="")


def reasoned_body(schema: type[ReasonedBody], attempt: Attempt) -> dict[str, Any]:
    """Return the JSON that a script has sent, by *schema*, and keep its reason in the entry of *attempt*.

    Raises:
        UnprocessableEntity: As `body`; or the reason is necessary and blank, too long, or several lines.
    """
    asked = body(schema)
    reason = asked.pop("reason").strip()
    if is_blank(reason):
        if current_app.config[NEEDS_REASON]:
            raise UnprocessableEntity("A reason is required.")
        return asked
    if len(reason) > _MAX_REASON_CHARACTERS or not is_one_line(reason):
        raise UnprocessableEntity(f"A reason has one line of at most {_MAX_REASON_CHARACTERS} characters.")
    attempt.details["reason"] = reason
    return asked


def page(template: str, **values: Any) -> Response:
    """Return the page of *template* for the current principal."""
    return Response(_rendered(template, **values), content_type=_HTML)


def _rendered(template: str, **values: Any) -> str:
    attempt: Attempt | None = g.get("attempt")
    if attempt and attempt.principal.authenticated:
        principal = attempt.principal
        values |= {
            "principal": principal,
            "screens": screens_of(principal),
            "form_token": form_token(),
        }
    panels = panels_of(template)
    for more in resolved(panel.values for panel in panels if panel.values):
        values |= more(values)
    values["panels"] = [panel.template for panel in panels if not panel.is_link]
    values["panel_links"] = [panel.template for panel in panels if panel.is_link]
    return render_template(f"console/{template}.html", Scope=Scope, attributes=ATTRIBUTES, **values)


def _refuse(error: Exception) -> Response:
    """Return the refusal because of *error*: a page, or a problem if the view is not a page."""
    reply = errors.refuse(error)
    if not g.get("is_page", True):
        if words := _WORDS.get(type(error)):
            reply.set_data(json.dumps({**errors.problem_body(error), "detail": words}) + "\n")
        return reply
    is_sign_in = request.endpoint in _SIGN_INS
    is_invalid = isinstance(error, InvalidCredentialError)
    roles = error.roles if isinstance(error, InvalidCredentialError) else ()
    # Beyond the limit on invalid credentials, the principal is unknown, too.
    is_limited = isinstance(error, RateLimitedError) and not current_attempt().principal.authenticated
    if (is_invalid or is_limited) and not (is_sign_in or roles):
        requests.set_cookie(reply, request, "")
    if roles:
        reply.set_data(_rendered("role", roles=roles, form_token=form_token()))
    elif is_sign_in and isinstance(error, CredentialsUnavailableError):
        reply.set_data(_rendered("sign_in", problem="unavailable"))
    elif is_invalid:
        # After a sign-in, people go on where they were.
        following = g.get("following", "") if is_sign_in else requests.page_of(request)
        reply.set_data(_rendered("sign_in", problem="failed" if is_sign_in else "ended", next=following))
    else:
        reply.set_data(_rendered("refused", title=refusal(error).title, detail=detail_of(error)))
    reply.content_type = _HTML
    return reply


def _refuse_path(error: NotFound) -> Response:
    """Return the refusal of a path that does not exist: below the console's, a page."""
    return _refuse(error) if request.path.startswith(CONSOLE) else errors.refuse(error)


def _protect(reply: Response) -> Response:
    """Restrict the pages to content from this service, and keep them out of caches and other pages."""
    # Where there is no page, the request is not of a blueprint.
    if not f"{request.path}/".startswith(CONSOLE):
        return reply
    reply.headers.setdefault("Cache-Control", "no-store")
    reply.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    reply.headers["Referrer-Policy"] = "no-referrer"
    reply.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    reply.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    reply.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    return reply


def console_blueprint() -> Blueprint:
    """Return the blueprint of an application's console, for those of its pages."""
    blueprint = Blueprint("console", __name__, url_prefix=CONSOLE.rstrip("/"), template_folder="templates")
    blueprint.register_error_handler(Exception, _refuse)
    blueprint.app_errorhandler(NotFound)(_refuse_path)
    blueprint.after_app_request(_protect)
    return blueprint
