"""Shared helpers of the key rotation tests: master keys, and secrets encrypted with them."""

import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo.database import Database as MongoDatabase
from pymongo.errors import OperationFailure

from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import Database, Secret, registry
from vault.core.documents.registry import CLAIM_MILLISECONDS
from vault.core.documents.secret import SecretVersion, UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret

#: A database without this package's classes.
Stored = MongoDatabase[dict[str, Any]]


def new_key() -> MasterKey:
    """Return a new master key."""
    return MasterKey(secrets.token_bytes(32))


def text(key: MasterKey) -> str:
    """Return *key* as the environment holds it."""
    return b64encode(key._material).decode()


def settings(uri: str, primary: MasterKey, *fallbacks: MasterKey) -> dict[str, str]:
    """Return the environment of a replica on *uri* with these keys."""
    environment = {"MONGO_URI": uri, "MASTER_KEY": text(primary)}
    if fallbacks:
        environment["MASTER_KEY_FALLBACKS"] = ",".join(map(text, fallbacks))
    return environment


@contextmanager
def unprepared(uri: str, **options: Any) -> Iterator[Database]:
    """Connect the documents to *uri*."""
    database = Database(uri, **{"audit_ttl_days": 0, **options})
    try:
        yield database
    finally:
        database.close()


@contextmanager
def connected(uri: str) -> Iterator[Database]:
    """Connect the documents to *uri*, with all indexes, and with time for a slow machine."""
    with unprepared(uri, timeout_seconds=60) as database:
        # `prepare` waits for 3 s only, which is enough if they are built.
        database.build_indexes()
        database.prepare()
        yield database


def fill(stored: Stored, key: MasterKey, count: int) -> dict[str, bytes]:
    """Store *count* secrets with *key* and return their values by ID."""
    values = {str(uuid4()): secrets.token_bytes(24) for _ in range(count)}
    keyring = Keyring(key)
    documents = []
    for secret_id, value in values.items():
        secret = UnstoredSecret(id=secret_id, created_at=datetime.now(UTC))
        secret.set_plaintext(value)
        secret.encrypt(keyring)
        documents.append(secret.document())
    stored.secrets.insert_many(documents)
    return values


@contextmanager
def held(uri: str, stored: Stored, secret_id: str) -> Iterator[None]:
    """Block every other write to one secret until the block ends; nothing is changed."""
    with connected(uri):
        pass  # The creation of an index would wait, too.
    with stored.client.start_session() as session:
        while not session.in_transaction:
            session.start_transaction()
            try:
                stored.secrets.update_one({"_id": secret_id}, {"$set": {"held": True}}, session=session)
            except OperationFailure as error:
                # A concurrent write, which does not wait.
                assert error.has_error_label("TransientTransactionError")
                session.abort_transaction()
        yield
        session.abort_transaction()


def values(stored: Stored, *keys: MasterKey) -> dict[str, bytes]:
    """Return the value of every stored secret, as a replica with *keys* reads it.

    Each secret must name the key of its envelope; a secret with another key ID is lost.
    """
    found = {}
    for document in stored.secrets.find():
        assert document["envelope"][1:9].hex() == document["key_id"]
        found[document["_id"]] = StoredSecret(document).decrypt(Keyring(keys[0], keys[1:]))
    return found


def versioned(stored: Stored, *keys: MasterKey, **fields: Any) -> tuple[str, dict[int, bytes]]:
    """Store a secret with one version for each of *keys*; return its ID and its values by version."""
    secret = Secret(**{"id": str(uuid4()), "created_at": datetime.now(UTC), **fields})
    values = {version: b"value %d" % version for version, _ in enumerate(keys, 1)}
    made = [
        SecretVersion(
            version=version,
            envelope=Keyring(key).encrypt(values[version], secret.binding(version)),
            key_id=key.id,
            created_at=datetime.now(UTC),
        )
        for version, key in enumerate(keys, 1)
    ]
    secret.older, newest = made[:-1] or None, made[-1]
    secret.version, secret.envelope, secret.key_id = newest.version, newest.envelope, newest.key_id
    stored.secrets.insert_one(secret.to_mongo().to_dict())
    return str(secret.id), values


def versions_of(stored: Stored, secret_id: str, *keys: MasterKey) -> dict[int, bytes]:
    """Return the values of a secret's versions, as a replica with *keys* reads them."""
    document = stored.secrets.find_one({"_id": secret_id})
    assert document
    secret = StoredSecret(document)
    keyring = Keyring(keys[0], keys[1:])
    return {stored.version: secret.decrypt_version(stored, keyring) for stored in secret.versions}


def under(stored: Stored, key: MasterKey) -> int:
    """Return the number of secrets with the key ID of *key*."""
    return stored.secrets.count_documents({"key_id": key.id})


def age_claims(stored: Stored, milliseconds: int = CLAIM_MILLISECONDS + 1_000) -> None:
    """Age all claims by *milliseconds*, by default beyond their expiry."""
    then = datetime.now(UTC) - timedelta(milliseconds=milliseconds)
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"workers.$[].renewed_at": then}})
    stored["keys"].update_many({"worker": {"$exists": True}}, {"$set": {"renewed_at": then}})


def claim(keyring: Keyring) -> bool:
    """Claim as a new worker."""
    return registry.Worker(keyring).claim()


def elements(stored: Stored) -> list[dict[str, Any]]:
    """Return the elements of the document of the claims."""
    found = stored["keys"].find_one({"_id": "claims"})
    return list(found["workers"]) if found else []


def rows(printed: str) -> dict[str, list[str]]:
    """Return the rows that `keys status` *printed*, by key ID."""
    heading, *lines = printed.splitlines()
    assert heading.split("  ")[0] == "key id"
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {key_id: rest for key_id, *rest in cells}


def table(printed: str) -> dict[str, tuple[str, int, str]]:
    """Return role, secret versions and verdict from the output *printed* by `keys status`, by key ID."""
    return {key_id: (row[0], int(row[3]), row[4]) for key_id, row in rows(printed).items()}
