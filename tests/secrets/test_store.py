"""A new secret is found by its name once it is published, and not before."""

from typing import Any
from uuid import uuid4

import pytest
from pymongo.collection import Collection

from tests.support.lifecycle import document, in_future, in_past, put
from tests.support.rotation import Stored
from vault.core.errors import StorageUnavailableError
from vault.crypto import MasterKey
from vault.documents.secret import UnstoredSecret
from vault.secrets.store import SecretStore

pytestmark = pytest.mark.usefixtures("encrypting")


def new_secret(**fields: Any) -> UnstoredSecret:
    secret = UnstoredSecret(id=str(uuid4()), created_at=in_past(seconds=0), **fields)
    secret.set_plaintext(b"value")
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


def test_a_secret_removed_before_publishing_is_not_published(stored: Stored) -> None:
    """Publishing a secret that MongoDB already removed fails and creates nothing."""
    secret = new_secret(name="a")
    SecretStore().hold_names([secret])
    stored.secrets.delete_many({})
    with pytest.raises(StorageUnavailableError):
        SecretStore().publish([secret])
    assert stored.secrets.count_documents({}) == 0


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


def test_a_secret_is_published_once() -> None:
    """A published secret is no longer pending."""
    secret = new_secret(name="a")
    SecretStore().hold_names([secret])
    SecretStore().publish([secret])
    with pytest.raises(StorageUnavailableError):
        SecretStore().publish([secret])


def test_withdrawing_keeps_published_names(stored: Stored, key: MasterKey) -> None:
    """Withdrawing removes an unnamed or unpublished secret; a published name stays."""
    unnamed = put(stored, key)
    pending = put(stored, key, name="pending", pending=True)
    published = put(stored, key, name="published")
    other = put(stored, key)
    assert SecretStore().withdraw([unnamed, pending, published]) == {published}
    assert {found["_id"] for found in stored.secrets.find()} == {published, other}
    assert SecretStore().withdraw([unnamed]) == set()


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
def test_a_rollback_removes_a_secret_that_may_be_stored(stored: Stored, is_sent: bool) -> None:
    """A rollback removes a secret that was sent to MongoDB; for any other, it asks MongoDB nothing."""
    secret = new_secret()
    SecretStore().publish([secret])
    secret.may_be_stored = is_sent
    SecretStore().roll_back([secret])
    assert stored.secrets.count_documents({}) == (0 if is_sent else 1)
