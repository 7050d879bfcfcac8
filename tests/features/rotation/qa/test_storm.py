"""Rotations under load, and of processes that are killed: no login fails, and no log has a password."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.waiting import wait_until
from tests.features.rotation.applications import applications
from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.support.access import services
from tests.support.commands import command_environment, invoke
from vault.documents import Secret
from vault.features.rotation import run, runner
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind

pytestmark = pytest.mark.process

_ROTATIONS, _KILLS = 20, 50
_FIRST = FIRST_PASSWORD.ljust(32, "-")


def test_no_login_fails_and_no_log_has_a_password(
    environment: dict[str, str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 rotations by the timer, under 50 logins a second by applications that fetch at times."""
    monkeypatch.setattr(run, "SETTLED_SECONDS", 1)
    source = open_source(SourceKind(server.kind), server.url, seconds=10, commands=())
    source.set_password(USERS[0], _FIRST)

    with rotation_app(environment, ROTATION_CHECK_SECONDS="1") as app:
        services(app).startup.attempt()
        world = World(app)
        world.plan(server.kind, server.url, password=_FIRST, every_seconds=1, grace_seconds=60)
        began = time.monotonic()
        with applications(lambda number: world.fetch_as(number), source.login) as record:
            world.runner.start()
            while (world.show().version or 0) < _ROTATIONS + 1:
                assert not world.show().error
                time.sleep(0.5)
        seconds = time.monotonic() - began
    logs = server.logs()
    found = sum(password.encode() in logs for password in record.passwords - {_FIRST})
    print(  # noqa: T201 - the figures
        f"\n{server.kind}: {_ROTATIONS} rotations, {record.logins} logins in {seconds:.0f} s, "
        f"{record.failed} failed; {found} of {len(record.passwords)} passwords in {len(logs)} bytes of logs"
    )
    assert (record.failed, found) == (0, 0)


def test_what_is_published_logs_in_whenever_a_process_is_killed(
    environment: dict[str, str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 processes are killed in the middle of rotations; the next one continues, and the trail verifies."""
    if server.kind != "postgresql":
        pytest.skip("the steps are the same for all servers")
    monkeypatch.setattr(runner, "_MARGIN_SECONDS", 1)
    source = open_source(SourceKind(server.kind), server.url, seconds=10, commands=())
    source.set_password(USERS[0], _FIRST)
    steps: list[str | None] = []
    with rotation_app(environment, ROTATION_STEP_SECONDS="1") as app:
        services(app).startup.attempt()
        world = World(app)
        world.plan(server.kind, server.url, password=_FIRST, grace_seconds=0)
        for _ in range(_KILLS):
            command = [sys.executable, "-m", "tests.features.rotation.victim"]
            with subprocess.Popen(
                command, env=command_environment(environment), stdout=subprocess.PIPE
            ) as victim:
                assert victim.stdout
                assert victim.stdout.readline() == b"ready\n"
                time.sleep(random.uniform(2, 4))  # noqa: S311 - no secret
                victim.kill()
            value = world.fetch()
            assert source.login(value["username"], value["password"])
            steps.append(world.show().step)
            Secret.raw().update_many({}, {"$unset": {"lease": ""}})
        wait_until(lambda: world.act().step is None, seconds=120, pause=1)
        value = world.fetch()
        assert source.login(value["username"], value["password"])
        rotations = (world.show().version or 1) - 1
    done = invoke("audit", "verify", environment=environment, folder=tmp_path)
    print(f"\n{_KILLS} kills, {rotations} rotations; steps: {steps}")  # noqa: T201 - the figures
    assert done.returncode == 0, done.stderr
