"""Imports: secrets of a source, stored here with their versions, and compared by hash."""

import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from vault.common import kv_values
from vault.common.errors import DecryptionError, KeyMissingError
from vault.common.labels import are_labels
from vault.common.paths import name_flaw
from vault.common.strict_json import InvalidJSONError, TooManyPartsError
from vault.common.text import quantity
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.encoding import canonical
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.features.imports.kv_source import Found, ImportRefusedError, KVSource, SourceSecret, SourceVersion

#: Threads that read the source, and secrets that they read ahead.
_READERS = 8
_READ_AHEAD = 32

#: Secrets that are looked up, and stored, together: at most so many, and not many more bytes.
_BATCH = 100
_BATCH_BYTES = 8 * 1_048_576


class ImportOutcome(StrEnum):
    """The outcome for one secret of the source, as people read it."""

    MISSING = "to import"
    IMPORTED = "imported"
    SAME = "already here"
    DIFFERS = "different here"
    #: It cannot be imported.
    REFUSED = "not importable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A secret of the source by its name here, and what became of it."""

    name: str
    outcome: ImportOutcome
    #: The reason for `DIFFERS` and `REFUSED`.
    reason: str = ""
    #: The numbers of its versions.
    versions: Sequence[int] = ()
    #: What is not imported of it.
    notes: Sequence[str] = ()
    #: Descriptions of the secret there and here, with a keyed hash of each value; empty for a missing one.
    there: bytes = b""
    here: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A secret of the source by its name here: its content, or the reason why it cannot be imported."""

    name: str
    secret: SourceSecret | None = field(default=None, repr=False)
    refusal: str = ""

    @property
    def versions(self) -> Sequence[SourceVersion]:
        """The versions to import, in ascending order."""
        return self.secret.versions if self.secret else ()

    @property
    def size(self) -> int:
        """The bytes of all values."""
        return sum(len(version.value or b"") for version in self.versions)


#: Stores new secrets by their names here; returns the reasons why some were not stored.
Write = Callable[[Mapping[str, SourceSecret]], Mapping[str, str]]


class Importer:
    """Imports secrets of a *source* into *namespace*, below the folder *prefix* if there is one.

    A secret that exists here is never changed. Without a writer, secrets are only compared.
    """

    def __init__(
        self,
        source: KVSource,
        keyring: Keyring,
        *,
        namespace: str,
        prefix: str,
        max_bytes: int,
        max_versions: int,
    ) -> None:
        self._source = source
        self._keyring = keyring
        self._namespace = namespace
        self._prefix = prefix
        self._max_bytes = max_bytes
        self._max_versions = max_versions
        # Hashes without a key would let anyone who sees them test guesses of values.
        self._hash_key = secrets.token_bytes(32)

    def run(self, path: str, write: Write | None = None) -> Iterator[Result]:
        """Yield the result for each secret at and below *path* of the source, in its order.

        Those that do not exist here are stored by *write*. This may be interrupted at any point and repeated.

        Raises:
            ImportSourceError: The source cannot be read.
        """
        batch: list[Draft] = []
        size = 0
        for draft in self._read_all(path):
            batch.append(draft)
            size += draft.size
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                yield from self._finish(batch, write)
                batch, size = [], 0
        yield from self._finish(batch, write)

    def hashes(self) -> "Hashes":
        """Return new hashes of all secrets there and here."""
        return Hashes(self._hash_key)

    def _read_all(self, path: str) -> Iterator[Draft]:
        waiting: deque[Future[Draft | None]] = deque()
        with ThreadPoolExecutor(_READERS) as pool:
            try:
                for found in self._source.paths(path):
                    waiting.append(pool.submit(self._read, found))
                    if len(waiting) == _READ_AHEAD:
                        yield from _first(waiting)
                while waiting:
                    yield from _first(waiting)
            finally:
                for future in waiting:
                    future.cancel()

    def _read(self, found: Found) -> Draft | None:
        name = self._prefix + found.path
        try:
            secret = self._read_valid(found, name)
        except ImportRefusedError as error:
            return Draft(name=name, refusal=str(error))
        return Draft(name=name, secret=secret) if secret else None

    def _read_valid(self, found: Found, name: str) -> SourceSecret | None:
        if found.error:
            raise found.error
        if flaw := name_flaw(name.removesuffix("/")):
            raise ImportRefusedError(f"no secret here can have this name: it {flaw}")
        secret = self._source.read(found.path, max_versions=self._max_versions)
        if secret:
            self._check(secret)
        return secret

    def _check(self, secret: SourceSecret) -> None:
        """Raise ImportRefusedError if this service cannot have *secret*, or could not return it."""
        if not are_labels(secret.description.pairs):
            raise ImportRefusedError("no secret here can have its custom_metadata as labels")
        for version in secret.versions:
            if version.value is None:
                continue
            if len(version.value) > self._max_bytes:
                raise ImportRefusedError(f"version {version.number} has more than MAX_SECRET_BYTES")
            try:
                kv_values.decode(version.value)
            except (InvalidJSONError, TooManyPartsError) as error:
                raise ImportRefusedError(f"version {version.number} {error}") from None

    def _finish(self, batch: Sequence[Draft], write: Write | None) -> Iterator[Result]:
        named = {draft.name: draft.secret for draft in batch if draft.secret}
        found = self._find(named)
        missing = {name: secret for name, secret in named.items() if name not in found}
        failures = write(missing) if write and missing else {}
        for draft in batch:
            yield self._result(draft, found.get(draft.name), failures, is_stored=write is not None)

    def _find(self, names: Mapping[str, object]) -> Mapping[str, StoredSecret]:
        query = {"namespace": self._namespace, "name": {"$in": list(names)}, "pending": None}
        with storage_errors("find"):
            found = [StoredSecret(document) for document in Secret.raw().find(query)]
        return {secret.name: secret for secret in found if secret.name}

    def _result(
        self, draft: Draft, stored: StoredSecret | None, failures: Mapping[str, str], *, is_stored: bool
    ) -> Result:
        if draft.secret is None:
            return Result(name=draft.name, outcome=ImportOutcome.REFUSED, reason=draft.refusal)
        there = self._described(draft.name, draft.secret)
        reason = failures.get(draft.name, "")
        here = b""
        if stored:
            outcome = ImportOutcome.SAME
            try:
                here = self._described_here(stored)
            except (DecryptionError, KeyMissingError):
                reason = "the secret here does not decrypt"
            if here != there:
                outcome, reason = ImportOutcome.DIFFERS, reason or _difference(stored)
        elif reason:
            outcome = ImportOutcome.DIFFERS
        else:
            outcome = ImportOutcome.IMPORTED if is_stored else ImportOutcome.MISSING
        return Result(
            name=draft.name,
            outcome=outcome,
            reason=reason,
            versions=[version.number for version in draft.versions],
            notes=_notes(draft.secret),
            there=there,
            here=here,
        )

    def _described(self, name: str, secret: SourceSecret) -> bytes:
        versions = [self._version(one.number, one, one.value) for one in secret.versions]
        return _description(name, secret, versions, is_limited=False)

    def _described_here(self, stored: StoredSecret) -> bytes:
        now = datetime.now(UTC)
        values = {
            one.version: stored.decrypt_version(one, self._keyring)
            for one in stored.versions
            if stored.is_readable(one.version, now)
        }
        versions = [
            self._version(info.version, info, values.get(info.version)) for info in reversed(stored.infos)
        ]
        is_limited = not stored.is_visible(now) or bool(stored.expires_at) or stored.max_reads is not None
        return _description(stored.name or "", stored, versions, is_limited=is_limited)

    def _version(self, number: int, times: SourceVersion | VersionInfo, value: bytes | None) -> list[Any]:
        digest = None if value is None else hmac.digest(self._hash_key, value, sha256).hex()
        return [number, _shown(times.created_at), _shown(times.deleted_at), digest]


def _first(waiting: deque[Future[Draft | None]]) -> Iterator[Draft]:
    """Wait for the first of *waiting*, remove it, and yield its draft, if it has one."""
    draft = waiting.popleft().result()
    if draft:
        yield draft


def _description(
    name: str, secret: SourceSecret | StoredSecret, versions: Sequence[object], *, is_limited: bool
) -> bytes:
    return canonical(
        {
            "name": name,
            "created_at": _shown(secret.created_at),
            "labels": secret.description.pairs,
            "rules": secret.rules.stored(),
            "versions": versions,
            "is_limited": is_limited,
        }
    )


def _shown(time: datetime | None) -> str | None:
    return moment(time) if time else None


def _difference(stored: StoredSecret) -> str:
    if not stored.is_visible(datetime.now(UTC)):
        return "the secret here is deleted"
    return "the secret here has other content"


def _notes(secret: SourceSecret) -> Sequence[str]:
    notes = []
    if secret.skipped:
        notes.append(f"{quantity(secret.skipped, 'older version')} beyond MAX_VERSIONS")
    deleted = [str(one.number) for one in secret.versions if one.deleted_at and one.value is None]
    if deleted:
        notes.append(
            f"the values of deleted versions, which the source does not return: {', '.join(deleted)}"
        )
    return notes


class Hashes:
    """One hash of all secrets there, and one of them here: equal only if all secrets are."""

    def __init__(self, key: bytes) -> None:
        self._there, self._here = (hmac.new(key, digestmod=sha256) for _ in range(2))

    def add(self, result: Result) -> None:
        """Add a secret."""
        self._there.update(result.there + b"\n")
        self._here.update(result.here + b"\n")

    @property
    def there(self) -> str:
        """The hash of the secrets of the source."""
        return self._there.hexdigest()

    @property
    def here(self) -> str:
        """The hash of the same secrets here."""
        return self._here.hexdigest()
