"""Rotations under load: no login fails, and no log has a password."""

import time

import pytest

from tests.features.rotation.applications import applications
from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.support.access import services
from vault.features.rotation import run
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind

pytestmark = pytest.mark.process

_ROTATIONS = 20
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
