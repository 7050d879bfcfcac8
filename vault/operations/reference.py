"""Which secret is meant."""

from dataclasses import dataclass, field
from typing import Any

from vault.documents import Secret
from vault.documents.storage import storage_errors
from vault.errors import CredentialRequiredError, SecretNotFoundError
from vault.operations.attempt import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A secret by its id, or by its name in the namespace of whoever asks."""

    secret_id: str | None = field(default=None, repr=False)
    name: str | None = None

    def note(self, attempt: Attempt) -> None:
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
