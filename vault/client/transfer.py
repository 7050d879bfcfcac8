"""Transfers: the changes that make the secrets of the service those of a file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from vault.client.secrets import Fetched, Secrets
from vault.core.errors import ServiceRefusedError, VaultError

_NOT_FOUND = "secret_not_found"


class Kind(StrEnum):
    """The change to a secret."""

    CREATE = "create"
    UPDATE = "update"
    NONE = "unchanged"


@dataclass(frozen=True, slots=True)
class Change:
    """The change that makes the secret *name* have *value*."""

    name: str
    kind: Kind
    value: bytes = field(repr=False)
    #: The version that it replaces; 0 for none.
    version: int = 0


def plan(secrets: Secrets, values: Mapping[str, bytes]) -> list[Change]:
    """Return the changes for *values*, by the names of secrets. The present values are fetched.

    Raises:
        ServiceRefusedError: The service refuses a fetch for another reason than that there is no such secret.
        ServiceAwayError: The service cannot be reached, or cannot serve.
    """
    found = secrets.fetch([{"name": name} for name in values])
    return [_change(name, value, one) for (name, value), one in zip(values.items(), found, strict=True)]


def apply(secrets: Secrets, changes: Sequence[Change]) -> Iterator[tuple[Change, VaultError | None]]:
    """Make *changes*, new secrets first, and yield each that changes something, with its error if any.

    A secret that was changed since the plan is refused.
    """
    new = [change for change in changes if change.kind is Kind.CREATE]
    errors = secrets.create_all([(change.name, change.value) for change in new])
    yield from zip(new, errors, strict=True)
    for change in changes:
        if change.kind is Kind.UPDATE:
            yield change, _update(secrets, change)


def _change(name: str, value: bytes, found: Fetched | VaultError) -> Change:
    if isinstance(found, Fetched):
        kind = Kind.NONE if found.value == value else Kind.UPDATE
        return Change(name, kind, value, found.version)
    if isinstance(found, ServiceRefusedError) and found.code == _NOT_FOUND:
        return Change(name, Kind.CREATE, value)
    raise found


def _update(secrets: Secrets, change: Change) -> VaultError | None:
    try:
        secrets.update({"name": change.name}, change.value, expected_version=change.version)
    except ServiceRefusedError as error:
        return error.detached()
    return None
