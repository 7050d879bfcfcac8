"""Fixtures of the deployment on a swarm."""

from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT, TimeoutExpired
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.clients.swarm.deployment.world import IMAGE, STACK, World
from vault.cli import commands
from vault.clients.swarm.deployment import manager, program

Run = Callable[..., Result]


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a swarm of one node without a deployment, and let Docker's library and program use it."""
    found = World()
    found.node("A")
    names = ("mongodb-1", "mongodb-2", "mongodb-3", "replica-set", "secret-manager")
    found.stack_file = {"services": {name: {"image": "image"} for name in names}}
    monkeypatch.setattr("docker.APIClient", found.client)
    calls = {"run": found.run, "PIPE": PIPE, "STDOUT": STDOUT, "TimeoutExpired": TimeoutExpired}
    monkeypatch.setattr(program, "subprocess", SimpleNamespace(**calls))
    monkeypatch.setattr(program, "shutil", SimpleNamespace(which=lambda _: "/usr/bin/docker"))
    monkeypatch.setattr(manager, "monotonic", found.monotonic)
    monkeypatch.setattr(manager, "sleep", found.sleep)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    return found


@pytest.fixture
def run(swarm: World) -> Run:
    """Return a function that runs a command `swarm …` in this process, which must end with *status*."""
    assert swarm

    def run(*arguments: str, status: int = 0, **environment: str) -> Result:
        cleared = dict.fromkeys((f"{STACK}", "MASTER_KEY", "REPLICAS", "IMAGE", "VAULT_TOKEN", "VAULT_URL"))
        runner = CliRunner(env={**cleared, "DOCKER_HOST": "unix:///nowhere", **environment})
        done = runner.invoke(commands, ["swarm", *arguments], prog_name="secret-manager")
        assert done.exit_code == status, done.output
        return done

    return run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose stack files read some variables."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "stack.yml").write_text("replicas: ${REPLICAS:-2}\npublished: ${PUBLISHED_PORT:-8000}\n")
    (tmp_path / "deploy/stack.secure.yml").write_text("target: ${MASTER_KEY_SECRET:-master_key_v1}\n")
    (tmp_path / "deploy/stack.tls.yml").write_text("name: ${TLS_CERT_SECRET:?}\n")
    return tmp_path


@pytest.fixture
def deploy(run: Run, checkout: Path) -> Run:
    """Return a function that deploys an image of a registry."""

    def deploy(*arguments: object, **environment: Any) -> Result:
        words = ("deploy", "--checkout", str(checkout), *map(str, arguments))
        return run(*words, **{"IMAGE": IMAGE, **environment})

    return deploy


@pytest.fixture
def secured(swarm: World) -> World:
    """Return a swarm with a secured deployment, whose members are in step, and a token."""
    swarm.secured("MASTER_KEY_FILE=/run/secrets/master_key_v1")
    swarm.members_say("primary", "secondary", "secondary")
    swarm.prints["exec container-of-this-node secret-manager tokens list"] = "token\n"
    return swarm
