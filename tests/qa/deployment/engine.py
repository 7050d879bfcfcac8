"""Shared helpers of the deployment tests: the engine, the stack on it, and load from inside."""

import json
import os
import random
import re
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[3]
OVERRIDE = "tests/qa/deployment/override.yml"
STACK = "secret-manager"
API = f"{STACK}_secret-manager"
NETWORK = f"{STACK}_secret-manager-network"
MONGODB_NETWORK = f"{STACK}_mongodb-network"
IMAGE = "secret-manager:latest"
CLIENT_IMAGE = "secret-manager-client:latest"
#: Options for `docker build` on a machine where only the host's network reaches a package index.
BUILD_OPTIONS = "--network=host"
_TIMEOUT_SECONDS = 600
_SAMPLE = 100


def run(
    *command: str, check: bool = True, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run *command* in the checkout, with *environment* added to the process's own, at most 15 minutes."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if check:
        # Standard output can contain a token.
        assert done.returncode == 0, f"{command[:6]} failed: {done.stderr[-3000:]}"
    return done


def docker(*arguments: str) -> str:
    """Return the output of `docker`."""
    return run("docker", *arguments).stdout.strip()


def wait_for(condition: Callable[[], object], *, what: str) -> None:
    """Return once *condition* holds; fail if it does not within ten minutes."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}: {docker('service', 'ls')}"
        time.sleep(0.5)


def build(tag: str, dockerfile: str | None = None, *, target: str = "server") -> None:
    """Build the checkout's image for *target*, or the one in *dockerfile*."""
    if dockerfile is None:
        options = (*BUILD_OPTIONS.split(), "--target", target)
        docker("build", "--quiet", *options, "-t", tag, ".")
        return
    subprocess.run(
        ["docker", "build", "--quiet", *BUILD_OPTIONS.split(), "-t", tag, "-"],
        input=dockerfile,
        text=True,
        check=True,
        capture_output=True,
    )


def containers(service: str = API) -> list[str]:
    """Return the IDs of the running containers of *service*."""
    label = f"label=com.docker.swarm.service.name={service}"
    return docker("ps", "-q", "--filter", label).split()


def is_settled(replicas: int) -> bool:
    """Return whether the API has that many replicas, all of them ready."""
    replies = docker("service", "ls", "--filter", f"name={API}", "--format", "{{.Replicas}}")
    return replies == f"{replicas}/{replicas}"


def is_healthy(replicas: int) -> bool:
    """Return whether the API has that many replicas, all of them healthy, and no other containers."""
    label = f"label=com.docker.swarm.service.name={API}"
    healthy = docker("ps", "-q", "--filter", label, "--filter", "health=healthy").split()
    return is_settled(replicas) and sorted(healthy) == sorted(containers()) and len(healthy) == replicas


def deploy(*, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Deploy like the quick start, with workarounds for this machine."""
    files = ("-c", "stack.yml", "-c", OVERRIDE)
    return run("docker", "stack", "deploy", *files, STACK, check=check, PUBLISHED_PORT="0", **environment)


def remove_stack(name: str) -> None:
    """Remove the stack *name*. Docker is asked again while a task still uses one of its networks."""
    wait_for(lambda: not run("docker", "stack", "rm", name, check=False).returncode, what=f"{name} to go")


def is_gone(stack: str) -> bool:
    """Return whether no container and no network of *stack* is left."""
    own = ("-q", "--filter", f"label=com.docker.stack.namespace={stack}")
    return not docker("ps", "-a", *own) + docker("network", "ls", *own)


def remove() -> None:
    """Remove the stack, its data and its secrets; a test machine has nothing else."""
    run("docker", "stack", "rm", STACK, check=False)
    # Its data is removed too: no member needs to hand over to another first.
    for container in docker("ps", "-q", "--filter", f"label=com.docker.stack.namespace={STACK}").split():
        run("docker", "kill", container, check=False)
    remove_stack(STACK)
    wait_for(lambda: is_gone(STACK), what="an end")
    kept = docker("volume", "ls", "-q", "--filter", f"label=com.docker.stack.namespace={STACK}").split()
    if kept:
        docker("volume", "rm", *kept)
    secrets = docker("secret", "ls", "--format", "{{.Name}}").split()
    ours = [name for name in secrets if name == "mongo_uri" or name.startswith(("master_key_v", "mongodb_"))]
    if ours:
        docker("secret", "rm", *ours)
    filters = ("--filter", "name=keyring_v", "--filter", f"name={STACK}-deployment")
    configs = docker("config", "ls", "-q", *filters).split()
    if configs:
        docker("config", "rm", *configs)


@dataclass(frozen=True, slots=True)
class Replica:
    """One of the API's containers, reached at its own port."""

    container: str

    @property
    def url(self) -> str:
        """Its address on this machine."""
        port = re.findall(r"(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)", docker("port", self.container, "8000"))[0]
        return f"http://127.0.0.1:{port}"

    def post(self, path: str, body: object, *, token: str = "") -> tuple[int, Any]:
        """Return status and body of the answer to a POST, repeated while it is 503.

        The health check asks only one of the replica's workers.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        replies: list[requests.Response] = []

        def is_answered() -> bool:
            replies.append(requests.post(f"{self.url}{path}", json=body, headers=headers, timeout=30))
            return replies[-1].status_code != HTTPStatus.SERVICE_UNAVAILABLE

        wait_for(is_answered, what="all workers")
        return replies[-1].status_code, replies[-1].json()

    def create(self, value: bytes, *, token: str = "") -> tuple[int, Any]:
        """Return the answer to a create."""
        return self.post("/vault/secret/create/", {"secret": b64encode(value).decode()}, token=token)

    def fetch(self, secret_id: str, *, token: str = "") -> tuple[int, Any]:
        """Return the answer to a fetch."""
        return self.post("/vault/secret/fetch", {"secret_id": secret_id}, token=token)

    def read_kv(self, path: str, *, token: str) -> Any:
        """Return the value that a client of Vault's API reads at *path*."""
        reply = requests.get(
            f"{self.url}/v1/secret/data/{path}", headers={"X-Vault-Token": token}, timeout=30
        )
        return reply.json()["data"]["data"]

    def run(self, *command: str) -> str:
        """Return the output of *command*, run inside."""
        return docker("exec", self.container, *command)


def replicas() -> list[Replica]:
    """Return the API's running replicas."""
    return [Replica(container) for container in containers()]


def primary() -> str:
    """Return the name of MongoDB's primary, as seen by an open stack's replica."""
    program = (
        "from pymongo import MongoClient; from vault.common.config.settings import mongo_uri\n"
        "client = MongoClient(mongo_uri()); client.admin.command('ping'); print(client.primary[0])"
    )
    return replicas()[0].run("python", "-c", program)


class Load:
    """Callers inside the network, and the outcomes of their requests once they have ended."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        #: The values that can be stored by path, for Vault's clients.
        self.kv: dict[str, list[str]] = {}
        self.requests: list[str] = []
        #: The time in seconds since the epoch, the duration, the reason.
        self.failures: list[tuple[float, float, str]] = []
        #: Seconds for which the machine had no time for the callers.
        self.stalled = 0.0

    def last_failure(self, *, sent_since: float = 0) -> float:
        """Return the time of the last failure of a request sent since then; 0 without one.

        Times are in seconds since the epoch.
        """
        return max((sent + took for sent, took, _ in self.failures if sent >= sent_since), default=0)


@contextmanager
def load(
    *,
    callers: int = 8,
    seconds: float = 2,
    token: str = "",
    image: str = IMAGE,
    node: str = "",
    is_allowed: bool = True,
) -> Iterator[Load]:
    """Put the API under load, from a few *seconds* before the block until as many after it.

    With a *token*, clients of Vault's API are among the callers. In a swarm of several nodes, all of them run
    on *node*, whose engine is used. Some requests must succeed, unless they are not allowed.
    """
    outcome = Load()
    docker("config", "create", "load", "tests/qa/deployment/load.py")
    run("docker", "config", "create", "load-token", "-", stdin=f"{token}\n")
    try:
        docker(
            *("service", "create", "--quiet", "--detach=false", "--no-resolve-image", "--name", "load"),
            *("--network", NETWORK, "--endpoint-mode", "dnsrr", "--restart-condition", "none"),
            *("--no-healthcheck", "--config", "source=load,target=/load.py", "--entrypoint", "python"),
            *("--config", "source=load-token,target=/token"),
            *(("--constraint", f"node.hostname=={node}") if node else ()),
            *(image, "/load.py", "secret-manager", "8000", str(callers), "/token"),
        )
        [container] = containers("load")
        time.sleep(seconds)
        yield outcome
        time.sleep(seconds)
        docker("kill", "--signal", "TERM", container)
        docker("wait", container)
        vars(outcome).update(json.loads(docker("logs", container)))
    finally:
        run("docker", "service", "rm", "load", check=False)
        wait_for(lambda: not containers("load"), what="the load to end")
        docker("config", "rm", "load", "load-token")
    assert outcome.requests or not is_allowed


def assert_nothing_is_lost(outcome: Load, replica: Replica | None = None, *, token: str = "") -> None:
    """Compare the stored secrets with the acknowledged ones, fetch a part of them, and verify the trail."""
    replica = replica or replicas()[0]
    ask = (
        "import json, sys\n"
        "from pymongo import MongoClient\n"
        "from vault.common.config.settings import mongo_uri\n"
        "stored = MongoClient(mongo_uri()).get_default_database('vault')\n"
        "requests = stored.audit_logs.find({'status': 'success'}).distinct('request_id')\n"
        "json.dump([stored.secrets.distinct('_id'), requests], sys.stdout)\n"
    )
    secrets, recorded = json.loads(replica.run("python", "-c", ask))
    assert outcome.secrets.keys() <= set(secrets)
    assert set(outcome.requests) <= set(recorded)
    for secret_id in random.sample(list(outcome.secrets), min(_SAMPLE, len(outcome.secrets))):
        assert replica.fetch(secret_id, token=token) == (200, {"secret": outcome.secrets[secret_id]})
    for path, values in outcome.kv.items():
        assert replica.read_kv(path, token=token)["value"] in values
    assert replica.run("secret-manager", "audit", "verify").endswith("intact")


@contextmanager
def orders(stack: str, image: str) -> Iterator[dict[str, Any]]:
    """Order from the shop in *stack* without a pause during the block, and then return the outcomes."""
    record: dict[str, Any] = {}
    docker("config", "create", "shop-load", "tests/qa/deployment/shop_load.py")
    try:
        docker(
            *("service", "create", "--quiet", "--detach=false", "--no-resolve-image", "--name", "shop-load"),
            *("--network", f"{stack}_default", "--endpoint-mode", "dnsrr", "--restart-condition", "none"),
            *("--no-healthcheck", "--config", "source=shop-load,target=/load.py"),
            *(image, "python", "/load.py", "api", "8080", "4"),
        )
        [container] = docker("ps", "-q", "--filter", "label=com.docker.swarm.service.name=shop-load").split()
        yield record
        docker("kill", "--signal", "TERM", container)
        docker("wait", container)
        record |= json.loads(docker("logs", container))
    finally:
        run("docker", "service", "rm", "shop-load", check=False)
        wait_for(
            lambda: not docker("ps", "-q", "--filter", "label=com.docker.swarm.service.name=shop-load"),
            what="the load to end",
        )
        run("docker", "config", "rm", "shop-load", check=False)
