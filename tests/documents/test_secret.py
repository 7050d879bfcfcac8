"""The stored form of a secret."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, encode
from pymongo.database import Database as MongoDatabase

from vault.core.errors import DecryptionError, KeyMissingError
from vault.crypto import Keyring, MasterKey
from vault.documents import Database, EncryptOnSave, Secret
from vault.documents.secret import StoredSecret

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


def found(query: dict[str, Any]) -> StoredSecret:
    secret = Secret.find(query)
    assert secret
    return secret


def test_saving_stores_no_plaintext(stored: MongoDatabase[dict[str, Any]], keyring: Keyring) -> None:
    """A secret stored by `save` contains no plaintext, and reads back unchanged."""
    new_secret().save()
    document = stored.secrets.find_one()
    assert document is not None
    assert PLAINTEXT not in encode(document)
    assert set(document) == {"_id", "namespace", "version", "envelope", "key_id", "created_at"}
    assert document["key_id"] == keyring.primary.id
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT


def test_inserting_in_bulk_stores_no_plaintext(
    stored: MongoDatabase[dict[str, Any]], keyring: Keyring
) -> None:
    """A secret stored by `objects.insert`, which sends another signal, is encrypted as well."""
    Secret.objects.insert([new_secret(1), new_secret(2)])
    assert stored.secrets.count_documents({}) == 2
    documents = list(stored.secrets.find())
    assert not any(PLAINTEXT in encode(document) for document in documents)
    assert [StoredSecret(document).decrypt(keyring) for document in documents] == [PLAINTEXT] * 2


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
        found({}).decrypt(Keyring(keyring.primary, [OTHER]))


def test_ciphertexts_cannot_be_swapped(stored: MongoDatabase[dict[str, Any]], keyring: Keyring) -> None:
    """A ciphertext copied to another secret does not decrypt there."""
    new_secret(1).save()
    other = new_secret(2).save()
    stored.secrets.update_one({"_id": new_secret(1).id}, {"$set": {"envelope": Binary(other.envelope)}})
    with pytest.raises(DecryptionError):
        found({"_id": new_secret(1).id}).decrypt(keyring)


def test_a_representation_shows_no_plaintext() -> None:
    """The `repr` of a secret, as in debuggers and logs, does not show its value."""
    secret = new_secret()
    assert PLAINTEXT.decode() not in repr(secret) + str(secret.to_mongo())


NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
OF_OTHER_TYPES: list[object] = ["text", 5, 1.5, True, [], ["text"], {}, {"version": 1}, b"bytes", NOW]


@pytest.mark.parametrize("value", OF_OTHER_TYPES, ids=str)
@pytest.mark.parametrize(
    "field",
    [
        *("_id", "namespace", "version", "envelope", "key_id", "created_at", "updated_at", "older", "purged"),
        *("expires_at", "max_reads", "reads", "name", "labels", "deleted_at", "pending", "purge_at"),
    ],
)
def test_a_field_of_any_type_is_decoded(keyring: Keyring, field: str, value: object) -> None:
    """Attributes have their declared types whatever a field holds; decryption raises its own errors only."""
    secret = new_secret()
    secret.encrypt(keyring)
    stored = StoredSecret({**secret.to_mongo().to_dict(), field: value})
    assert isinstance(stored.id, str)
    assert isinstance(stored.namespace, str)
    assert isinstance(stored.name, str | None)
    for number in (stored.max_reads, stored.reads, stored.version, *stored.purged_versions):
        assert number is None or type(number) is int
    for time in (stored.created_at, stored.newest.created_at, stored.expires_at, stored.deleted_at):
        assert isinstance(time, datetime | None)
    for version in stored.versions:
        assert isinstance(version.envelope, bytes)
        assert isinstance(version.key_id, str)
    assert all(isinstance(text, str) for label in stored.labels.items() for text in label)
    assert type(stored.is_visible(NOW)) is type(stored.is_restorable(NOW)) is bool
    try:
        assert stored.decrypt(keyring) == PLAINTEXT
    except (DecryptionError, KeyMissingError):
        assert field in (
            *("_id", "namespace", "version", "envelope", "key_id", "expires_at", "max_reads", "name"),
        )


@pytest.mark.parametrize("state", [{"reads": "many"}, {"deleted_at": "yes"}, {"pending": "yes"}], ids=str)
def test_an_unknown_state_hides_a_secret(keyring: Keyring, state: dict[str, Any]) -> None:
    """A secret whose state the service did not write is hidden from readers, and its value still decrypts."""
    secret = new_secret()
    secret.encrypt(keyring)
    document = secret.to_mongo().to_dict()
    assert StoredSecret(document).is_visible(NOW)
    stored = StoredSecret(document | state)
    assert not stored.is_visible(NOW)
    assert stored.decrypt(keyring) == PLAINTEXT


def test_missing_fields_of_the_first_release_have_defaults(keyring: Keyring) -> None:
    """A document without a namespace and a version is the first version, in the default namespace."""
    secret = new_secret()
    secret.encrypt(keyring)
    document = secret.to_mongo().to_dict()
    del document["namespace"], document["version"]
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT
