"""Publishing tokens, roles, issuers, webhooks, requests, plans and sessions, each after its audit entry.

Functions raise `StorageUnavailableError`, and `AuditUnavailableError` if an entry could not be written: then
its change was not made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from vault.core.attempt import Action, Attempt
from vault.core.errors import InvalidCredentialError, StorageUnavailableError, VaultError
from vault.core.outcomes import Status
from vault.crypto.token_key import TokenKey
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.issuer import Issuer
from vault.documents.role import Role
from vault.documents.rotation import Rotation
from vault.documents.sealed import SealedDocument
from vault.documents.session import Session
from vault.documents.token import Token
from vault.documents.value_request import ValueRequest
from vault.documents.webhook import Webhook


def _always_has_room() -> None:
    """Stand in for the check of documents whose number has no exact limit."""


def publish(
    document: SealedDocument, *, attempt: Attempt, require_room: Callable[[], None] = _always_has_room
) -> None:
    """Store the sealed *document*, write the entry of *attempt*, and put it into effect.

    *require_room* raises an error if there are too many, with this one and all others that are pending: of
    those that are made at the same time, the last one finds all.

    Raises:
        VaultError: The error of *require_room*, or of the document's class if another one has its name.
        InvalidCredentialError: The creator was revoked in the meantime.
    """
    try:
        with storage_errors():
            document.store()
            require_room()
            # After it is stored: either a cascade finds it, or this finds that the creator was revoked.
            _require_not_revoked(attempt)
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            is_active = document.activate()
    except VaultError:
        with best_effort_cleanup():
            document.withdraw()
        raise
    if not is_active:
        raise StorageUnavailableError("it took too long to write the entry")


def _require_not_revoked(attempt: Attempt) -> None:
    """Require that the principal of *attempt* was not revoked after it was looked up."""
    creator = attempt.principal.name
    if Token.objects(name=creator, revoked_at__ne=None).first():
        attempt.details["reason"] = "revoked"
        raise InvalidCredentialError("revoked", principal=creator)


#: A document, with the action and details of the entry of its end.
Made = tuple[SealedDocument, Action, Mapping[str, str]]


def standing_of(creators: Iterable[str], key: TokenKey) -> Iterator[Made]:
    """Yield the roles, issuers, webhooks and plans that *creators* made: all that a plain revocation leaves.

    Paused plans are omitted.
    """
    made = {"created_by": {"$in": list(creators)}}
    with storage_errors():
        roles, issuers, webhooks = Role.active(made), Issuer.active(made), Webhook.active(made)
        plans = Rotation.active(made | {"is_paused": {"$ne": True}})
    # The creator of an altered one is uncertain, and it is invalid anyway.
    for role in filter(None, (Role.genuine(document, key) for document in roles)):
        details = {"role_name": role.plain_name, "namespace": role.namespace, "created_by": role.created_by}
        yield role, Action.ROLE_DELETE, details
    for issuer in filter(None, (Issuer.genuine(document, key) for document in issuers)):
        yield issuer, Action.ISSUER_DELETE, {"issuer_name": issuer.name, "created_by": issuer.created_by}
    for webhook in filter(None, (Webhook.genuine(document, key) for document in webhooks)):
        yield webhook, Action.WEBHOOK_DELETE, {"webhook_id": webhook.id, "created_by": webhook.created_by}
    for plan in filter(None, (Rotation.genuine(document, key) for document in plans)):
        subject = {"rotation_name": plan.name, "namespace": plan.namespace}
        yield plan, Action.ROTATION_PAUSE, {**subject, "created_by": plan.created_by}


def made_by(creators: Iterable[str], key: TokenKey) -> Iterator[Made]:
    """Yield all that *creators* made, except tokens."""
    names = list(creators)
    with storage_errors():
        requests = ValueRequest.active({"created_by": {"$in": names}})
        sessions = list(Session.of_principals(names, key))
    yield from standing_of(names, key)
    for request in filter(None, (ValueRequest.genuine(document, key) for document in requests)):
        subject = {"request_name": request.name, "namespace": request.namespace}
        yield request, Action.REQUEST_DELETE, {**subject, "created_by": request.created_by}
    # Those of tokens end with these. Those of ID tokens would last for hours.
    for session, name in sessions:
        yield session, Action.LOGOUT, {"session_of": name}


def delete_made_by(creators: Iterable[str], key: TokenKey, attempt: Attempt) -> None:
    """End what *creators* made, except tokens, each after its own entry, as part of *attempt*.

    Rotation plans are paused, all others deleted. Pending ones are withdrawn first. Roles of others for these
    issuers stay, and are without an issuer.
    """
    names = list(creators)
    with storage_errors():
        for kind in (Role, Issuer, Webhook, ValueRequest, Rotation):
            kind.withdraw_pending(names)
    for document, action, details in made_by(names, key):
        replace(attempt, action=action, details=dict(details)).finish(Status.SUCCESS)
        with storage_errors():
            document.end(key)
