"""The records of a database that a backup keeps: its keys, the state of its trail, authentication."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app, start
from tests.support.commands import Done, invoke
from tests.support.databases import history
from tests.support.problems import fields_of
from tests.support.rotation import Stored, new_key, settings

KEY, WRONG = new_key(), new_key()
CREATE = ("tokens", "create", "--role", "admin", "--name", "ci")
AUDITED, UNAUDITED = {"AUDIT_ENABLED": "true"}, {"AUDIT_ENABLED": "false"}
SECURED, OPEN = {"AUTH_ENABLED": "true"}, {"AUTH_ENABLED": "false"}


class Desk:
    """Commands and services on one database."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri = uri
        self._folder = folder

    def run(self, *arguments: str, key: Any = KEY, **environment: str) -> Done:
        """Run a command."""
        return invoke(*arguments, environment=settings(self._uri, key) | environment, folder=self._folder)

    def unready(self, **environment: str) -> list[str]:
        """Return the failing checks of a service that starts, and stops."""
        with running_app(settings(self._uri, KEY) | environment) as app:
            start(app)
            found: list[str] = fields_of(app.test_client().get("/health/ready").json)
            return found


@pytest.fixture
def desk(mongo_uri: str, tmp_path: Path) -> Any:
    with history(mongo_uri):
        yield Desk(mongo_uri, tmp_path)


@pytest.mark.promise(6)
def test_a_wrong_key_damages_no_backup(desk: Desk) -> None:
    """After commands with a throwaway key, a backup is valid."""
    assert desk.run(*CREATE).returncode == 0
    for arguments in (CREATE, ("backup", "wrong.tar")):
        assert desk.run(*arguments, key=WRONG).returncode == 1
    assert desk.run("backup", "b.tar").returncode == 0
    done = desk.run("drill", "b.tar")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the backup is good")


@pytest.mark.promise(3)
def test_auditing_is_not_disabled_as_a_side_effect(desk: Desk, stored: Stored, tmp_path: Path) -> None:
    """With `AUDIT_ENABLED=false`, there is no backup of a database that has a trail."""
    assert desk.run(*CREATE).returncode == 0
    before = list(stored.audit_logs.find())
    done = desk.run("backup", "b.tar", **UNAUDITED)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUDIT_ENABLED is off, but this database has an audit trail" in done.stderr
    assert list(stored.audit_logs.find()) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.new_database
@pytest.mark.parametrize(("own", "other"), [(UNAUDITED, AUDITED), (AUDITED, UNAUDITED)], ids=["off", "on"])
def test_a_backup_contains_the_state_of_the_trail(
    desk: Desk, stored: Stored, own: dict[str, str], other: dict[str, str]
) -> None:
    """A restore requires the backup's state to equal its own, and writes it to the database."""
    assert desk.unready() == []
    if own is UNAUDITED:
        assert desk.run("audit", "disable").returncode == 0
    assert desk.run("backup", "b.tar", **own).returncode == 0
    stored.client.drop_database(stored.name)
    done = desk.run("restore", "b.tar", **other)
    assert (done.returncode, "AUDIT_ENABLED is" in done.stderr) == (1, True)
    assert stored.list_collection_names() == []
    done = desk.run("restore", "b.tar", **own)
    assert done.returncode == 0, done.stderr
    assert desk.unready(**own) == []
    assert desk.unready(**other) == ["audit"]


@pytest.mark.new_database
def test_a_backup_contains_the_record_of_authentication(desk: Desk, stored: Stored) -> None:
    """After a restore of a secured database, with either setting, none serves without authentication."""
    assert desk.unready(**SECURED) == []
    assert desk.run("backup", "b.tar").returncode == 0
    stored.client.drop_database(stored.name)
    done = desk.run("restore", "b.tar", **OPEN)
    assert done.returncode == 0, done.stderr
    assert desk.unready(**OPEN) == ["auth"]
    assert desk.unready(**SECURED) == []
