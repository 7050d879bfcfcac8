"""Without permission to write the audit trail, the service returns no secrets and reports the reason."""

import secrets
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.cli.waiting import wait_until
from tests.support.problems import fields_of
from tests.support.rotation import new_key, settings
from tests.support.service import Service
from tests.support.written_trail import findings
from vault.cli.dev.mongod import Mongod
from vault.crypto import MasterKey
from vault.crypto.chain import SigningKey
from vault.documents.audit import record_of

PLAINTEXT = b"the plaintext nobody may get"
PASSWORD = secrets.token_hex(16)
#: Everything the service needs, except permission to write the trail.
PRIVILEGES: list[dict[str, Any]] = [
    {
        "resource": {"db": "vault", "collection": collection},
        "actions": ["find", "insert", "update", "remove", "createIndex", "collMod"],
    }
    for collection in (
        *("secrets", "keys", "audit_keys", "idempotency_keys", "tokens", "token_keys", "issuers", "roles"),
    )
] + [
    {
        "resource": {"db": "vault", "collection": "audit_logs"},
        "actions": ["find", "createIndex", "collMod"],
    }
]
WRITING = [{"resource": {"db": "vault", "collection": "audit_logs"}, "actions": ["insert"]}]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mongod]:
    """Run a MongoDB that requires authentication, with an administrator and the service's user."""
    key_file = tmp_path / "key"
    key_file.write_text(secrets.token_hex(64))
    key_file.chmod(0o600)
    data = tmp_path / "db"
    with Mongod(data) as open_to_all, MongoClient[Any](open_to_all.uri) as client:
        client.admin.command("createUser", "admin", pwd=PASSWORD, roles=["root"])
        client.vault.command("createRole", "service", privileges=PRIVILEGES, roles=[])
        client.vault.command("createUser", "service", pwd=PASSWORD, roles=["service"])
        port = open_to_all.port
    with Mongod(data, port=port, options=("--auth", "--keyFile", str(key_file)), initiate=False) as mongod:
        yield mongod


def uri(mongod: Mongod, user: str, database: str) -> str:
    return mongod.uri.replace("//", f"//{user}:{PASSWORD}@").replace("/?", f"/{database}?")


def environment(mongod: Mongod, key: MasterKey) -> dict[str, str]:
    return settings(uri(mongod, "service", "vault"), key) | {"WEB_CONCURRENCY": "1"}


@pytest.mark.promise(3)
def test_without_permission_to_write_the_trail_nothing_leaves(guarded: Mongod, tmp_path: Path) -> None:
    """Create and fetch return 503, readiness names the trail, and granting the role restores the service."""
    key = new_key()
    with (
        MongoClient[Any](uri(guarded, "admin", "admin"), tz_aware=True) as admin,
        Service(environment(guarded, key), folder=tmp_path) as service,
    ):

        def allow(writing: bool) -> None:
            command = "grantPrivilegesToRole" if writing else "revokePrivilegesFromRole"
            admin.vault.command(command, "service", privileges=WRITING)

        def checks() -> list[str]:
            reply = service.get("/health/ready")
            return fields_of(reply.body) if reply.status == 503 else ["ready"]

        wait_until(lambda: checks() == ["ready"])
        allow(True)
        secret_id = service.create(PLAINTEXT)
        entries = admin.vault.audit_logs.count_documents({})
        allow(False)
        for _ in range(2):
            for reply in (
                service.fetch(secret_id),
                service.post("/vault/secret/create/", {"secret": b64encode(b"another").decode()}),
            ):
                assert reply.status == 503
                assert reply.headers["Retry-After"]
                assert not {"secret", "secret_id"} & set(reply.body)
                for form in (PLAINTEXT.decode(), b64encode(PLAINTEXT).decode(), PLAINTEXT.hex()):
                    assert form not in str(reply)
            assert checks() == ["audit"]
        assert service.get("/health/live").status == 200
        assert admin.vault.audit_logs.count_documents({}) == entries
        allow(True)
        wait_until(lambda: checks() == ["ready"])
        assert service.fetch(secret_id).body == {"secret": b64encode(PLAINTEXT).decode()}
        assert service.create(b"another")
        public = SigningKey(key).public
        order = [("stream", 1), ("seq", 1)]
        records = [record_of(document) for document in admin.vault.audit_logs.find().sort(order)]
        assert findings(records, {public.signer: public}) == []
        assert [record["status"] for record in records if record["action"] == "fetch"] == ["success"]
    assert PASSWORD not in service.log.read_text()
