"""A drill's checks of what is stored."""

from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import ALICE, Caller
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.secrets.requests import NewSecret, Reference
from vault.features.backup import drill


def test_every_version_that_is_stored_is_decrypted(app: Flask, alice: Caller, key: MasterKey) -> None:
    """Deleted versions and those without a value are checked, and purged ones, which are gone, are not."""
    new = NewSecret(plaintext=b"", name="empty")
    operations = services(app)
    operations.secrets.create_named(new, attempt=Attempt(action=Action.CREATE, principal=ALICE))
    secret_id = alice.create(b"one")
    alice.update(secret_id, b"two", b"three")
    alice("purge", secret_id=secret_id, version=1)
    deletion = Attempt(action=Action.DELETE, principal=ALICE)
    operations.versions.delete(Reference(secret_id=secret_id), (2,), attempt=deletion)
    done: list[int] = []
    checked = drill.decrypt_secrets(Keyring(key), done.append)
    assert (checked.seen, checked.failed, len(done)) == (3, 0, 2)
