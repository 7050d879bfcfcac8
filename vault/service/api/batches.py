"""Batches over HTTP: their items, their rate, and the memory for their replies."""

import logging
from collections.abc import Sequence
from functools import cache, partial
from http import HTTPStatus
from typing import Any

from flask import request

from vault.common.limits import MAX_ITEMS
from vault.common.observability import metrics
from vault.core.principal import Scope
from vault.core.secrets.canaries import meets_prefix_reads
from vault.core.secrets.items import Creation, Fetch, Item
from vault.core.secrets.requests import NewSecret
from vault.service.api import deliveries
from vault.service.api.secret_replies import CANARY_WARNING
from vault.toolkit.document.fields import InvalidValue
from vault.toolkit.http import rate_limits
from vault.toolkit.http.errors import problem_body
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory

logger = logging.getLogger(__name__)

#: The reply's entry for an item.
Outcome = dict[str, Any]

# Looking up a label's child takes longer than counting with it.
_items = cache(metrics.BATCH_ITEMS.labels)
_refusals = cache(metrics.REFUSALS.labels)


def create(new_secrets: Sequence[dict[str, Any]], *, idempotency_key: str | None) -> dict[str, Any]:
    """Return the reply, once the secrets with these fields are created.

    Raises the errors of `SecretService.create_all`.
    """
    attempt = current_attempt()
    items = [_creation(fields) for fields in new_secrets]
    rate_limits.count_items(len(items), attempt=attempt)
    warnings = [canary_warning(item.new_secret) for item in items]
    services().secrets.create_all(items, idempotency_key=idempotency_key, attempt=attempt)
    outcomes = [
        _problem(item) or {"secret_id": item.secret_id, **warning}
        for item, warning in zip(items, warnings, strict=True)
    ]
    return _reply(items, outcomes)


def fetch(references: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the reply with the secrets of these *references*.

    Raises the errors of `deliveries.record` and of `SecretService.fetch_all`.
    """
    attempt = current_attempt()
    items = [_fetch(reference) for reference in references]
    rate_limits.count_items(len(items), attempt=attempt)
    with reply_memory(services().secrets.batch_bytes(len(items))) as memory:
        services().secrets.fetch_all(items, on_size=memory.shrink, attempt=attempt)
        return _reply(items, [_fetched(item) for item in items])


def fetch_by_prefix(prefix: str) -> dict[str, Any]:
    """Return the reply with the secrets whose names have this *prefix*; problems have ID and name, too.

    Raises:
        CredentialRequiredError: The caller may not list secrets, and sent no credential.
        ScopeMissingError: The principal may not list secrets.
        The errors of `SecretService.fetch_by_prefix`.
    """
    attempt = current_attempt()
    attempt.require(Scope.SECRET_LIST)
    admit = partial(rate_limits.count_items, attempt=attempt)
    with reply_memory(services().secrets.batch_bytes(MAX_ITEMS)) as memory:
        items = services().secrets.fetch_by_prefix(
            prefix, admit=admit, on_size=memory.shrink, attempt=attempt
        )
        known = [{"secret_id": item.attempt.secret_id, "name": item.reference.name} for item in items]
        return _reply(items, [one | _fetched(item) for one, item in zip(known, items, strict=True)])


def _reply(items: Sequence[Item], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the reply with the *outcomes* of *items*, and their receipts if the caller asks for some."""
    if current_attempt().receipt is None:
        return {"secrets": outcomes}
    # An item can fail after its entry.
    receipts = [None if item.error else item.attempt.receipt or None for item in items]
    return {"secrets": outcomes, "receipts": receipts}


def canary_warning(new_secret: NewSecret) -> dict[str, str]:
    """Return the `warning` of the reply if programs would read the new canary."""
    is_met = meets_prefix_reads(new_secret, current_attempt().principal)
    return {"warning": CANARY_WARNING} if is_met else {}


def _creation(fields: dict[str, Any]) -> Creation:
    attempt, value = current_attempt().part(), fields.pop("secret")
    if isinstance(value, InvalidValue):
        new_secret = NewSecret(plaintext=b"", **fields)
        return Creation(attempt=attempt, new_secret=new_secret, invalid=value.text, error=value.error)
    return Creation(attempt=attempt, new_secret=NewSecret(plaintext=value, **fields))


def _fetch(reference: dict[str, Any]) -> Fetch:
    attempt = current_attempt().part()
    deliveries.record(reference, attempt)
    item = Fetch(attempt=attempt, **reference)
    with item.failing_alone():
        deliveries.require_wanted(item.reference, attempt)
    return item


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
