"""The stored form of a secret."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, encode
from pymongo.database import Database as MongoDatabase

from vault.core.errors import DecryptionError
from vault.crypto import Keyring, MasterKey
from vault.documents import Database, EncryptOnSave, Secret

OTHER = MasterKey(bytes(32))
PLAINTEXT = b"the plaintext nobody may find"


@pytest.fixture(autouse=True)
def hook(mongo_uri: str, keyring: Keyring) -> Iterator[EncryptOnSave]:
    database = Database(mongo_uri, audit_ttl_days=0)
    hook = EncryptOnSave(keyring)
    hook.connect()
    yield hook
    hook.disconnect()
    database.close()


def new_secret(number: int = 0) -> Secret:
    secret = Secret(id=f"550e8400-e29b-41d4-a716-44665544000{number}", created_at=datetime.now(UTC))
    secret.set_plaintext(PLAINTEXT)
    return secret


def test_saving_stores_no_plaintext(stored: MongoDatabase[dict[str, Any]], keyring: Keyring) -> None:
    """A secret stored by `save` contains no plaintext, and reads back unchanged."""
    new_secret().save()
    document = stored.secrets.find_one()
    assert document is not None
    assert PLAINTEXT not in encode(document)
    assert set(document) == {"_id", "namespace", "version", "envelope", "key_id", "created_at"}
    assert document["key_id"] == keyring.primary.id
    assert Secret.objects.get().decrypt(keyring) == PLAINTEXT


def test_inserting_in_bulk_stores_no_plaintext(
    stored: MongoDatabase[dict[str, Any]], keyring: Keyring
) -> None:
    """A secret stored by `objects.insert`, which sends another signal, is encrypted as well."""
    Secret.objects.insert([new_secret(1), new_secret(2)])
    assert stored.secrets.count_documents({}) == 2
    assert not any(PLAINTEXT in encode(document) for document in stored.secrets.find())
    assert [secret.decrypt(keyring) for secret in Secret.objects] == [PLAINTEXT] * 2


def test_without_the_hook_nothing_is_written(
    hook: EncryptOnSave, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A secret that is not encrypted cannot be saved: it has no field for its plaintext."""
    hook.disconnect()
    with pytest.raises(Exception, match="Field is required"):
        new_secret().save()
    assert stored.secrets.count_documents({}) == 0


def test_saving_again_keeps_the_value() -> None:
    """Saving a document with an unchanged value neither loses nor re-encrypts it."""
    secret = new_secret().save()
    before = secret.envelope
    secret.save()
    assert Secret.objects.get().envelope == before


@pytest.mark.parametrize(
    "change",
    [
        {"envelope": Binary(b"")},
        {"envelope": Binary(bytes(60))},
        {"version": 2},
        {"namespace": "other"},
        {"key_id": OTHER.id},
    ],
    ids=lambda change: str(change)[:24],
)
def test_a_changed_document_does_not_read(
    change: dict[str, Any], stored: MongoDatabase[dict[str, Any]], keyring: Keyring
) -> None:
    """A change in the database cannot alter the meaning of a ciphertext."""
    new_secret().save()
    stored.secrets.update_one({}, {"$set": change})
    with pytest.raises(DecryptionError):
        Secret.objects.get().decrypt(Keyring(keyring.primary, [OTHER]))


def test_ciphertexts_cannot_be_swapped(stored: MongoDatabase[dict[str, Any]], keyring: Keyring) -> None:
    """A ciphertext copied to another secret does not decrypt there."""
    new_secret(1).save()
    other = new_secret(2).save()
    stored.secrets.update_one({"_id": new_secret(1).id}, {"$set": {"envelope": Binary(other.envelope)}})
    with pytest.raises(DecryptionError):
        Secret.objects.get(id=new_secret(1).id).decrypt(keyring)


def test_a_representation_shows_no_plaintext() -> None:
    """The `repr` of a secret, as in debuggers and logs, does not show its value."""
    secret = new_secret()
    assert PLAINTEXT.decode() not in repr(secret) + str(secret.to_mongo())
