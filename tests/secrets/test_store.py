"""A named secret is found once it is published, and not before."""

from typing import Any
from uuid import uuid4

import pytest
from pymongo.collection import Collection

from tests.life import document, in_future, in_past, put
from tests.rotation import Stored
from vault.core.errors import StorageUnavailableError
from vault.crypto import MasterKey
from vault.documents import Secret
from vault.secrets.store import SecretStore

pytestmark = pytest.mark.usefixtures("encrypting")


def new_secret(**fields: Any) -> Secret:
    secret = Secret(id=str(uuid4()), created_at=in_past(seconds=0), **fields)
    secret.set_plaintext(b"value")
    return secret


@pytest.mark.parametrize("expires_at", [None, in_future(hours=1)], ids=["no expiry", "expiry"])
def test_publishing_leaves_nothing_of_the_waiting(stored: Stored, expires_at: Any) -> None:
    """Publishing leaves no trace of the wait; the secret is purged when it expires, or never."""
    secret = new_secret(name="a", expires_at=expires_at, purge_at=expires_at)
    SecretStore().hold_name(secret)
    waiting = document(stored, secret.id)
    assert waiting["pending"] is True
    assert waiting["purge_at"] < in_future(minutes=6)
    SecretStore().publish(secret)
    published = document(stored, secret.id)
    assert "pending" not in published
    assert published.get("purge_at") == expires_at


def test_who_waited_for_too_long_is_not_published(stored: Stored) -> None:
    """A secret that MongoDB removed while it was pending is neither published nor created again."""
    secret = new_secret(name="a")
    SecretStore().hold_name(secret)
    stored.secrets.delete_many({})
    with pytest.raises(StorageUnavailableError):
        SecretStore().publish(secret)
    assert stored.secrets.count_documents({}) == 0


def test_a_name_that_mongodb_gives_back_at_this_moment_is_free(
    stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is free if MongoDB removes an expired secret just before this create would have removed it."""
    put(stored, key, name="a", pending=True, purge_at=in_future(minutes=1))
    delete = Collection.delete_one

    def overtaken(collection: Any, query: Any) -> Any:
        stored.secrets.delete_many({})
        return delete(collection, query)

    monkeypatch.setattr(Collection, "delete_one", overtaken)
    SecretStore().hold_name(secret := new_secret(name="a"))
    assert document(stored, secret.id)["pending"] is True


def test_nothing_is_published_twice() -> None:
    """A published secret cannot be published again."""
    secret = new_secret(name="a")
    SecretStore().hold_name(secret)
    SecretStore().publish(secret)
    with pytest.raises(StorageUnavailableError):
        SecretStore().publish(secret)


def test_withdrawing_spares_what_can_be_found(stored: Stored, key: MasterKey) -> None:
    """Secrets that are unnamed or pending are removed; a published named one stays."""
    unnamed = put(stored, key)
    pending = put(stored, key, name="pending", pending=True)
    published = put(stored, key, name="published")
    other = put(stored, key)
    gone = [SecretStore().withdraw(secret_id) for secret_id in (unnamed, pending, published)]
    assert gone == [True, True, False]
    assert {found["_id"] for found in stored.secrets.find()} == {published, other}
    assert SecretStore().withdraw(unnamed)


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
def test_a_rollback_removes_what_may_be_stored(stored: Stored, is_sent: bool) -> None:
    """A rollback asks MongoDB for nothing if the secret was never sent."""
    secret = new_secret()
    SecretStore().publish(secret)
    secret.may_be_stored = is_sent
    SecretStore().roll_back(secret)
    assert stored.secrets.count_documents({}) == (0 if is_sent else 1)
