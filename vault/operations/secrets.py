"""Create and fetch secrets."""

from datetime import UTC, datetime
from uuid import uuid4

from vault.crypto import Keyring
from vault.documents import Secret
from vault.documents.database import storage_errors
from vault.errors import SecretNotFoundError, SecretTooLargeError
from vault.operations.attempt import Attempt, Status
from vault.operations.key_watch import KeyWatch


class Secrets:
    """The secrets that one keyring opens."""

    def __init__(self, keyring: Keyring, key_watch: KeyWatch, *, max_bytes: int) -> None:
        self._keyring = keyring
        self._key_watch = key_watch
        self._max_bytes = max_bytes

    def create(self, plaintext: bytes, *, attempt: Attempt) -> str:
        """Store *plaintext* and return its new id, once both secret and audit entry are durable.

        Raises:
            SecretTooLargeError: It is longer than the limit in bytes.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored.
            AuditUnavailableError: The entry could not be written.
        """
        if len(plaintext) > self._max_bytes:
            raise SecretTooLargeError(f"a secret may have at most {self._max_bytes} bytes")
        self._key_watch.require()
        # Given here and not by the database: the ciphertext is bound to it.
        secret = Secret(id=str(uuid4()), created_at=datetime.now(UTC))
        attempt.secret_id = secret.id
        secret.conceal(plaintext)
        with storage_errors():
            secret.save(force_insert=True)
        attempt.finish(Status.SUCCESS)
        return attempt.secret_id

    def fetch(self, secret_id: str, *, attempt: Attempt) -> bytes:
        """Return the plaintext of *secret_id*, once the audit entry is durable.

        Raises:
            KeyMissingError: This process may not serve, or lacks the secret's key.
            SecretNotFoundError: There is no such secret.
            DecryptionError: What is stored does not verify.
            StorageUnavailableError: It could not be read.
            AuditUnavailableError: The entry could not be written.
        """
        attempt.secret_id = secret_id
        self._key_watch.require()
        with storage_errors():
            secret = Secret.objects(id=secret_id).first()
        if secret is None:
            raise SecretNotFoundError
        plaintext: bytes = secret.reveal(self._keyring)
        attempt.finish(Status.SUCCESS)
        return plaintext
