"""The command `backup schedule`."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from tests.features.backup.schedules import require_good
from tests.support.commands import Done, invoke, start_command
from tests.support.databases import history
from tests.support.rotation import Stored, fill, new_key, settings
from vault.core.crypto import Keyring

pytestmark = pytest.mark.process

KEY = new_key()
Run = Callable[..., Done]


@pytest.fixture
def environment(mongo_uri: str, stored: Stored) -> Iterator[dict[str, str]]:
    fill(stored, KEY, 3)
    with history(mongo_uri):
        yield settings(mongo_uri, KEY)


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Run:
    """Return what runs `backup` in a folder of its own."""

    def command(*arguments: object, **changes: str) -> Done:
        return invoke("backup", *arguments, environment=environment | changes, folder=tmp_path)

    return command


def test_backup_is_a_command_and_a_group(command: Run, tmp_path: Path) -> None:
    """`backup FILE` makes one backup, also in a file with the name of a command."""
    assert command("./schedule").returncode == 0
    assert command("--overwrite", "schedule.tar").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["schedule", "schedule.tar"]
    shown = command("--help").stdout
    assert "Usage: secret-manager backup [OPTIONS] FILE\n" in shown
    assert "schedule  Make backups regularly" in shown
    assert "secret-manager backup schedule [OPTIONS]\n" in command("schedule", "--help").stdout
    for arguments in ([], ["a", "b"], ["schedule"]):
        assert command(*arguments).returncode == 2


def test_a_timer_makes_a_copy_each_time(command: Run, environment: dict[str, str], tmp_path: Path) -> None:
    """With `--once`, it does what is due, and says what is the newest copy; then nothing is due."""
    once = ("schedule", "--to", tmp_path, "--once", "--drill-every", "7d")
    done = command(*once, "--json", DRILL_MONGO_URI=environment["MONGO_URI"])
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = tmp_path.glob("vault-*.tar")
    data = json.loads(done.stdout)
    assert (data["file"], data["bytes"], data["drilled"]) == (path.name, path.stat().st_size, path.name)
    require_good(path, Keyring(KEY))
    again = command(*once)
    size = f"{path.stat().st_size:,} bytes"
    text = f"{path.name}, as of {data['as_of']}, {size}, the last drill of {path.name} passed\n"
    assert (again.returncode, again.stdout) == (0, text)
    assert list(tmp_path.glob("vault-*.tar")) == [path]


def test_a_drill_needs_its_own_mongodb_if_it_is_set(
    command: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """The scratch database is in `DRILL_MONGO_URI`. If that refuses the user, the copy stays."""
    done = command(
        *("schedule", "--to", tmp_path, "--once", "--drill-every", "7d"),
        DRILL_MONGO_URI=environment["MONGO_URI"].replace("mongodb://", "mongodb://unknown:wrong@"),
    )
    assert done.returncode == 4
    assert "Hint: a drill needs a MongoDB in DRILL_MONGO_URI whose user may create databases" in done.stderr
    assert len(list(tmp_path.glob("vault-*.tar"))) == 1


def test_a_schedule_runs_until_it_is_stopped(environment: dict[str, str], tmp_path: Path) -> None:
    """It logs each copy as JSON, and ends with 0 at an orchestrator's stop."""
    process = start_command("backup", "schedule", "--to", tmp_path, environment=environment, folder=tmp_path)
    assert process.stdout
    lines = map(json.loads, iter(process.stdout.readline, ""))
    logged = [*takewhile(lambda line: not line["message"].startswith("the next backup is due at 2"), lines)]
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert {line["level"] for line in logged} == {"info"}
    [made] = [line for line in logged if line["message"] == "a backup was made"]
    assert made["removed"] == []
    assert [path.name for path in tmp_path.glob("vault-*.tar")] == [made["file"]]
    assert list(tmp_path.glob(".vault-unfinished-*")) == []


@pytest.mark.parametrize(("name", "problem"), [("no", "does not exist"), ("read-only", "is not writable")])
def test_a_wrong_folder_is_refused(
    command: Run, tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    """A folder that is missing, or cannot take copies, is refused before anything is on record."""
    (tmp_path / "read-only").mkdir()
    access = os.access

    def is_accessible(path: Path, mode: int) -> bool:
        # The tests' user may write everywhere.
        return access(path, mode) and not (str(path).endswith("read-only") and mode == os.W_OK)

    monkeypatch.setattr(os, "access", is_accessible)
    done = command("schedule", "--to", tmp_path / name, "--once")
    assert (done.returncode, problem in done.stderr) == (2, True)
    assert stored.backups.find_one() is None
    assert stored.audit_logs.find_one() is None


def test_a_schedule_can_be_forgotten(command: Run, tmp_path: Path, stored: Stored) -> None:
    """With `--off`, there is no record any more; the copies stay."""
    assert command("schedule", "--to", tmp_path, "--once", "--quiet").returncode == 0
    assert command("schedule", "--off").stdout == "Forgotten.\n"
    assert stored.backups.find_one() is None
    assert json.loads(command("schedule", "--off", "--json").stdout) == {"is_found": False}
    assert len(list(tmp_path.glob("vault-*.tar"))) == 1
