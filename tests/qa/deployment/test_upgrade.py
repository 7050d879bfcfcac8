"""The upgrade of a production deployment from 1.0.0, and the way back, under load.

1.0.0 comes from the history of the checkout.
"""

import re
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.qa.deployment.engine import (
    API,
    BUILD_OPTIONS,
    CLIENT_IMAGE,
    OVERRIDE,
    ROOT,
    Load,
    assert_nothing_is_lost,
    containers,
    docker,
    is_gone,
    is_healthy,
    load,
    remove,
    remove_stack,
    replicas,
    run,
    wait_for,
)
from tests.support.release import check_out

pytestmark = pytest.mark.process

_DEPLOY = {"PUBLISHED_PORT": "0", "DOCKER_BUILD_OPTIONS": BUILD_OPTIONS, "AUDIT_TTL_DAYS": "90"}
_DRIVER, _SHOP, _TOKEN = "secret-manager-driver", "shop", "swarm_driver_token"
_VALUE = b"delivered by either version"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A deployment of 1.0.0: its checkout, its image, and an administrator's token."""

    checkout: Path
    image: str
    token: str
    #: The folder with what docs/upgrade.md keeps.
    kept: Path


@pytest.fixture(scope="module")
def earlier(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Earlier]:
    """Deploy 1.0.0 with its own script, and its driver with a stack of three tasks."""
    assert image
    folder = check_out("1.0.0", tmp_path_factory.mktemp("earlier"))
    try:
        printed = run(str(folder / "scripts" / "deploy.sh"), str(ROOT / OVERRIDE), **_DEPLOY).stdout
        [token] = re.findall(r"^smt_[0-9A-Za-z]{38}$", printed, re.MULTILINE)
        earlier = Earlier(folder, _image(), token, tmp_path_factory.mktemp("kept"))
        _deploy_driver(earlier)
        yield earlier
    finally:
        for stack in (_SHOP, _DRIVER):
            remove_stack(stack)
        wait_for(lambda: is_gone(_SHOP) and is_gone(_DRIVER), what="an end")
        run("docker", "secret", "rm", _TOKEN, check=False)
        remove()


def _image() -> str:
    return docker("service", "inspect", API, "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}")


def _deploy_driver(earlier: Earlier) -> None:
    replica = replicas()[0]
    body = {"name": "shop/db", "secret": b64encode(_VALUE).decode()}
    assert replica.post("/vault/secret/create", body, token=earlier.token)[0] == 200
    create = ("secret-manager", "tokens", "create", "--name", "driver", "--role", "driver", "--path", "shop/")
    run("docker", "secret", "create", _TOKEN, "-", stdin=replica.run(*create))
    file = str(earlier.checkout / "stack.driver.yml")
    run("docker", "stack", "deploy", "-c", file, _DRIVER, IMAGE=earlier.image)
    run("docker", "stack", "deploy", "-c", "tests/qa/deployment/shop.yml", _SHOP)
    wait_for(lambda: _values() == [_VALUE] * 3, what="the value in three tasks")


def _values() -> list[bytes]:
    """Return the value in each running task."""
    read = ("cat", "/run/secrets/db_password")
    found = [run("docker", "exec", one, *read, check=False) for one in containers(f"{_SHOP}_api")]
    return [one.stdout.encode() for one in found if one.returncode == 0]


@contextmanager
def _restarts() -> Iterator[None]:
    """Restart the three tasks without a pause during the block: a task without its value does not start.

    On a busy machine, a delivery can be late: then Docker asks again.
    """
    ending = threading.Event()
    options = ("--quiet", "--detach", "--force", "--update-failure-action", "continue")

    def is_restarted(before: list[str]) -> bool:
        return not set(before) & set(containers(f"{_SHOP}_api")) and _values() == [_VALUE] * 3

    def restart() -> None:
        while not ending.is_set():
            before = containers(f"{_SHOP}_api")
            docker("service", "update", *options, f"{_SHOP}_api")
            wait_for(partial(is_restarted, before), what="three other tasks with the value")

    with ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(restart)
        try:
            yield
        finally:
            ending.set()
        restarting.result()


def _command(checkout: Path, earlier: Earlier, *arguments: str) -> str:
    """Return the output of a command by the script of *checkout*, in the folder of what is kept."""
    script = str(checkout / "scripts" / "run_command.sh")
    done = subprocess.run([script, *arguments], cwd=earlier.kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _update(image: str) -> None:
    """Update the service, and return once it runs with *image*."""
    docker("service", "update", "--quiet", "--no-resolve-image", "--image", image, API)
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    state = docker("service", "inspect", API, "--format", "{{.UpdateStatus.State}}")
    assert (_image(), state) == (image, "completed")


def _assert_nothing_is_lost(outcome: Load, earlier: Earlier) -> None:
    assert outcome.failures == []
    assert outcome.kv
    assert_nothing_is_lost(outcome, token=earlier.token)
    verified = _command(ROOT, earlier, "audit", "verify", "--checkpoint", "before.json")
    assert verified.endswith("intact\n")


@pytest.fixture(scope="module")
def upgrade(earlier: Earlier) -> Load:
    """Upgrade by docs/upgrade.md, under load, and return what the load saw."""
    with load(callers=4, token=earlier.token) as outcome, _restarts():
        _command(earlier.checkout, earlier, "backup", "before.tar")
        checkpoint = _command(earlier.checkout, earlier, "audit", "checkpoint")
        (earlier.kept / "before.json").write_text(checkpoint)
        run("scripts/deploy.sh", OVERRIDE, **_DEPLOY)
    assert _image() != earlier.image
    return outcome


def test_the_upgrade_fails_no_request(earlier: Earlier, upgrade: Load) -> None:
    """While the script replaces 1.0.0, no request fails, its driver delivers, and nothing is lost."""
    _assert_nothing_is_lost(upgrade, earlier)


@pytest.mark.usefixtures("upgrade", "client_image")
def test_the_way_back_fails_no_request(earlier: Earlier) -> None:
    """Back to 1.0.0 by its image, and forward again: nothing fails or is lost, and this driver delivers."""
    newer = _image()
    run("docker", "stack", "deploy", "-c", "deploy/stack.driver.yml", _DRIVER, CLIENT_IMAGE=CLIENT_IMAGE)
    with load(callers=4, token=earlier.token) as outcome, _restarts():
        _update(earlier.image)
        verified = _command(earlier.checkout, earlier, "audit", "verify", "--checkpoint", "before.json")
        assert verified.endswith("intact\n")
        _update(newer)
    _assert_nothing_is_lost(outcome, earlier)
