"""Replicas of which one hangs or has another clock: a period has one rotation, and no login fails."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from tests.features.rotation.applications import applications
from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.support.access import services
from tests.support.clocks import clock_environment, set_clock
from tests.support.commands import command_environment
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.core.documents import AuditEntry
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind

pytestmark = pytest.mark.process

_ROTATIONS, _PERIOD_SECONDS = 8, 3
_FIRST = FIRST_PASSWORD.ljust(32, "-")


Result = TypeVar("Result")


class Deployment:
    """Two replicas, and the clock of the first or of MongoDB, in the form of libfaketime."""

    def __init__(self, clock: Path) -> None:
        self.clock = clock
        self.replicas: list[subprocess.Popen[bytes]] = []
        self.jumps = 0

    def hang(self) -> None:
        """Stop one of the replicas, with any step in progress, for longer than its lease, or for less."""
        replica = random.choice(self.replicas)  # noqa: S311 - no secret
        replica.send_signal(signal.SIGSTOP)
        time.sleep(random.uniform(1, 6))  # noqa: S311 - no secret
        replica.send_signal(signal.SIGCONT)
        time.sleep(random.uniform(0, 1))  # noqa: S311 - no secret

    def jump(self) -> None:
        """Set the clock two days ahead, right, two days behind, and right again, in turn."""
        set_clock(self.clock, (2, 0, -2, 0)[self.jumps % 4] * 86_400)
        self.jumps += 1
        time.sleep(4)


@contextmanager
def replica(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a replica, which only rotates."""
    command = [sys.executable, "-m", "tests.features.rotation.victim"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=command_environment(environment), **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def patient(call: Callable[[], Result]) -> Result:
    """Return the result of *call*, repeated while MongoDB is unavailable: a jump of its clock ends waits."""
    found: list[Result] = []

    def is_answered() -> bool:
        with suppress(AuditUnavailableError, StorageUnavailableError):
            found.append(call())
        return bool(found)

    wait_until(is_answered)
    return found[0]


#: By its name: what happens meanwhile, and whose clock can be set.
_CASES: dict[str, tuple[Callable[[Deployment], None], str]] = {
    "two replicas": (lambda _: time.sleep(1), ""),
    "one hangs": (Deployment.hang, ""),
    "the clock of one jumps": (Deployment.jump, "replica"),
    "the clock of MongoDB jumps": (Deployment.jump, "mongodb"),
}


@pytest.mark.promise("rotation")
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("server", ["postgresql"], indirect=True)
def test_a_period_has_one_rotation_and_no_login_fails(
    environment: dict[str, str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Each version is published once. If MongoDB's clock jumps, a period or a grace period ends early."""
    disturb, whose = _CASES[case]
    deployment = Deployment(tmp_path / "clock")
    set_clock(deployment.clock, 0)
    faked = clock_environment(deployment.clock)
    source = open_source(SourceKind(server.kind), server.url, seconds=10, commands=())
    source.set_password(USERS[0], _FIRST)
    with ExitStack() as stack:
        if whose == "mongodb":
            with monkeypatch.context() as patched:
                for name, value in faked.items():
                    patched.setenv(name, value)
                mongod = stack.enter_context(Mongod(tmp_path / "db"))
            # It does not stop otherwise.
            stack.callback(mongod.kill)
            environment = environment | {"MONGO_URI": mongod.uri.replace("/?", "/replicas?")}
        app = stack.enter_context(rotation_app(environment))
        services(app).startup.attempt()
        world = World(app)
        options = {"every_seconds": _PERIOD_SECONDS, "grace_seconds": 60}
        world.plan(server.kind, server.url, password=_FIRST, **options)
        for clock in (faked if whose == "replica" else {}, {}):
            deployment.replicas.append(stack.enter_context(replica(environment | clock)))
        before, began = server.logs().count(b"ALTER ROLE"), time.monotonic()
        with applications(lambda number: patient(lambda: world.fetch_as(number)), source.login) as record:
            while (patient(world.show).version or 0) < _ROTATIONS + 1:
                disturb(deployment)
        seconds = time.monotonic() - began
        published = [
            entry["details"]["version"]
            for entry in AuditEntry.raw().find(
                {"action": "update", "principal": "service", "status": "success"}
            )
        ]
        changes = server.logs().count(b"ALTER ROLE") - before
        value = world.fetch()
        assert source.login(value["username"], value["password"])
    print(  # noqa: T201 - the figures
        f"\n{case}: {len(published)} rotations and {changes} changes in {seconds:.0f} s, "
        f"{deployment.jumps} jumps; {record.logins} logins, {record.failed} failed, "
        f"{record.failed_again} after a new fetch"
    )
    assert sorted(published) == list(range(2, len(published) + 2))
    ahead = deployment.jumps if whose == "mongodb" else 0
    assert len(published) <= seconds / _PERIOD_SECONDS + 1 + ahead
    assert record.failed_again == 0
    if not ahead:
        assert record.failed == 0
