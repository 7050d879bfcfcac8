"""`secret-manager replicaset`, run as in a deployment."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.access_control import locked_mongod
from tests.support.commands import Done, invoke
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process

Run = Callable[..., Done]


@pytest.fixture
def initiate(tmp_path: Path) -> Run:
    """Return a function that runs `initiate` with MONGO_URI, or another setting, and no master key."""

    def run(*arguments: object, **environment: str) -> Done:
        return invoke("replicaset", "initiate", *arguments, environment=environment, folder=tmp_path)

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return the members' key file."""
    file = tmp_path / "key"
    file.write_text("some+key+of+members\n")
    file.chmod(0o400)
    return file


@pytest.fixture
def locked(tmp_path: Path, key_file: Path) -> Iterator[Mongod]:
    """Run one server with access control that is in no set yet."""
    options = ("--keyFile", str(key_file))
    server = Mongod(tmp_path / "db", replica_set="rs0", options=options, initiate=False)
    server.start()
    yield server
    server.kill()


def test_files_alone_create_the_set(initiate: Run, locked: Mongod, key_file: Path, tmp_path: Path) -> None:
    """With connection string, key and password in files the set is created, and nothing secret printed.

    `status` shows each member, and exits with 1 until the set is complete; it takes no password.
    """

    def status(*options: str) -> Done:
        words = ("replicaset", "status", "--json", *options)
        return invoke(*words, environment={"MONGO_URI": locked.uri}, folder=tmp_path)

    done = status("--wait", "1s")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"member": locked.address, "state": "not in step"}
    assert done.stderr.startswith("error: the replica set is not complete. Hint: ")
    uri, password = tmp_path / "uri", tmp_path / "password"
    uri.write_text(locked.uri.replace("//", "//app:hunter2@") + "\n")
    password.write_text("hunter2root\n")
    options = ("--key-file", key_file, "--root-password-file", password)
    for _ in range(2):
        done = initiate(*options, MONGO_URI_FILE=str(uri))
        assert (done.returncode, done.stdout, done.stderr) == (
            *(0, "The replica set is ready.\n", "warning: 1 member: no node may be lost\n"),
        )
    done = status()
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"member": locked.address, "state": "primary"}


def test_half_of_access_control_is_refused(initiate: Run, key_file: Path) -> None:
    """The key file without root's password is refused as wrong usage."""
    done = initiate("--key-file", key_file)
    assert done.returncode == 2
    assert "belong together" in done.stderr


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"MONGO_URI": "http://somewhere"}, "must be mongodb://"),
        ({"MONGO_URI_FILE": "/nowhere"}, "MONGO_URI_FILE names a file that does not exist."),
        ({}, "MONGO_URI does not name a replica set"),
        ({"MONGO_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0", "AUDIT_TTL_DAYS": "-1"}, "AUDIT_TTL_DAYS"),
    ],
)
def test_a_wrong_setting_is_one_message(initiate: Run, environment: dict[str, str], reason: str) -> None:
    """The message names the error in MONGO_URI, or in the retention, and no master key is needed."""
    done = initiate(**environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "MASTER_KEY" not in done.stderr


@pytest.mark.promise(3)
def test_an_existing_deployment_is_narrowed(tmp_path: Path) -> None:
    """An administrator's connection string gives MONGO_URI's user exactly the service's privileges."""
    with locked_mongod(tmp_path) as locked, MongoClient[Any](locked.root) as root:
        root.vault.command("createUser", "app", pwd="hunter2", roles=["dbOwner"])
        ours = locked.uri("app:hunter2")
        administrator = tmp_path / "administrator"
        administrator.write_text(locked.root + "\n")

        def grant(uri: str, **environment: str) -> Done:
            options = ("--admin-uri-file", administrator)
            settings = {"MONGO_URI": uri, **environment}
            return invoke("replicaset", "grant", *options, environment=settings, folder=tmp_path)

        for days in ("9", "90"):
            done = grant(ours, AUDIT_TTL_DAYS=days)
            assert (done.returncode, done.stdout, done.stderr) == (0, "The privileges are granted.\n", "")
            retention = root.vault.audit_logs.index_information()["retention"]
            assert retention["expireAfterSeconds"] == int(days) * 86_400
        [user] = root.vault.command("usersInfo", "app")["users"]
        assert user["roles"] == [{"role": "secret-manager", "db": "vault"}]
        # A user without a password in MONGO_URI keeps its existing one.
        assert grant(locked.uri("app")).returncode == 0
        with MongoClient[Any](ours) as client:
            client.vault.audit_logs.insert_one({})
            with pytest.raises(OperationFailure, match="not authorized"):
                client.vault.audit_logs.delete_many({})
        # That user is not an administrator.
        administrator.write_text(ours)
        done = grant(ours)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("error: the privileges were not granted: OperationFailure 13. Hint: ")


_OURS = "mongodb://app:secret@127.0.0.1:1"
_NOT_GRANTED = "the privileges were not granted: "


@pytest.mark.parametrize(
    ("ours", "administrator", "code", "problem"),
    [
        (_OURS, "mongodb://root:hunter2@127.0.0.1:1:2", 1, _NOT_GRANTED),
        (_OURS, "hunter2", 5, _NOT_GRANTED),
        ("mongodb://127.0.0.1:1", "", 1, "MONGO_URI must name the user"),
    ],
    ids=["invalid", "host", "no user"],
)
def test_a_grant_that_cannot_work_is_one_message(
    ours: str, administrator: str, code: int, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid connection string gives one message, which does not quote it."""
    monkeypatch.setattr("vault.features.mongodb.service_user._TIMEOUT_MILLISECONDS", 300)
    file = tmp_path / "administrator"
    file.write_text(administrator)
    options = ("--admin-uri-file", file)
    environment = {"MONGO_URI": ours}
    done = invoke("replicaset", "grant", *options, environment=environment, folder=tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith(f"error: {problem}")
    assert "hunter2" not in done.stderr
