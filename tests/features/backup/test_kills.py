"""Kills and full disks: no good copy is lost, and what has the name of one is good."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.features.backup.schedules import require_good
from tests.support.commands import run_patiently, start_command
from tests.support.databases import history
from tests.support.rotation import Stored, fill, new_key, settings
from vault.core.crypto import Keyring

pytestmark = pytest.mark.process

KEY = new_key()
KEYRING = Keyring(KEY)
KEEP = 3
#: As --every, so that each start makes a copy.
EVERY = "1s"


@pytest.fixture
def environment(mongo_uri: str, stored: Stored) -> Iterator[dict[str, str]]:
    fill(stored, KEY, 300)
    with history(mongo_uri):
        yield settings(mongo_uri, KEY)


def good(folder: Path) -> set[str]:
    """Return the names of the copies, after all were verified."""
    found = list(folder.glob("vault-*.tar"))
    for path in found:
        require_good(path, KEYRING)
    return {path.name for path in found}


@pytest.mark.promise("purges")
@pytest.mark.parametrize(
    "kills", [6, pytest.param(200, marks=pytest.mark.nightly)], ids=["a few kills", "many kills"]
)
def test_a_kill_at_any_point_loses_no_copy(environment: dict[str, str], tmp_path: Path, kills: int) -> None:
    """After each kill, all names are of good copies, and the newest are still there."""
    chance = random.Random(kills)  # noqa: S311 - any points will do
    known = set[str]()
    for _ in range(kills):
        process = start_command(
            *("backup", "schedule", "--to", tmp_path, "--every", EVERY, "--keep", KEEP),
            environment=environment,
            folder=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        found = good(tmp_path)
        known |= found
        assert set(sorted(known)[-KEEP:]) <= found
    once = ("backup", "schedule", "--to", tmp_path, "--every", EVERY, "--once")
    done = run_patiently(*once, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob(".vault-unfinished-*")) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a small file system."""
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.promise("purges")
@pytest.mark.nightly
@pytest.mark.parametrize("free", [0, 4_096, 32_768])
def test_a_full_disk_loses_no_copy(environment: dict[str, str], small: Path, free: int) -> None:
    """On a disk without room, a copy fails and leaves nothing; with room again, the next one is made."""
    once = ("backup", "schedule", "--to", small, "--every", EVERY, "--keep", KEEP, "--once")
    assert run_patiently(*once, environment=environment, folder=small).returncode == 0
    before = good(small)
    ballast = small / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4_096))
    os.truncate(ballast, ballast.stat().st_size - free)
    for _ in range(3):
        time.sleep(1)
        done = run_patiently(*once, environment=environment, folder=small)
        assert (done.returncode, good(small)) == (1, before)
        assert "No space left on device" in done.stderr
    assert list(small.glob(".vault-unfinished-*")) == []
    ballast.unlink()
    time.sleep(1)
    assert run_patiently(*once, environment=environment, folder=small).returncode == 0
    assert len(good(small)) == len(before) + 1
