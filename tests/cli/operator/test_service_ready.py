"""`secret-manager ready`, the check for supervisors."""

import json
from pathlib import Path

import pytest

from tests.cli.waiting import wait_until
from tests.support.commands import Done, run_command
from tests.support.service import Service
from tests.system.test_tls import make
from vault.cli.dev.mongod import free_port

pytestmark = pytest.mark.process

#: Otherwise, a second worker could still be starting when the first one is ready.
ONE_WORKER = {"WEB_CONCURRENCY": "1"}


def ready(environment: dict[str, str], folder: Path) -> Done:
    return run_command("ready", environment=environment, folder=folder)


def test_a_ready_service_is_reported(environment: dict[str, str], tmp_path: Path) -> None:
    """The command finds the service by the service's own settings, and prints its answer."""
    with Service(environment | ONE_WORKER, folder=tmp_path) as service:
        service.wait_until("/health/ready")
        done = ready({**environment, "BIND": f"0.0.0.0:{service.port}"}, tmp_path)
    assert (done.returncode, json.loads(done.stdout)["status"], done.stderr) == (0, "ok", "")


def test_an_unready_service_is_reported(environment: dict[str, str], tmp_path: Path) -> None:
    """Without MongoDB, the exit status is 1, and the failing check is named."""
    away = {**environment, "MONGO_URI": f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"}
    with Service(away, folder=tmp_path) as service:
        done = ready({**away, "BIND": f"127.0.0.1:{service.port}"}, tmp_path)
    assert done.returncode == 1
    assert '"mongodb"' in done.stdout


def test_after_its_start_a_service_needs_only_to_reply(environment: dict[str, str], tmp_path: Path) -> None:
    """With a start marker, the service must be ready once; later only a missing reply is a failure."""
    marker = tmp_path / "started"
    away = {**environment, "MONGO_URI": f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"}

    def check() -> int:
        address = f"127.0.0.1:{service.port}"
        options = ("ready", "--start-marker", str(marker))
        return run_command(*options, environment={**environment, "BIND": address}, folder=tmp_path).returncode

    with Service(away, folder=tmp_path) as service:
        assert (check(), marker.exists()) == (1, False)
    with Service(environment | ONE_WORKER, folder=tmp_path) as service:
        service.wait_until("/health/ready")
        assert (check(), marker.exists()) == (0, True)
    with Service(away, folder=tmp_path) as service:
        assert check() == 0
    assert check() == 5


def test_a_missing_service_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """If nothing listens, the command names the address it tried."""
    address = f"127.0.0.1:{free_port()}"
    done = ready({**environment, "BIND": address}, tmp_path)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error: no reply from {address}: ")
    assert done.stderr.endswith("Hint: start the service, and set BIND as it has it\n")


def test_it_uses_tls_if_the_service_does(environment: dict[str, str], tmp_path: Path) -> None:
    """With TLS the command uses it too, and shows the service's certificate if clients need one."""
    authority = make(tmp_path, "authority")
    pair = make(tmp_path, "server", authority)
    tls = {**environment, **ONE_WORKER, "TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    for settings in (tls, {**tls, "TLS_CLIENT_CA": str(authority.certificate)}):
        service = Service(settings, folder=tmp_path)
        service.start()
        try:
            there = {**settings, "BIND": f"127.0.0.1:{service.port}"}
            wait_until(lambda there=there: ready(there, tmp_path).returncode == 0)
            assert json.loads(ready(there, tmp_path).stdout)["status"] == "ok"
        finally:
            service.stop()
