"""New secrets are found once they are published, and concurrent operations share round trips."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from pymongo.collection import Collection

from tests.support.lifecycle import UNKNOWN_ID, document, in_future, in_past, put
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import Secret
from vault.core.documents.secret import UnstoredSecret
from vault.core.secrets import store as module
from vault.core.secrets.requests import Key
from vault.core.secrets.store import SecretStore

pytestmark = pytest.mark.usefixtures("encrypting")


def new_secret(value: bytes = b"value", **fields: Any) -> UnstoredSecret:
    secret = UnstoredSecret(id=str(uuid4()), created_at=in_past(seconds=0), **fields)
    secret.set_plaintext(value)
    return secret


@pytest.mark.parametrize("expires_at", [None, in_future(days=1)], ids=["no expiry", "expiry"])
def test_publishing_leaves_no_trace_of_the_wait(stored: Stored, expires_at: Any) -> None:
    """A published secret is purged when it expires, or never, like any other."""
    secret = new_secret(name="a", expires_at=expires_at, purge_at=expires_at)
    SecretStore().hold_names([secret])
    waiting = document(stored, secret.id)
    assert waiting["pending"] is True
    assert waiting["purge_at"] < in_future(minutes=6)
    SecretStore().publish([secret])
    published = document(stored, secret.id)
    assert "pending" not in published
    assert published.get("purge_at") == expires_at


def test_a_name_released_by_mongodb_at_this_moment_is_free(
    stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the sweep removes a leftover just before the create does, its name is free."""
    put(stored, key, name="a", pending=True, purge_at=in_future(minutes=1))
    delete = Collection.delete_many

    def overtaken(collection: Any, query: Any) -> Any:
        stored.secrets.delete_one({})
        return delete(collection, query)

    monkeypatch.setattr(Collection, "delete_many", overtaken)
    assert SecretStore().hold_names([secret := new_secret(name="a")]) == {}
    assert document(stored, secret.id)["pending"] is True


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
def test_a_rollback_removes_a_secret_that_may_be_stored(stored: Stored, is_sent: bool) -> None:
    """A rollback removes a secret that was sent to MongoDB; for any other, it asks MongoDB nothing."""
    secret = new_secret()
    SecretStore().publish([secret])
    secret.may_be_stored = is_sent
    SecretStore().roll_back([secret])
    assert stored.secrets.count_documents({}) == (0 if is_sent else 1)


def test_each_reader_gets_its_own_secret(stored: Stored, key: MasterKey) -> None:
    """Each of many concurrent reads, by ID or name, gets its own secret without older versions, or none."""
    values: dict[Key, bytes] = {}
    for namespace, name in product(("default", "other"), ("a", "b", "c")):
        value = f"{namespace} {name}".encode()
        secret_id = put(stored, key, value, namespace=namespace, name=name)
        values |= {secret_id: value, (namespace, name): value}
    stored.secrets.update_many({}, {"$set": {"older": [{"version": 0}]}})
    wanted = [*values, *values, UNKNOWN_ID, ("third", "a")] * 5
    store = SecretStore()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(store.find, wanted))
    for one, secret in zip(wanted, found, strict=True):
        assert (secret and secret.decrypt(Keyring(key))) == values.get(one)
        assert not (secret and secret.older)


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
        secret = new_secret(value=b"%d" % number)
        store.publish([secret])
        assert stored.secrets.find_one({"_id": secret.id}, {"_id": 1})
        return secret.id

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(create, range(100)))
    for number, secret_id in enumerate(ids):
        found = Secret.find({"_id": secret_id})
        assert found
        assert found.decrypt(Keyring(key)) == b"%d" % number
