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
from vault.documents.expressions import has_readable_newest
from vault.documents.secret import SecretVersion, UnstoredSecret
from vault.documents.stored_secret import StoredSecret, VersionInfo

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
        "labels": ["env=prod"],
        "pending": True,
        "purge_at": now,
    }
    secret = UnstoredSecret(**fields)
    secret.set_plaintext(PLAINTEXT)
    Secret.insert_all([secret])
    document = stored.secrets.find_one()
    assert document is not None
    schema = Secret(**fields | {"older": [SecretVersion(**older)]})
    schema.envelope, schema.key_id = document["envelope"], keyring.primary.id
    assert encode(document) == encode(schema.to_mongo())
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT


@pytest.mark.parametrize("count", [1, 3])
def test_new_secrets_are_stored_together(
    stored: MongoDatabase[dict[str, Any]], keyring: Keyring, count: int
) -> None:
    """One new secret, or several, are all stored, each encrypted."""
    secrets = []
    for number in range(count):
        secret = UnstoredSecret(
            id=f"550e8400-e29b-41d4-a716-44665544000{number}", created_at=datetime.now(UTC)
        )
        secret.set_plaintext(PLAINTEXT)
        secrets.append(secret)
    Secret.insert_all(secrets)
    documents = list(stored.secrets.find())
    assert [StoredSecret(document).decrypt(keyring) for document in documents] == [PLAINTEXT] * count


def test_new_secrets_have_the_fields_of_the_schema() -> None:
    """Each field of a new secret is one of the schema, which adds those that only later changes set."""
    fields = set(UnstoredSecret.__dataclass_fields__) - {"may_be_stored"}
    assert fields | {"reads", "deleted_at"} == set(Secret._fields)


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
        *("states", "metadata_version"),
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
    assert type(stored.is_readable(stored.version, NOW)) is bool
    assert type(stored.metadata_version) is int
    assert stored.states == []
    for info in stored.infos:
        assert type(info.version) is int
        assert isinstance(info.created_at, datetime | None)
    try:
        assert stored.decrypt(keyring) == PLAINTEXT
    except (DecryptionError, KeyMissingError):
        assert field in (
            *("_id", "namespace", "version", "envelope", "key_id", "expires_at", "max_reads", "name"),
        )


def state(version: object = 1, **fields: object) -> dict[str, object]:
    """Return the stored state of a version."""
    return {"version": version, "created_at": NOW, "deleted_at": None, **fields}


@pytest.mark.parametrize(
    "state",
    [
        *({"reads": "many"}, {"deleted_at": "yes"}, {"pending": "yes"}),
        *(
            {"states": "many"},
            {"states": None},
            {"states": {"version": 1}},
            {"states": [1]},
            {"states": [{}]},
        ),
        *({"states": [state(True)]}, {"states": [state(1.0)]}, {"states": [state(created_at="yes")]}),
        *({"states": [state(deleted_at=5)]}, {"states": [state(), {"version": 2}]}),
    ],
    ids=str,
)
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


def with_versions(**fields: Any) -> StoredSecret:
    """Return a secret with the versions 2 to 4, whose times are their numbers in minutes."""
    older = [{"version": number, "created_at": at(number)} for number in (2, 3)]
    return StoredSecret({"version": 4, "created_at": at(1), "updated_at": at(4), "older": older, **fields})


def at(minute: int) -> datetime:
    return NOW.replace(minute=minute)


def test_infos_are_of_all_versions() -> None:
    """Kept and purged versions are listed newest first, with times and states."""
    stored = with_versions(
        states=[state(3, created_at=at(3), deleted_at=at(9)), state(1, created_at=at(1))], purged=[1]
    )
    assert stored.infos == [
        VersionInfo(version=4, created_at=at(4)),
        VersionInfo(version=3, created_at=at(3), deleted_at=at(9)),
        VersionInfo(version=2, created_at=at(2)),
        VersionInfo(version=1, created_at=at(1), is_purged=True),
    ]
    assert [info.stored_state() for info in stored.infos if info.version in (1, 3)] == [
        state(3, created_at=at(3), deleted_at=at(9)),
        state(1, created_at=at(1)),
    ]


