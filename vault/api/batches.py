"""Batches over HTTP: their items, their rate, and the memory for their replies."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import Any

from flask import Response, after_this_request, current_app, request

from vault.api import rate_limits
from vault.api.blueprint import REPLY_MEMORY, current_attempt, current_slot, services
from vault.api.errors import problem_body
from vault.api.fields import InvalidValue
from vault.api.memory import Memory, Reservation
from vault.api.parts import in_parts
from vault.core import connections
from vault.core.networks import source
from vault.core.principal import Scope
from vault.observability import metrics
from vault.secrets.items import MAX_ITEMS, Creation, Fetch, Item
from vault.secrets.requests import NewSecret

logger = logging.getLogger(__name__)

#: The reply's entry for an item.
Outcome = dict[str, Any]

# Looking up a label's child takes longer than counting with it.
_items = cache(metrics.BATCH_ITEMS.labels)
_refusals = cache(metrics.REFUSALS.labels)


def create(new_secrets: Sequence[dict[str, Any]], *, idempotency_key: str | None) -> list[Outcome]:
    """Create the secrets with these fields. Raises the errors of `SecretService.create_all`."""
    attempt = current_attempt()
    items = [_creation(fields) for fields in new_secrets]
    rate_limits.count_items(len(items), attempt=attempt)
    services().secrets.create_all(items, idempotency_key=idempotency_key, attempt=attempt)
    return [_problem(item) or {"secret_id": item.secret_id} for item in items]


def fetch(references: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Fetch the secrets of these *references*. Raises the errors of `SecretService.fetch_all`."""
    attempt = current_attempt()
    items = [Fetch(attempt=attempt.part(), **reference) for reference in references]
    rate_limits.count_items(len(items), attempt=attempt)
    with _reply_memory(len(items)) as memory:
        services().secrets.fetch_all(items, on_size=memory.shrink, attempt=attempt)
        return [_fetched(item) for item in items]


def fetch_by_prefix(prefix: str) -> list[Outcome]:
    """Fetch the secrets whose names have this *prefix*; problems have ID and name, too.

    Raises:
        CredentialRequiredError: The caller may not list secrets, and sent no credential.
        ScopeMissingError: The principal may not list secrets.
        The errors of `SecretService.fetch_by_prefix`.
    """
    attempt = current_attempt()
    services().authenticator.authorize(Scope.SECRET_LIST, attempt=attempt)
    admit = partial(rate_limits.count_items, attempt=attempt)
    with _reply_memory(MAX_ITEMS) as memory:
        items = services().secrets.fetch_by_prefix(
            prefix, admit=admit, on_size=memory.shrink, attempt=attempt
        )
        known = [{"secret_id": item.attempt.secret_id, "name": item.reference.name} for item in items]
        return [one | _fetched(item) for one, item in zip(known, items, strict=True)]


@contextmanager
def _reply_memory(count: int) -> Iterator[Reservation]:
    """Reserve memory for the largest values of a batch of *count* fetches, until the reply was sent.

    The block gives back what the values do not need.

    Raises:
        OverloadedError: There was not enough memory in time.
    """
    memory: Memory = current_app.extensions[REPLY_MEMORY]
    size = services().secrets.batch_bytes(count)
    disconnect = connections.current.get().disconnect
    with ExitStack() as released_on_error:
        # The memory belongs to replies that clients have not read yet.
        with current_slot().given_back():
            reservation = memory.reserve(size, source(current_attempt().ip), disconnect)
            released_on_error.enter_context(reservation)
        reservation.keep()
        yield reservation
        released_on_error.pop_all()

    def release_once_sent(reply: Response) -> Response:
        reservation.offer()
        # A slow client may take long for megabytes, unless others need the memory.
        reply.response = in_parts(reply.get_data())
        reply.call_on_close(reservation.release)
        return reply

    after_this_request(release_once_sent)


def _creation(fields: dict[str, Any]) -> Creation:
    attempt, value = current_attempt().part(), fields.pop("secret")
    if isinstance(value, InvalidValue):
        new_secret = NewSecret(plaintext=b"", **fields)
        return Creation(attempt=attempt, new_secret=new_secret, invalid=value.text, error=value.error)
    return Creation(attempt=attempt, new_secret=NewSecret(plaintext=value, **fields))


def _fetched(item: Fetch) -> Outcome:
    return _problem(item) or {
        "secret_id": item.attempt.secret_id,
        "name": item.name,
        "version": item.fetched_version,
        "secret": item.plaintext,
    }


def _problem(item: Item) -> Outcome | None:
    """Count *item*, and return its problem if it failed."""
    problem = problem_body(item.error) if item.error else None
    operation = str(request.endpoint).rpartition(".")[2]
    _items(operation, problem["status"] if problem else HTTPStatus.OK.value).inc()
    if problem is None:
        return None
    _refusals(problem["code"]).inc()
    if problem["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("an item of a batch failed", exc_info=item.error)
    return {"problem": problem}
