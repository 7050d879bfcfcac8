"""Concurrent operations share a round trip, and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lifecycle import UNKNOWN_ID, in_past, put
from tests.rotation import Stored
from vault.crypto import Keyring, MasterKey
from vault.documents import Secret
from vault.documents.secret import UnstoredSecret
from vault.secrets.store import SecretStore

pytestmark = pytest.mark.usefixtures("encrypting")


def test_each_reader_gets_its_own_secret(stored: Stored, key: MasterKey) -> None:
    """Each of many concurrent reads gets its own secret, even the same one twice, without older versions."""
    values = {put(stored, key, b"%d" % number): b"%d" % number for number in range(20)}
    stored.secrets.update_many({}, {"$set": {"older": [{"version": 0}]}})
    wanted = [*values, *values, UNKNOWN_ID] * 5
    store = SecretStore()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(store.find, wanted))
    for secret_id, secret in zip(wanted, found, strict=True):
        if secret_id == UNKNOWN_ID:
            assert secret is None
        else:
            assert secret
            assert secret.decrypt(Keyring(key)) == values[secret_id]


def test_many_concurrent_creates_are_all_stored(stored: Stored, key: MasterKey) -> None:
    """Each of many concurrent creates has stored its secret, encrypted, when it returns."""
    store = SecretStore()

    def create(number: int) -> str:
        secret = UnstoredSecret(id=f"550e8400-e29b-41d4-a716-{number:012}", created_at=in_past(seconds=0))
        secret.set_plaintext(b"%d" % number)
        store.publish([secret])
        assert stored.secrets.find_one({"_id": secret.id}, {"_id": 1})
        return secret.id

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(create, range(100)))
    for number, secret_id in enumerate(ids):
        found = Secret.find({"_id": secret_id})
        assert found
        assert found.decrypt(Keyring(key)) == b"%d" % number
