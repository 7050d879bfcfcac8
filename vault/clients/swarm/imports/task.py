"""The task of an import: it reads the secrets that Docker mounted, and stores them through the API.

It is the only place where a swarm shows the values of its secrets. It runs in the service's own image, as a
service of one task that the import makes and removes. One more secret has its order.
"""

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from vault.clients.swarm.stored import Service
from vault.common.errors import ServiceRefusedError, VaultError
from vault.common.outcomes import ImportOutcome

#: The folder in which Docker mounts secrets, and the file with the order.
FOLDER = Path("/run/secrets")
ORDER = "order"


class ImportOrderError(VaultError):
    """A task has no order."""

    kind = "import_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order for a task: the service and a token for it, and the names here of the mounted files."""

    url: str
    token: str = field(repr=False)
    #: The role of a JWT; empty for none.
    role: str
    #: The certificates to trust in PEM; empty for the system's.
    ca: str
    #: Names of files, with the names here.
    names: Mapping[str, str]
    #: Store differing values as new versions.
    update: bool
    #: The key of the hashes. Without one, anyone who sees them could test guesses of values.
    hash_key: str = field(repr=False)

    def packed(self) -> bytes:
        """Return the order as the content of a file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the order in *folder*.

        Raises:
            ImportOrderError: The folder has no order.
        """
        try:
            content = (folder / ORDER).read_bytes()
        except FileNotFoundError:
            raise ImportOrderError(
                "this command is for the tasks that `secret-manager swarm import` starts"
            ) from None
        return cls(**json.loads(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome for a mounted file."""

    file: str
    outcome: ImportOutcome
    reason: str = ""
    #: Keyed hashes of the value there, and of the value here; empty without a value.
    there: str = ""
    here: str = ""

    @property
    def is_equal(self) -> bool:
        """True if the service has the value."""
        return bool(self.here) and self.here == self.there


class ImportTask:
    """The import of the files in *folder* as *order* says."""

    def __init__(self, order: Order, service: Service, folder: Path) -> None:
        self._order = order
        self._service = service
        self._folder = folder
        self._hash_key = order.hash_key.encode()

    def run(self) -> Iterator[Report]:
        """Yield the report of each file, once its value is stored and read back.

        Raises:
            ServiceUnavailableError: The service is unavailable. Secrets reported before are stored.
        """
        for file, name in self._order.names.items():
            value = (self._folder / file).read_bytes()
            try:
                outcome, found, reason = self._store(name, value)
            except ServiceRefusedError as error:
                yield Report(
                    file=file, outcome=ImportOutcome.REFUSED, reason=str(error), there=self._hash(value)
                )
                continue
            here = self._hash(found)
            yield Report(file=file, outcome=outcome, reason=reason, there=self._hash(value), here=here)

    def _store(self, name: str, value: bytes) -> tuple[ImportOutcome, bytes, str]:
        found = self._fetch(name)
        if found is None:
            self._service.call("/vault/secret/create", {"name": name, "secret": b64encode(value).decode()})
            return self._read_back(ImportOutcome.IMPORTED, name)
        here = _value(found)
        if here == value:
            return ImportOutcome.SAME, here, ""
        if not self._order.update:
            return (
                ImportOutcome.DIFFERS,
                here,
                "the value here is another; add --update to store a new version",
            )
        # Not over a version that was never compared.
        body = {"name": name, "secret": b64encode(value).decode(), "expected_version": found["version"]}
        self._service.call("/vault/secret/update", body)
        return self._read_back(ImportOutcome.UPDATED, name)

    def _fetch(self, name: str) -> dict[str, Any] | None:
        # As a batch: a plain fetch does not return the number of the version.
        [found] = self._service.call("/vault/secret/fetch-batch", {"secrets": [{"name": name}]})["secrets"]
        problem = found.get("problem")
        if problem is None:
            return dict(found)
        if problem["status"] == HTTPStatus.NOT_FOUND:
            return None
        raise ServiceRefusedError(problem["detail"], status=problem["status"], code=problem["code"])

    def _read_back(self, outcome: ImportOutcome, name: str) -> tuple[ImportOutcome, bytes, str]:
        """Return the *outcome* of a store with the value that the service has now."""
        try:
            found = self._fetch(name)
        except ServiceRefusedError as error:
            return outcome, b"", f"stored, but not compared: {error}; run the import again"
        return outcome, _value(found) if found else b"", ""

    def _hash(self, value: bytes) -> str:
        return hmac.digest(self._hash_key, value, sha256).hex()


def _value(found: Mapping[str, Any]) -> bytes:
    return b64decode(found["secret"])
