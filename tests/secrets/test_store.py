"""A new secret is found by its name once it is published, and not before."""

from typing import Any
from uuid import uuid4

import pytest
from pymongo.collection import Collection

from tests.life import document, in_future, in_past, put
from tests.rotation import Stored
from vault.crypto import MasterKey
from vault.documents import Secret
from vault.secrets import store

pytestmark = pytest.mark.usefixtures("encrypting")


def new_secret(**fields: Any) -> Secret:
    secret = Secret(id=str(uuid4()), created_at=in_past(seconds=0), **fields)
    secret.set_plaintext(b"value")
    return secret


@pytest.mark.parametrize("expires_at", [None, in_future(hours=1)], ids=["no expiry", "expiry"])
def test_publishing_leaves_nothing_of_the_waiting(stored: Stored, expires_at: Any) -> None:
    """A published secret is purged when it expires, or never, and is like any other."""
    secret = new_secret(name="a", expires_at=expires_at, purge_at=expires_at)
    store.store_pending(secret)
    waiting = document(stored, secret.id)
    assert waiting["pending"] is True
    assert waiting["purge_at"] < in_future(minutes=6)
    assert store.publish(secret)
    published = document(stored, secret.id)
    assert "pending" not in published
    assert published.get("purge_at") == expires_at


def test_who_waited_for_too_long_is_not_published(stored: Stored) -> None:
    """A secret that MongoDB removed before it was published is not, and nothing is made of it."""
    secret = new_secret(name="a")
    store.store_pending(secret)
    stored.secrets.delete_many({})
    assert not store.publish(secret)
    assert stored.secrets.count_documents({}) == 0


def test_a_name_that_mongodb_gives_back_at_this_moment_is_free(
    stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leftover that is swept just before it would have been removed here does not make its name taken."""
    put(stored, key, name="a", pending=True, purge_at=in_future(minutes=1))
    delete = Collection.delete_one

    def overtaken(collection: Any, query: Any) -> Any:
        stored.secrets.delete_many({})
        return delete(collection, query)

    monkeypatch.setattr(Collection, "delete_one", overtaken)
    store.store_pending(secret := new_secret(name="a"))
    assert document(stored, secret.id)["pending"] is True


def test_nothing_is_published_twice() -> None:
    """A secret that is published is not on its way any more."""
    secret = new_secret(name="a")
    store.store_pending(secret)
    assert store.publish(secret)
    assert not store.publish(secret)


def test_withdrawing_spares_what_can_be_found(stored: Stored, key: MasterKey) -> None:
    """What has no name, or is not published, goes; what others may have found by its name stays."""
    unnamed = put(stored, key)
    pending = put(stored, key, name="pending", pending=True)
    published = put(stored, key, name="published")
    other = put(stored, key)
    gone = [store.withdraw(secret_id) for secret_id in (unnamed, pending, published)]
    assert gone == [True, True, False]
    assert {found["_id"] for found in stored.secrets.find()} == {published, other}
    assert store.withdraw(unnamed)
