"""The base of the API's blueprints: operations with deadlines, limits, authorization and audit entries."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from http import HTTPStatus
from json import JSONEncoder
from typing import Any, TypeVar

import flask_smorest
from flask import Request, current_app, g, request
from marshmallow import Schema
from werkzeug import Response
from werkzeug.exceptions import HTTPException, UnprocessableEntity

from vault.common import deadline
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.common.networks import source
from vault.common.observability import logs
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.principal import Scope
from vault.core.secrets.store import MAX_BATCH_VALUES_BYTES
from vault.core.services import Services
from vault.toolkit.document.errors import NONE, ErrorDoc, responses_with_body
from vault.toolkit.document.headers import OF_SUCCESSES, RECEIPT, references
from vault.toolkit.http import arguments, auth, bodies, connections
from vault.toolkit.http.application import Reply, header, unwrapped
from vault.toolkit.http.client_ip import address_of
from vault.toolkit.http.memory import Memory
from vault.toolkit.http.refusals import recorded_as, refusal
from vault.toolkit.operations.slots import Slot

View = TypeVar("View", bound=Callable[..., Any])

_JSON = "application/json"
# One encoder for all replies: making one takes as long as using it.
_ENCODER = JSONEncoder(sort_keys=True, separators=(",", ":"))

EXTENSION = "secret-manager"
REQUEST_TIMEOUT = "REQUEST_TIMEOUT_SECONDS"
SLOTS = "secret-manager-slots"
BODY_MEMORY = "secret-manager-body-memory"
REPLY_MEMORY = "secret-manager-reply-memory"
BODY_LENGTH = "MAX_CONTENT_LENGTH"
BATCH_LENGTH = "MAX_BATCH_LENGTH"
#: The address at which people reach the console, if there is one and it is known.
PUBLIC_URL = "PUBLIC_URL"

#: Maximum bytes of a batch's body.
MAX_BATCH_BYTES = 8 * 1_048_576

#: Maximum bytes in one worker of bodies, and of the values in replies to batches. One address can have half
#: of each, which is enough for its largest batch. A body, or a value, takes about five times its size.
MAX_BODY_BYTES = 2 * MAX_BATCH_BYTES
MAX_REPLY_BYTES = 2 * MAX_BATCH_VALUES_BYTES


def services() -> Services:
    """Return the services of the current application."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def current_attempt() -> Attempt:
    """Return the attempt of the current request."""
    attempt: Attempt = g.attempt
    return attempt


def current_slot() -> Slot:
    """Return the slot of the current request."""
    slot: Slot = g.slot
    return slot


@dataclass(frozen=True, slots=True)
class Intake:
    """The steps by which operations take requests in."""

    #: Authorizes the request for its attempt.
    authorize: Callable[[Request, Attempt], None]
    #: Returns the maximum size of the body of the request.
    max_size: Callable[[Request], int] = bodies.max_size
    #: Receives the body.
    receive: Callable[[Request], None] = bodies.receive
    #: Refuses an invalid header.
    refuse: type[HTTPException] = UnprocessableEntity


def perform(view: Callable[[], Any], action: Action, intake: Intake) -> Any:
    """Return the reply of *view* as the operation *action*, on record."""
    req, app, context = unwrapped(request), unwrapped(current_app), unwrapped(g)
    context.attempt = attempt = Attempt(
        action=action,
        ip=address_of(req),
        user_agent=header(req, "User-Agent") or "",
        request_id=logs.request_id.get(),
    )
    context.slot = slot = Slot(app.extensions[SLOTS])
    with deadline.Within(app.config[REQUEST_TIMEOUT]):
        with slot:
            # Without the keys nothing is recorded: other workers could not verify the signature.
            services().guard.require()
        try:
            reply = _answer(req, view, attempt, intake, slot=slot, memory=app.extensions[BODY_MEMORY])
        except Exception as error:
            _record(error, attempt)
            raise
        if attempt.receipt:
            reply.headers[RECEIPT] = attempt.receipt
        return reply


