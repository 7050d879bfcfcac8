"""Lookups: what a question names, current versions, which no entry states, and who had replies wrapped.

All functions raise `PyMongoError`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from vault.common.errors import DecryptionError, VaultError
from vault.core.crypto import Keyring
from vault.core.documents import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.token import Token, is_accessor
from vault.core.trail.expressions import text_at
from vault.core.trail.streams.collection import collection
from vault.core.trail.values import SUCCESS
from vault.features.exposure.knowledge import ABOUT_VALUES, Question

#: The maximum number of secrets with one name that a call returns.
_MAX_SECRETS = 1_000

#: Without the ciphertexts.
_WITHOUT_VALUES = {"older": False, "envelope": False, "held_reads": False}


def ids_of(question: Question, start: str) -> tuple[list[str], bool]:
    """Return IDs of the secrets that *question* names, from *start* on, and whether they are the last.

    If stale ones count, also of those that had the name before.
    """
    if question.secret_id is not None:
        return [question.secret_id], True
    owner = {"namespace": question.namespace, "name": question.secret_name}
    ids = {one for one in Secret.ids_of(**owner) if one >= start}
    if question.stale:
        groups = collection().aggregate(
            [
                {"$match": {**SUCCESS, **{f"details.{field}": value for field, value in owner.items()}}},
                {"$group": {"_id": text_at("$secret_id")}},
                {"$match": {"_id": {"$gte": start}}},
                {"$sort": {"_id": 1}},
                {"$limit": _MAX_SECRETS + 1},
            ],
            allowDiskUse=True,
        )
        ids |= {group["_id"] for group in groups}
    return sorted(ids)[:_MAX_SECRETS], len(ids) <= _MAX_SECRETS


def current_versions(ids: Sequence[str], *, before: datetime | None = None) -> dict[str, int | None]:
    """Return the current versions of the secrets with these *ids*; None for those that cannot be read.

    With *before*, those are left out whose current version is not from before that time.
    """
    now = datetime.now(UTC)
    found: dict[str, int | None] = dict.fromkeys(ids)
    for document in Secret.raw().find({"_id": {"$in": ids}}, _WITHOUT_VALUES):
        secret = StoredSecret(document)
        written_at = secret.newest.created_at
        if before and written_at and written_at >= before:
            found.pop(secret.id, None)
        elif secret.is_visible(now) and secret.is_readable(secret.version, now):
            found[secret.id] = secret.version
    return found


def principals_of(question: Question, require: Callable[[Token], None] = lambda _: None) -> list[str] | None:
    """Return the names of the principals that *question* is about; None for all.

    *require* raises an error for a token with the accessor that must not count.
    """
    asked = None if question.principal is None else [question.principal]
    if question.token is None:
        return asked
    tokens = Token.with_accessor(question.token)
    for token in tokens:
        require(token)
    names = [token.name for token in tokens] or [question.token]
    return names if asked is None else [name for name in names if name in asked]


def is_unknown_secret(question: Question) -> bool:
    """Return whether *question* names a secret that does not exist; if stale ones count, and never did."""
    if question.secret_id is None:
        return not ids_of(question, "")[0]
    if Secret.raw().find_one({"_id": question.secret_id}, {"_id": True}):
        return False
    # Not any entry: the question has one, too.
    known = {**ABOUT_VALUES, "secret_id": question.secret_id}
    return not (question.stale and collection().find_one(known, {"_id": True}))


def is_unknown_token(text: str) -> bool:
    """Return whether no token has the accessor or stored name *text*, and no entry is of such a caller."""
    return not (Token.with_accessor(text) or Token.objects(name=text).first() or is_in_trail([text]))


def is_unknown_accessor(text: str) -> bool:
    """Return whether *text* has the form of an accessor, and no token has it."""
    return is_accessor(text) and not Token.with_accessor(text)


def require_genuine(ids: Sequence[str], keyring: Keyring) -> None:
    """Require that the secrets with these *ids* that can be read are as the service wrote them.

    Raises:
        VaultError: One was altered: an attacker may have given its name to another one.
    """
    now = datetime.now(UTC)
    for document in Secret.raw().find({"_id": {"$in": ids}}, StoredSecret.NEWEST):
        secret = StoredSecret(document)
        if secret.is_visible(now) and secret.is_readable(secret.version, now):
            try:
                secret.decrypt(keyring)
            except DecryptionError:
                raise VaultError("the record of a secret with this name was altered") from None


def is_in_trail(principals: Collection[str]) -> bool:
    """Return whether the trail has an entry of one of *principals*."""
    return collection().find_one({"principal": {"$in": [*principals]}}, {"_id": True}) is not None


def wrapped_by(principals: Collection[str], accessors: Sequence[str]) -> Mapping[str, str]:
    """Return those of *accessors* whose replies one of *principals* had wrapped, each with its name."""
    query = {**SUCCESS, "principal": {"$in": [*principals]}, "details.accessor": {"$in": [*accessors]}}
    # An attacker may have stored other types.
    group = {"_id": text_at("$details.accessor"), "by": {"$min": text_at("$principal")}}
    found = {row["_id"]: row["by"] for row in collection().aggregate([{"$match": query}, {"$group": group}])}
    return {one: found[one] for one in accessors if one in found}
