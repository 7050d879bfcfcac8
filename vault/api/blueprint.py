"""What the blueprints of this API have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import flask_smorest
from flask import current_app, g, request

from vault import logs
from vault.api.json_body import StrictJsonParser
from vault.api.problems import refusal
from vault.api.refusals import COMMON, KINDS
from vault.operations.attempt import Action, Attempt
from vault.operations.services import Services

View = TypeVar("View", bound=Callable[..., Any])

EXTENSION = "secret-manager"


def services() -> Services:
    """Return the operations of the application that answers this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def current_attempt() -> Attempt:
    """Return what this request tries."""
    attempt: Attempt = g.attempt
    return attempt


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint that reads JSON strictly, documents its refusals and leaves audit entries."""

    ARGUMENTS_PARSER = StrictJsonParser()

    def operation(self, action: Action, *, refusals: tuple[str, ...] = ()) -> Callable[[View], View]:
        """Make a view the operation *action*: it runs as an `Attempt`, and no refusal goes unrecorded.

        Belongs directly below the route, so that it encloses the reading of the body.
        *refusals* are kinds of `vault.api.refusals`, in place of the common kind of the same status.
        """

        def decorate(view: View) -> View:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                g.attempt = attempt = Attempt(
                    action=action,
                    ip=request.remote_addr or "",
                    user_agent=request.headers.get("User-Agent", ""),
                    request_id=logs.request_id.get(),
                )
                try:
                    return view(*args, **kwargs)
                except Exception as error:
                    if recorded_as := refusal(error).recorded_as:
                        attempt.finish(recorded_as)
                    raise

            documented: Any = self.doc(operationId=view.__name__)(run)
            for name in {KINDS[name].status: name for name in (*COMMON, *refusals)}.values():
                documented = self.alt_response(KINDS[name].status, name)(documented)
            result: View = documented
            return result

        return decorate
