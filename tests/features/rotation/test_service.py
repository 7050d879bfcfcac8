"""Rotations by the service as a process, with its greenlets."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.features.rotation import servers
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.access import tokens
from tests.support.lifecycle import b64
from tests.support.service import Service, patient
from tests.support.waiting import wait_until

pytestmark = pytest.mark.process


def test_the_service_rotates_by_its_timer_and_serves_meanwhile(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A source that hangs holds up neither requests nor the rotations of other sources."""
    settings = {"ROTATION_CHECK_SECONDS": "1", "ROTATION_STEP_SECONDS": "3", "WEB_CONCURRENCY": "1"}
    with (
        servers.postgresql() as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Service(environment | settings, patient=True, folder=tmp_path) as service,
    ):
        service.wait_until_started()
        token = tokens(environment, tmp_path, "create", "--name", "dba", "--role", "admin")

        def call(path: str, body: dict[str, object]) -> dict[str, Any]:
            reply = patient(lambda: service.post(f"/vault/{path}", body, Authorization=f"Bearer {token}"))
            assert reply.status == 200, reply.body
            found: dict[str, Any] = reply.body
            return found

        value = json.dumps({"username": USERS[0], "password": FIRST_PASSWORD})
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        for name, url in (("good", server.url), ("silent", f"postgresql://a:b@{place}/c")):
            call("secret/create", {"name": name, "secret": b64(value.encode())})
            call("secret/create", {"name": f"{name}-admin", "secret": b64(url.encode())})
            plan = {"name": name, "admin": f"{name}-admin", "kind": "postgresql", "users": list(USERS)}
            call("rotation/create", {**plan, "every_seconds": 1, "grace_seconds": 1})
        seconds = []

        def is_done() -> bool:
            began = time.monotonic()
            shown = {one["name"]: one for one in call("rotation/list", {})["rotations"]}
            seconds.append(time.monotonic() - began)
            return bool((shown["good"]["version"] or 0) >= 3 and shown["silent"]["error"])

        wait_until(is_done, seconds=120, pause=0.1)
    print(f"slowest of {len(seconds)} requests: {max(seconds):.2f} s")  # noqa: T201 - a figure