def test_versions_that_an_earlier_release_purged_have_no_time() -> None:
    """A purged number without a state is listed, with an unknown time."""
    stored = with_versions(purged=[1])
    assert stored.infos[-1] == VersionInfo(version=1, created_at=None, is_purged=True)
    assert stored.states == []


def test_a_state_of_a_later_release_is_read() -> None:
    """During a rolling update, a state with a further field is read without it."""
    stored = with_versions(states=[state(2, deleted_at=at(9), reason="unknown")])
    assert stored.is_visible(NOW)
    assert stored.infos[2] == VersionInfo(version=2, created_at=at(2), deleted_at=at(9))


def test_what_is_not_a_version_is_not_listed() -> None:
    """States and purged numbers of other versions, and malformed older versions, have no part in a list."""
    states = [state(number, deleted_at=at(9)) for number in (0, -1, 5, 2**62)]
    stored = with_versions(states=states, purged=[0, -1, 5, True, 2**62])
    assert [info.version for info in stored.infos] == [4, 3, 2]
    assert stored.purged_versions == []
    assert [version.version for version in StoredSecret({"version": 1, "older": [{}, 5]}).older] == [-1]


@pytest.mark.parametrize(
    ("fields", "is_readable"),
    [
        ({}, True),
        ({"states": [state(4, deleted_at=at(30))]}, False),
        ({"states": [state(4, deleted_at=at(31))]}, True),
        ({"states": [state(4)]}, True),
        ({"states": [state(3, deleted_at=at(1))]}, True),
        ({"purged": [4]}, False),
        ({"purged": [3]}, True),
    ],
    ids=str,
)
def test_a_version_is_readable_unless_deleted_or_purged(fields: dict[str, Any], is_readable: bool) -> None:
    """A version is readable until the time of its deletion, or its purge, and others do not matter."""
    assert with_versions(**fields).is_readable(4, at(30)) is is_readable


@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"version": 0}, {"version": 1}, {"purged": [1]}, {"purged": [2]}, {"purged": 1}, {"states": 1}),
        *({"version": 2, "states": [state(2, deleted_at=NOW)]}, {"version": 2, "states": [state(2)]}),
        *({"states": [state(1, deleted_at=NOW)]}, {"states": [state(2, deleted_at=NOW)]}),
        {"states": [state(1, deleted_at=NOW.replace(year=2027))]},
        {"states": [5, "text", [state(1)], {}, state(1, deleted_at=NOW)]},
    ],
    ids=str,
)
def test_the_condition_for_readable_secrets_agrees(
    stored: MongoDatabase[dict[str, Any]], fields: dict[str, Any]
) -> None:
    """MongoDB finds by the condition exactly the secrets whose newest version is readable."""
    stored.secrets.insert_one({"_id": "a", **fields})
    found = StoredSecret({"_id": "a", **fields})
    # Malformed states hide a secret, which decides alone.
    if found.states or "states" not in fields:
        expected = found.version > 0 and found.is_readable(found.version, NOW)
        assert stored.secrets.count_documents(has_readable_newest(NOW)) == expected
    else:
        assert stored.secrets.count_documents(has_readable_newest(NOW)) in (0, 1)


def test_a_secret_without_a_value_decrypts(keyring: Keyring) -> None:
    """The empty value of version 0 verifies, and that of a missing or negative version does not."""
    secret = Secret(id=new_secret().id, created_at=NOW, version=0)
    secret.set_plaintext(b"")
    secret.encrypt(keyring)
    document = secret.to_mongo().to_dict()
    assert StoredSecret(document).decrypt(keyring) == b""
    for version in (-1, None, True, "0"):
        with pytest.raises(DecryptionError):
            StoredSecret({**document, "version": version}).decrypt(keyring)
