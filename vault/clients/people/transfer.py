"""Transfers: the changes that make the secrets of the service those of a file."""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from vault.common.errors import ServiceRefusedError, VaultError
from vault.toolkit.client.secrets import NOT_FOUND, Fetched, Secrets, deleted_name


class Effect(StrEnum):
    """The change to a secret."""

    CREATE = "create"
    UPDATE = "update"
    NONE = "unchanged"
    #: A comparison would use a read.
    UNKNOWN = "exists, has a read limit: not compared"
    REFUSED = "belongs to a deleted secret: restore or purge it first"


@dataclass(frozen=True, slots=True)
class Change:
    """The change that makes the secret *name* have *value*."""

    name: str
    kind: Effect
    value: bytes = field(repr=False)
    #: The version that it replaces; 0 for none.
    version: int = 0


def plan(secrets: Secrets, values: Mapping[str, bytes]) -> list[Change]:
    """Return the changes for *values*, by the names of secrets.

    The present values are fetched, except those of secrets with a read limit.

    Raises:
        ServiceRefusedError: The service refuses to list, to describe or to fetch the present secrets.
        ServiceUnavailableError: The service cannot be reached, or cannot serve.
    """
    prefix = os.path.commonprefix(list(values))  # noqa: RUF071 - a prefix can end within a name
    present = [name for name in _names(secrets, prefix) if name in values]
    deleted = _names(secrets, prefix, deleted=True)
    described = {name: secrets.describe({"name": name}) for name in present}
    compared = [name for name, one in described.items() if not one.get("max_reads")]
    found = secrets.fetch([{"name": name} for name in compared])
    kinds = dict.fromkeys(deleted, Effect.REFUSED) | dict.fromkeys(present, Effect.UNKNOWN)
    kinds |= {name: _kind(values[name], one) for name, one in zip(compared, found, strict=True)}
    return [
        Change(name, kinds.get(name, Effect.CREATE), value, described.get(name, {}).get("version", 0))
        for name, value in values.items()
    ]


def apply(secrets: Secrets, changes: Sequence[Change]) -> Iterator[tuple[Change, VaultError | None]]:
    """Make *changes*, new secrets first, and yield each that changes something, with its error if any.

    A secret that was changed since the plan is refused.
    """
    new = [change for change in changes if change.kind is Effect.CREATE]
    errors = secrets.create_all([(change.name, change.value) for change in new])
    yield from zip(new, errors, strict=True)
    for change in changes:
        if change.kind in (Effect.UPDATE, Effect.UNKNOWN):
            yield change, _update(secrets, change)
        elif change.kind is Effect.REFUSED:
            yield change, deleted_name(change.name)


def _names(secrets: Secrets, prefix: str, *, deleted: bool = False) -> list[str]:
    return [one["name"] for one in secrets.listed(prefix, deleted=deleted) if one.get("name")]


def _kind(value: bytes, found: Fetched | VaultError) -> Effect:
    if isinstance(found, Fetched):
        return Effect.NONE if found.value == value else Effect.UPDATE
    if isinstance(found, ServiceRefusedError) and found.code == NOT_FOUND:
        # Clients of Vault's API can delete the newest version alone.
        return Effect.UPDATE
    raise found


def _update(secrets: Secrets, change: Change) -> VaultError | None:
    try:
        secrets.update({"name": change.name}, change.value, expected_version=change.version or None)
    except ServiceRefusedError as error:
        return error.detached()
    return None
