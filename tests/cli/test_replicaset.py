"""`secret-manager replicaset`, as a deployment runs it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Done, run_command
from vault.cli.mongod import Mongod

Run = Callable[..., Done]


@pytest.fixture
def initiate(tmp_path: Path) -> Run:
    """Return what runs `initiate` with MONGO_URI, or another setting, and no master key."""

    def run(*arguments: object, **environment: str) -> Done:
        return run_command("replicaset", "initiate", *arguments, environment=environment, folder=tmp_path)

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


def test_it_is_made_of_files_alone(initiate: Run, locked: Mongod, key_file: Path, tmp_path: Path) -> None:
    """With connection string, key and password in files the set is there, and nothing secret is printed."""
    uri, password = tmp_path / "uri", tmp_path / "password"
    uri.write_text(locked.uri.replace("//", "//app:hunter2@") + "\n")
    password.write_text("hunter2root\n")
    options = ("--key-file", key_file, "--root-password-file", password)
    for _ in range(2):
        done = initiate(*options, MONGO_URI_FILE=str(uri))
        assert (done.returncode, done.stdout, done.stderr) == (0, "The replica set is ready.\n", "")


def test_half_of_access_control_is_refused(initiate: Run, key_file: Path) -> None:
    """The key file without the password of root is a mistake of whoever calls."""
    done = initiate("--key-file", key_file)
    assert done.returncode == 2
    assert "belong together" in done.stderr


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"MONGO_URI": "http://somewhere"}, "must be mongodb://"),
        ({"MONGO_URI_FILE": "/nowhere"}, "MONGO_URI_FILE does not name a readable text file."),
        ({}, "MONGO_URI must name the replica set"),
    ],
)
def test_a_wrong_connection_string_is_one_message(
    initiate: Run, environment: dict[str, str], reason: str
) -> None:
    """What is wrong with MONGO_URI is said, and no master key is asked for."""
    done = initiate(**environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "MASTER_KEY" not in done.stderr
