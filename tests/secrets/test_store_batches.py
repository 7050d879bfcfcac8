"""Concurrent operations share a round trip, and nothing else."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.cli.waiting import wait_until
from tests.support.lifecycle import UNKNOWN_ID, in_past, put
from tests.support.rotation import Stored
from vault.crypto import Keyring, MasterKey
from vault.documents import Secret
from vault.documents.secret import UnstoredSecret
from vault.secrets import store as module
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


def test_few_large_values_share_a_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of a round trip are in memory together: with a limit of 1 MiB, there are at most 16."""
    sizes: list[int] = []
    go_on = Event()

    def read(secret_ids: Sequence[str]) -> list[None]:
        sizes.append(len(secret_ids))
        assert go_on.wait(60)
        return [None] * len(secret_ids)

    monkeypatch.setattr(module, "_read", read)
    store = SecretStore(max_bytes=1_048_576)
    with ThreadPoolExecutor(40) as pool:
        found = [pool.submit(store.find, UNKNOWN_ID) for _ in range(40)]
        wait_until(lambda: store._reads._count == 39)
        go_on.set()
        assert [each.result() for each in found] == [None] * 40
    assert (max(sizes), sum(sizes)) == (16, 40)


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
