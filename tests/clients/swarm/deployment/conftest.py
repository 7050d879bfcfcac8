"""Fixtures of the deployment on a swarm."""

from collections.abc import Callable
from subprocess import PIPE, STDOUT, TimeoutExpired
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from tests.clients.swarm.deployment.world import STACK, World
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
