"""The stored form of a secret."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import encode
from pymongo.database import Database as MongoDatabase

from vault.common.attributes import ATTRIBUTES, Description
from vault.core.crypto import Keyring
from vault.core.documents import Database, EncryptOnSave, Secret
from vault.core.documents.secret import DOCUMENT_FIELDS, SecretVersion, UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret

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


@pytest.mark.promise(1)
def test_saving_stores_no_plaintext(stored: MongoDatabase[dict[str, Any]], keyring: Keyring) -> None:
    """A secret stored by `save` contains no plaintext, and reads back unchanged."""
    new_secret().save()
    document = stored.secrets.find_one()
    assert document is not None
    assert PLAINTEXT not in encode(document)
    assert set(document) == {"_id", "namespace", "version", "envelope", "key_id", "created_at"}
    assert document["key_id"] == keyring.primary.id
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT


@pytest.mark.promise(1)
def test_inserting_in_bulk_stores_no_plaintext(
    stored: MongoDatabase[dict[str, Any]], keyring: Keyring
) -> None:
    """A secret stored by `objects.insert`, which sends another signal, is encrypted as well."""
    Secret.objects.insert([new_secret(1), new_secret(2)])
    assert stored.secrets.count_documents({}) == 2
    documents = list(stored.secrets.find())
    assert not any(PLAINTEXT in encode(document) for document in documents)
    assert [StoredSecret(document).decrypt(keyring) for document in documents] == [PLAINTEXT] * 2


def test_a_new_secret_is_stored_as_its_schema_says(
    stored: MongoDatabase[dict[str, Any]], keyring: Keyring
) -> None:
    """A new secret is stored with the same bytes as MongoEngine would store it, except for the ciphertext."""
    now = datetime.now(UTC)
    described = Description({one.name: one.example for one in ATTRIBUTES})
    older = {"version": 1, "envelope": b"e", "key_id": "k", "created_at": now}
    fields: dict[str, Any] = {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "namespace": "team",
        "version": 2,
        "created_at": now,
        "updated_at": now,
        "older": [older],
        "purged": [1],
        "states": [{"version": 1, "created_at": now, "deleted_at": None}],
        "metadata_version": 3,
        "rules": {"cas_required": True},
        "expires_at": now,
        "max_reads": 4,
        "name": "a/b",
        "use_rules": [{"hosts": ["api.example.com"]}],
        **described.stored,
        "pending": True,
        "purge_at": now + timedelta(days=1),
    }
    unstored = {name: value for name, value in fields.items() if name not in described.stored}
    secret = UnstoredSecret(**unstored, description=described)
    secret.set_plaintext(PLAINTEXT)
    assert {"id", "envelope", "key_id", *fields} == {"id", *DOCUMENT_FIELDS}, "give it a value above"
    Secret.insert_all([secret])
    document = stored.secrets.find_one()
    assert document is not None
    schema = Secret(**fields | {"older": [SecretVersion(**older)]})
    schema.envelope, schema.key_id = document["envelope"], keyring.primary.id
    assert encode(document) == encode(schema.to_mongo())
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT


def test_new_secrets_have_the_fields_of_the_schema() -> None:
    """Each field of a new secret is one of the schema, which adds those that only later changes set."""
    assert {"id", *DOCUMENT_FIELDS} | {"reads", "deleted_at", "tries"} == set(Secret._fields)


def test_a_new_secret_is_not_stored_without_the_hook(
    hook: EncryptOnSave, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A new secret that is not encrypted cannot be stored."""
    hook.disconnect()
    secret = UnstoredSecret(id="550e8400-e29b-41d4-a716-446655440000", created_at=datetime.now(UTC))
    secret.set_plaintext(PLAINTEXT)
    with pytest.raises(AttributeError):
        Secret.insert_all([secret])
    assert stored.secrets.count_documents({}) == 0
    assert PLAINTEXT.decode() not in repr(secret)


@pytest.mark.promise(1)
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


def test_a_representation_shows_no_plaintext() -> None:
    """The `repr` of a secret, as in debuggers and logs, does not show its value."""
    secret = new_secret()
    assert PLAINTEXT.decode() not in repr(secret) + str(secret.to_mongo())
