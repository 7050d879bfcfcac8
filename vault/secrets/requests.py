"""A secret that is to be created."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from vault.core.attempt import Attempt
from vault.core.errors import CredentialRequiredError, SecretNotFoundError
from vault.core.timestamps import moment
from vault.documents import Secret
from vault.documents.guard import storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """What its creator decides."""

    plaintext: bytes = field(repr=False)
    #: Seconds that it can be read; None for no end.
    ttl_seconds: int | None = None
    #: How often it can be read; None for no limit.
    max_reads: int | None = None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def secret(self, namespace: str) -> Secret:
        """Return the document, with a new id, in *namespace*."""
        now = datetime.now(UTC)
        expires_at = now + timedelta(seconds=self.ttl_seconds) if self.ttl_seconds else None
        given = {
            # Given here and not by the database: the ciphertext is bound to it.
            "id": str(uuid4()),
            "namespace": namespace,
            "created_at": now,
            "expires_at": expires_at,
            "purge_at": expires_at,
            "max_reads": self.max_reads,
            "name": self.name,
            "labels": [f"{key}={value}" for key, value in sorted(self.labels.items())] or None,
        }
        # To MongoEngine a field that is given as None costs as much as any other.
        secret = Secret(**{name: value for name, value in given.items() if value is not None})
        secret.set_plaintext(self.plaintext)
        return secret

    def canonical(self) -> bytes:
        """Return the same bytes for the same draft, however its body was written."""
        values = asdict(self) | {"plaintext": b64encode(self.plaintext).decode()}
        return json.dumps(values, sort_keys=True).encode()


def limits(secret: Secret) -> dict[str, Any]:
    """Return what an audit entry says of a new secret: its expiry and its read limit."""
    expires_at = secret.expires_at and moment(secret.expires_at)
    found = {"expires_at": expires_at, "max_reads": secret.max_reads}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A secret by its id, or by its name in the namespace of whoever asks."""

    secret_id: str | None = field(default=None, repr=False)
    name: str | None = None

    def record_target(self, attempt: Attempt) -> None:
        """Say in the entry of *attempt* which secret was asked for.

        Raises:
            CredentialRequiredError: By name, and nobody knows who asks: a name can be guessed, an id cannot.
        """
        if self.secret_id:
            attempt.secret_id = self.secret_id
            return
        attempt.details["name"] = self.name
        if not attempt.principal.authenticated:
            attempt.details["reason"] = "needs a credential"
            raise CredentialRequiredError

    def find(self, *, attempt: Attempt, without: tuple[str, ...] = ()) -> Secret:
        """Return the secret, whether or not readers may know of it, less the fields in *without*.

        Raises:
            SecretNotFoundError: There is none.
            StorageUnavailableError: MongoDB is not there.
        """
        with storage_errors():
            secret = Secret.find(self._query(attempt), without=without)
        if secret is None:
            raise SecretNotFoundError
        attempt.secret_id = secret.id
        return secret

    def _query(self, attempt: Attempt) -> dict[str, Any]:
        if self.secret_id:
            return {"_id": self.secret_id}
        return {"namespace": attempt.principal.namespace, "name": self.name}
