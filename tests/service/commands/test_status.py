"""The command `status`: one look at the installation."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Done, invoke
from tests.support.installation import Installation
from tests.support.rotation import Stored, age_claims, new_key, text

KEY = new_key()


@pytest.fixture
def installation(mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Return an installation in which all is well."""
    monkeypatch.setattr("vault.core.documents.primary.MIN_MEMBERS", 1)
    environment = {"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY), "AUTH_ENABLED": "true"}
    made = Installation(environment, stored, KEY)
    made.build()
    return made


def status(folder: Path, environment: dict[str, str], *options: str) -> Done:
    return invoke("status", *options, environment=environment, folder=folder)


def test_the_exit_code_is_the_worst_line(installation: Installation, tmp_path: Path) -> None:
    """0 if all is well, 3 if a line needs a look, 5 if the service does not serve; nothing is changed."""
    before = [*installation.stored.audit_logs.find()], [*installation.stored["keys"].find()]
    done = status(tmp_path, installation.environment)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["subject", "state", "text"]
    assert lines[0].startswith("replicas      well")
    done = status(tmp_path, installation.environment | {"CORS_ORIGINS": "*"})
    assert (done.returncode, "settings      look   CORS_ORIGINS" in done.stdout) == (3, True)
    assert ([*installation.stored.audit_logs.find()], [*installation.stored["keys"].find()]) == before
    age_claims(installation.stored)
    assert status(tmp_path, installation.environment).returncode == 5


def test_json_has_an_object_for_each_line(installation: Installation, tmp_path: Path) -> None:
    """`--json` has the same lines, each with the page that helps."""
    done = status(tmp_path, installation.environment, "--json", "-q")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"subject": "replicas", "state": "well"}.items() <= found[0].items()
    assert all(line.keys() == {"subject", "state", "text", "page"} for line in found)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process wait for no server."""
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("vault.core.documents.members._TIMEOUT_MILLISECONDS", 50)


@pytest.mark.usefixtures("impatient")
def test_without_mongodb_a_line_says_so(tmp_path: Path) -> None:
    """Without MongoDB, a line has the reason, without the password, and the exit code is 5."""
    environment = {"MASTER_KEY": text(KEY), "MONGO_URI": "mongodb://user:hunter2@127.0.0.1:1/vault"}
    done = status(tmp_path, environment, "--json")
    first, *others = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, done.stderr, [one["subject"] for one in others]) == (5, "", ["certificates"])
    assert (first["subject"], first["state"], first["page"]) == (
        *("mongodb", "down", "docs/runbook.md#symptoms"),
    )
    assert "127.0.0.1:1" in first["text"]
    assert "hunter2" not in done.stdout


def test_a_user_whom_mongodb_denies_is_a_line(mongo_uri: str, tmp_path: Path) -> None:
    """If MongoDB does not accept the user, the line says that."""
    denied = mongo_uri.replace("mongodb://", "mongodb://unknown:wrong@")
    done = status(tmp_path, {"MASTER_KEY": text(KEY), "MONGO_URI": denied}, "--json")
    first = json.loads(done.stdout.splitlines()[0])
    assert (done.returncode, first["state"]) == (5, "down")
    assert first["page"] == "docs/mongodb.md#the-mongodb-user"
    assert first["text"] == "MongoDB refuses the user or the password in MONGO_URI"


def test_invalid_settings_are_the_error_of_all_commands(tmp_path: Path) -> None:
    """Without valid settings there is nothing to look at."""
    done = status(tmp_path, {"MASTER_KEY": "short"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "MASTER_KEY" in done.stderr
