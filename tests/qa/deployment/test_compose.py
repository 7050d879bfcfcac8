"""The deployment with Docker Compose, and its containers killed under load."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.qa.deployment.engine import (
    ROOT,
    Load,
    Replica,
    assert_nothing_is_lost,
    docker,
    run,
    wait_for,
)
from tests.support import system
from vault.clients.dev.mongod import free_port

pytestmark = pytest.mark.process

_PROJECT = "secret-manager-compose"
#: The files of secrets, and the folders in which the service that makes them has them.
_FILES = [
    "mongodb/key_file",
    "mongodb/mongo_uri",
    "mongodb/root_password",
    "service/master_key",
    "service/mongo_uri",
]


@dataclass(frozen=True, slots=True)
class Project:
    """A running project of Compose."""

    port: int

    def compose(self, *arguments: str) -> str:
        """Return the output of `docker compose` with the checkout's file."""
        return run(
            *("docker", "compose", "--project-name", _PROJECT, *arguments), PUBLISHED_PORT=str(self.port)
        ).stdout.strip()

    def up(self) -> None:
        """Start it, like the document."""
        self.compose("up", "--detach", "--wait")

    def container(self, service: str) -> str:
        """Return the ID of the container of *service*, running or not."""
        return self.compose("ps", "--all", "--quiet", service)

    @property
    def replica(self) -> Replica:
        """The service."""
        return Replica(self.container("secret-manager"))

    def is_ready(self) -> bool:
        """Return whether the service answers that it is ready."""
        try:
            reply = requests.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=10)
        except requests.RequestException:
            return False
        return reply.status_code == 200

    def secrets(self) -> list[str]:
        """Return the owner, the mode and the checksum of each file of secrets."""
        command = "cd /secrets && stat -c '%u %a' */* && sha256sum */*"
        return self.compose(
            *("run", "--rm", "--no-deps", "--entrypoint", "bash", "secrets", "-c", command)
        ).splitlines()


@pytest.fixture(scope="module")
def project(image: str) -> Iterator[Project]:
    """Start the project, like the document."""
    assert image
    if run("docker", "compose", "version", check=False).returncode:
        raise system.missing("needs docker compose (Debian package: docker-compose)")
    started = Project(free_port())
    try:
        started.up()
        yield started
    finally:
        started.compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def token(project: Project) -> str:
    """Return an admin token."""
    return project.replica.run("secret-manager", "tokens", "create", "--name", "admin", "--role", "admin")


@contextmanager
def load(port: int, token_file: Path) -> Iterator[Load]:
    """Put the service under load from this machine while the block runs."""
    outcome = Load()
    program = ROOT / "tests/qa/deployment/load.py"
    callers = subprocess.Popen(
        [sys.executable, str(program), "127.0.0.1", str(port), "4", str(token_file)], stdout=subprocess.PIPE
    )
    try:
        yield outcome
        callers.terminate()
        printed, _ = callers.communicate(timeout=60)
    finally:
        callers.kill()
        callers.wait()
    vars(outcome).update(json.loads(printed))


def inspected(container: str, form: str) -> str:
    return docker("inspect", container, "--format", form)


def test_a_backup_is_made_by_itself(project: Project) -> None:
    """The project makes its first backup soon after its start, which only its service can read."""
    made = "a backup was made"
    wait_for(lambda: made in run("docker", "logs", project.container("backup")).stdout, what="a backup")
    listed = project.compose("exec", "-T", "backup", "sh", "-c", "stat -c '%a %u' /backups /backups/vault-*")
    assert listed.split("\n") == ["700 10001", "600 10001"]


def test_a_project_has_no_secret_outside_of_its_files(project: Project, token: str) -> None:
    """Secrets are in files of their only reader; the service is published on loopback, and needs a token."""
    files = project.secrets()
    assert files[:5] == ["999 400", "999 400", "999 400", "10001 400", "10001 400"]
    assert [line.split()[1] for line in files[5:]] == _FILES
    command = "for file in /secrets/*/*; do cat $file; echo; done"
    values = project.compose("run", "--rm", "--entrypoint", "bash", "secrets", "-c", command).split()
    assert len(values) == len(_FILES)
    for service in ("secret-manager", "backup", "mongodb", "replica-set", "secrets"):
        container = project.container(service)
        settings = inspected(container, "{{json .Config}}{{json .HostConfig}}")
        for value in values:
            assert value not in settings
        assert inspected(container, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}") == "true [ALL]"
    assert docker("port", project.container("mongodb")) == ""
    assert docker("port", project.replica.container).split() == [
        "8000/tcp",
        "->",
        f"127.0.0.1:{project.port}",
    ]
    assert project.replica.create(b"value")[0] == 401
    assert project.replica.create(b"value", token=token)[0] == 200


def test_secrets_are_made_once(project: Project) -> None:
    """A further run of the service that makes the secrets, as with each `up`, keeps them."""
    before = project.secrets()
    project.compose("run", "--rm", "secrets")
    assert project.secrets() == before


@pytest.mark.promise(4)
def test_killed_containers_lose_nothing_acknowledged(project: Project, token: str, tmp_path: Path) -> None:
    """Killed under load, each container restarts by itself; acknowledged secrets and entries remain."""
    token_file = tmp_path / "token"
    token_file.write_text(token)
    with load(project.port, token_file) as outcome:
        for service in ("mongodb", "secret-manager"):
            container = project.container(service)
            first = inspected(container, "{{.State.Pid}}")
            # Not `docker kill`: Docker does not restart what it was asked to end.
            os.kill(int(first), signal.SIGKILL)
            wait_for(lambda: inspected(container, "{{.State.Pid}}") not in ("0", first), what="a restart")  # noqa: B023
            wait_for(project.is_ready, what="a ready service")
            assert project.replica.create(b"after", token=token)[0] == 200
    backup = project.replica.run("sh", "-c", "secret-manager backup - | tar -t | head -n 1")
    assert backup
    assert outcome.secrets
    assert outcome.failures
    assert_nothing_is_lost(outcome, project.replica, token=token)
