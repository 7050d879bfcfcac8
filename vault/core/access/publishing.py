"""Publishing sealed documents, each after its audit entry, and ending them with their creator.

Functions raise `StorageUnavailableError`, and `AuditUnavailableError` if an entry could not be written: then
its change was not made.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from vault.common import feature
from vault.common.errors import InvalidCredentialError, StorageUnavailableError, VaultError
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.sealed import SealedDocument
from vault.core.documents.token import Token


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


def kinds() -> list[type[SealedDocument]]:
    """Return the classes of all that ends with its creator, except tokens."""
    return feature.documents()


def standing_of(creators: Collection[str], key: TokenKey) -> Iterator[SealedDocument]:
    """Yield all that *creators* made and that a plain revocation leaves, except tokens."""
    return _made_by(creators, key, [kind for kind in kinds() if kind.outlasts_creator])


def made_by(creators: Collection[str], key: TokenKey) -> Iterator[SealedDocument]:
    """Yield all that *creators* made, except tokens."""
    return _made_by(creators, key, kinds())


def _made_by(
    creators: Collection[str], key: TokenKey, kinds: Iterable[type[SealedDocument]]
) -> Iterator[SealedDocument]:
    for kind in kinds:
        with storage_errors():
            found = kind.made_by(creators, key)
        yield from found


def delete_made_by(creators: Collection[str], key: TokenKey, attempt: Attempt) -> None:
    """End what *creators* made, except tokens, each after its own entry, as part of *attempt*.

    Pending ones are withdrawn first.
    """
    with storage_errors():
        for kind in kinds():
            kind.withdraw_pending(creators)
    for document in made_by(creators, key):
        replace(attempt, action=document.end_action, details=document.end_details()).finish(Status.SUCCESS)
        with storage_errors():
            document.end(key)
