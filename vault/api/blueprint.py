"""What the blueprints of this API have in common."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, TypeVar

import flask_smorest
from flask import current_app, g, request
from marshmallow import Schema

from vault.api import auth, json_parser
from vault.api.client_ip import address_of_request
from vault.api.error_docs import COMMON_ERRORS, ERROR_DOCS
from vault.api.errors import refusal
from vault.api.json_parser import BodyMemory, StrictJsonParser
from vault.core import connections, deadline
from vault.core.attempt import Action, Attempt, Status
from vault.core.errors import AuditUnavailableError, OverloadedError, StorageUnavailableError
from vault.core.networks import source
from vault.core.principal import Scope
from vault.observability import logs
from vault.services import Services

View = TypeVar("View", bound=Callable[..., Any])

EXTENSION = "secret-manager"
REQUEST_TIMEOUT = "REQUEST_TIMEOUT_SECONDS"
SLOTS = "secret-manager-slots"
ROOM = "secret-manager-room"

#: Requests for which one worker asks MongoDB at a time. Where it does not answer, more of them are refused.
MAX_CONCURRENT_REQUESTS = 500

#: Bytes of the bodies that one worker has under way. Each takes about seven times its size in memory.
BODY_BYTES = 8 * 1_048_576


def services() -> Services:
    """Return the operations of the application that answers this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def current_attempt() -> Attempt:
    """Return what this request tries."""
    attempt: Attempt = g.attempt
    return attempt


@contextmanager
def _slot() -> Iterator[None]:
    """Hold one of the worker's slots during the block, which may wait for MongoDB but not for the client."""
    slots = current_app.extensions[SLOTS]
    try:
        slots.pop()
    except IndexError:
        raise OverloadedError from None
    try:
        yield
    finally:
        slots.append(None)


def _answer(view: Callable[[], Any], attempt: Attempt, scope: Scope) -> Any:
    """Return the reply of *view* to a client that has *scope*, once there is room for its body."""
    room: BodyMemory = current_app.extensions[ROOM]
    with _slot():
        auth.authorize_request(attempt, scope, authenticator=services().authenticator)
    hang_up = connections.current.get().hang_up
    with room.taken(json_parser.announced(request), source(attempt.ip), hang_up) as received:
        json_parser.receive(request)
        received()
        with _slot():
            return view()


@contextmanager
def _recorded(attempt: Attempt) -> Iterator[None]:
    """Let no refusal inside the block go unrecorded."""
    try:
        yield
    except StorageUnavailableError:
        # Without MongoDB there is no trail, and waiting for it would double the time to the answer.
        if services().health.reaches_mongodb():
            with suppress(AuditUnavailableError):
                attempt.finish(Status.ERROR)
        raise
    except Exception as error:
        if recorded_as := refusal(error).recorded_as:
            attempt.finish(recorded_as)
        raise


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint that reads JSON strictly, documents its refusals and leaves audit entries."""

    ARGUMENTS_PARSER = StrictJsonParser()

    def arguments(self, schema: type[Schema], **options: Any) -> Any:
        """Give a view the arguments that *schema* reads. All requests share one instance of it."""
        return super().arguments(schema(), **options)

    def operation(
        self, action: Action, *, scope: Scope, refusals: tuple[str, ...] = ()
    ) -> Callable[[View], Any]:
        """Make a view the operation *action*: it runs as an `Attempt`, and no refusal goes unrecorded.

        Belongs directly below the route, so that it encloses the reading of the body. Only principals with
        *scope* get further. *refusals* are kinds of `vault.api.error_docs`, in place of the common kind of
        the same status.
        """
        documentation = {
            "x-scope": scope,
            "security": auth.security(scope),
            "responses": {ERROR_DOCS[name].status: name for name in (*COMMON_ERRORS, *refusals)},
        }

        def decorate(view: View) -> Any:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                g.attempt = attempt = Attempt(
                    action=action,
                    ip=address_of_request(),
                    user_agent=request.headers.get("User-Agent", ""),
                    request_id=logs.request_id.get(),
                )
                with deadline.within(current_app.config[REQUEST_TIMEOUT]):
                    with _slot():
                        # Nor does it record anything: nobody could verify what it signs.
                        services().key_watch.require()
                    with _recorded(attempt):
                        return _answer(partial(view, *args, **kwargs), attempt, scope)

            return self.doc(operationId=view.__name__, **documentation)(run)

        return decorate
