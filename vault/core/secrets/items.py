"""Items: the fetches or creates of one request, each with its own attempt and outcome."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from uuid import uuid4

from vault.common.errors import (
    CredentialRequiredError,
    DecryptionError,
    DeliveryRefusedError,
    KeyMissingError,
    NameTakenError,
    OutsidePathsError,
    ScopeMissingError,
    SecretBusyError,
    SecretNotFoundError,
    SecretTooLargeError,
    TooLargeForBatchError,
    UseRulesRefusedError,
    VaultError,
)
from vault.core.attempt import Attempt
from vault.core.crypto.encoding import joined
from vault.core.documents.secret import UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.secrets.requests import NewSecret, Reference, derive_ids, limit_details

#: Errors that fail only their own item. All others fail the whole request.
_OWN_ERRORS = (
    CredentialRequiredError,
    DecryptionError,
    DeliveryRefusedError,
    KeyMissingError,
    OutsidePathsError,
    ScopeMissingError,
    SecretNotFoundError,
    SecretTooLargeError,
    TooLargeForBatchError,
    UseRulesRefusedError,
)

#: Precedes the kind of an error in a stored outcome.
_ERROR = "error:"


def _too_large_earlier() -> SecretTooLargeError:
    return SecretTooLargeError("The secret was larger than the limit when it was first sent.")


#: Errors that a repeated request might not reproduce.
_EARLIER_ERRORS: Mapping[str, Callable[[], VaultError]] = {
    NameTakenError.kind: NameTakenError,
    OutsidePathsError.kind: OutsidePathsError,
    SecretTooLargeError.kind: _too_large_earlier,
}


@dataclass(slots=True, kw_only=True)
class Item:
    """An item of a request, with its attempt, and with its error if it failed."""

    attempt: Attempt
    error: VaultError | None = None

    @contextmanager
    def failing_alone(self) -> Iterator[None]:
        """Keep an error of the block if it concerns only this item."""
        try:
            yield
        except _OWN_ERRORS as error:
            self.error = error.detached()


#: Reserves as many bytes; calls the function, which forgets what is large, before it waits for them.
Reserve = Callable[[int, Callable[[], None]], None]


def need_not_reserve(_size: int, _forget: Callable[[], None]) -> None:
    """Stand in for callers that have reserved enough."""


@dataclass(slots=True, kw_only=True)
class Fetch(Item):
    """A fetch of a secret's newest, or the given, version."""

    reference: Reference
    version: int | None = None
    #: Called before a large value is decrypted.
    reserve: Reserve = field(default=need_not_reserve, repr=False)
    #: The secret, if the caller may know of it.
    secret: StoredSecret | None = field(default=None, repr=False)
    #: Unless it failed: the secret's name and read limit, and the number and the plaintext of the version.
    name: str | None = None
    max_reads: int | None = None
    fetched_version: int = 0
    is_canary: bool = False
    plaintext: bytes = field(default=b"", repr=False)

    @property
    def info(self) -> VersionInfo | None:
        """The version, even if it is deleted or purged; None if the caller may not know of it."""
        return self.secret.info(self.version or self.secret.version) if self.secret else None


@dataclass(slots=True, kw_only=True)
class Creation(Item):
    """A create of a secret. If the value is not valid, it has its error from the beginning."""

    new_secret: NewSecret
    #: The value as it was sent, if it is not valid.
    invalid: str = field(default="", repr=False)
    #: The document to store. None if the create failed, or if an earlier request has completed it.
    secret: UnstoredSecret | None = None

    @property
    def secret_id(self) -> str:
        """The ID that the caller gets, unless the create failed."""
        return self.attempt.secret_id or ""

    @property
    def outcome(self) -> str:
        """The outcome for `repeat`: the ID, or the kind of the error."""
        if self.error is None:
            return self.secret_id
        return _ERROR + self.error.kind

    def begin(self) -> None:
        """Put the ID and the limits of the document on record."""
        if self.secret:
            self.attempt.secret_id = self.secret.id
            self.attempt.details |= limit_details(self.secret)

    def fail(self, error: VaultError) -> None:
        """Store nothing, because of *error*."""
        self.error, self.secret = error, None

    def repeat(self, outcome: str) -> None:
        """Return the *outcome* of an earlier request, and store nothing.

        A name outside the present paths of the principal stays refused.
        """
        self.secret = None
        self.attempt.details["repeated"] = True
        if isinstance(self.error, OutsidePathsError):
            return
        if not outcome.startswith(_ERROR):
            self.error, self.attempt.secret_id = None, outcome
        elif self.error is None:
            self.error = _EARLIER_ERRORS.get(outcome.removeprefix(_ERROR), SecretBusyError)()


class CreateRequest:
    """A request to create one secret, or a batch of them."""

    def __init__(self, items: Sequence[Creation], *, namespace: str, is_batch: bool) -> None:
        """Make the documents of all *items* without an error."""
        self.items = items
        self.is_batch = is_batch
        #: The ID of the one secret; of a batch, the origin of all IDs.
        self.base_id = str(uuid4())
        for item, secret_id in zip(items, self.ids(self.base_id), strict=True):
            if item.error is None:
                item.secret = item.new_secret.document(namespace, secret_id)
        #: The documents.
        self.secrets = [item.secret for item in items if item.secret]

    def ids(self, base_id: str) -> Sequence[str]:
        """Return the IDs of the secrets of all items under *base_id*."""
        return derive_ids(base_id, len(self.items)) if self.is_batch else [base_id]

    def canonical(self) -> bytes:
        """Return the same bytes for every form of a request body with the same content."""
        if not self.is_batch:
            return self.items[0].new_secret.canonical()
        parts = (
            (item.new_secret.canonical(), item.invalid.encode(errors="surrogatepass")) for item in self.items
        )
        return joined(*chain.from_iterable(parts))
