"""What the tests of documents share."""

from collections.abc import Iterator

import pytest

from vault.crypto import Keyring, MasterKey
from vault.documents import Database, EncryptOnSave


@pytest.fixture
def encrypting(database: Database, key: MasterKey) -> Iterator[Database]:
    """Connect the documents to the test's database, and encrypt under `key` what is saved."""
    hook = EncryptOnSave(Keyring(key))
    hook.connect()
    yield database
    hook.disconnect()