def _answer(
    req: Request, view: Callable[[], Any], attempt: Attempt, intake: Intake, *, slot: Slot, memory: Memory
) -> Any:
    """Authorize *req*, receive its body, and return the reply of *view*."""
    with slot:
        intake.authorize(req, attempt)
    asked = header(req, RECEIPT)
    if asked is not None:
        if asked != "1":
            raise intake.refuse(f"The header {RECEIPT} must be 1.")
        attempt.receipt = ""
    connection = connections.current.get()
    size = intake.max_size(req)
    with memory.reserve(size, source(attempt.ip), connection.disconnect) as reservation:
        connection.on_received = reservation.advance
        try:
            intake.receive(req)
            reservation.keep()
            with slot:
                return view()
        except Exception as error:
            # The log has the origin of failures.
            if refusal(error).status != HTTPStatus.INTERNAL_SERVER_ERROR:
                bodies.forget_origin(error)
            raise


def _authorize(scope: Scope | None, req: Request, attempt: Attempt) -> None:
    auth.authorize_request(req, scope, attempt=attempt, authenticator=services().authenticator)


def _admit(req: Request, attempt: Attempt) -> None:
    auth.admit_anyone(req, attempt=attempt, authenticator=services().authenticator)


def _record(error: Exception, attempt: Attempt) -> None:
    """Record in the audit trail that *error* refuses the request."""
    if isinstance(error, StorageUnavailableError):
        # Without MongoDB there is no trail, and waiting for it would double the time to the reply.
        if services().health.reaches_mongodb():
            with suppress(AuditUnavailableError):
                attempt.finish(Status.ERROR)
    elif refusal(error).is_recorded:
        attempt.finish(recorded_as(error))


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint that reads JSON strictly, documents its refusals and leaves audit entries.

    flask-smorest only documents: what it does at each request took a tenth of a fetch's way through HTTP.
    """

    def __init__(self, *arguments: Any, error_docs: Mapping[str, ErrorDoc] = NONE, **options: Any) -> None:
        """Make a blueprint with *error_docs* of its own, by their names in the OpenAPI document."""
        super().__init__(*arguments, **options)
        self.error_docs = error_docs

    def arguments(self, schema: type[Schema], *, location: str = "json", **options: Any) -> Any:
        """Give a view the arguments that *schema* reads. All requests share one instance of it."""
        shared = schema()
        document = super().arguments(shared, location=location, **options)
        read = arguments.of_headers if location == "headers" else arguments.of_body

        def decorate(view: View) -> Any:
            @wraps(document(view))
            def run(*args: Any, **kwargs: Any) -> Any:
                return view(*args, read(shared), **kwargs)

            return run

        return decorate

    def response(self, status: int, schema: type[Schema], **options: Any) -> Any:
        """Reply with *schema*, and document the headers that all replies of operations have."""
        shared = schema()
        document = super().response(status, shared, headers=references(*OF_SUCCESSES), **options)

        def decorate(view: View) -> Any:
            @wraps(document(view))
            def run(*args: Any, **kwargs: Any) -> Any:
                found = view(*args, **kwargs)
                if isinstance(found, Response):
                    return found
                return Reply(_ENCODER.encode(shared.dump(found)) + "\n", status, content_type=_JSON)

            return run

        return decorate

    def operation(
        self,
        action: Action,
        *,
        scope: Scope | None,
        refusals: tuple[str, ...] = (),
        is_batch: bool = False,
        is_open: bool = False,
    ) -> Callable[[View], Any]:
        """Make a view the operation *action*: it runs as an `Attempt`, and every refusal is recorded.

        This decorator belongs directly below the route, so that it encloses the reading of the body. Callers
        need *scope*; None stands for any valid credential, or for none if it *is_open*: then the token in the
        body is the right to it. *refusals* are kinds of `vault.toolkit.document.errors` or of the blueprint,
        each in place of the common kind with the same status. The body of a batch may be larger.
        """
        documentation: dict[str, Any] = {"x-scope": scope} if scope else {}
        documentation["responses"] = responses_with_body(*refusals, own=self.error_docs)
        if is_open:
            documentation["security"] = auth.OPTIONAL
            intake = Intake(_admit)
        else:
            documentation["security"] = auth.security(scope)
            intake = Intake(partial(_authorize, scope))
        length = BATCH_LENGTH if is_batch else BODY_LENGTH

        def decorate(view: View) -> Any:
            @wraps(self.doc(operationId=view.__name__, **documentation)(view))
            def run(*args: Any, **kwargs: Any) -> Any:
                # Also for others: from there on, Flask does not look for it in its configuration.
                request.max_content_length = current_app.config[length]
                return perform(partial(view, *args, **kwargs), action, intake)

            return run

        return decorate
