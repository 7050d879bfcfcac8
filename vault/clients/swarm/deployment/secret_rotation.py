"""`swarm rotate` in a container beside a replica: it needs no port, and the value stays on this node."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from vault.clients.swarm.deployment.manager import STACK
from vault.clients.swarm.deployment.program import DeploymentError, Program
from vault.clients.swarm.deployment.stack import DeployedStack

_UNIX = "unix://"
_SOCKET = "/var/run/docker.sock"
_DEFAULT_BIND = "0.0.0.0:8000"

_OPTIONS = (
    *("--rm", "--pull", "never", "--no-healthcheck", "--interactive", "--read-only", "--cap-drop", "ALL"),
    *(
        "--security-opt",
        "no-new-privileges",
        "--stop-timeout",
        "30",
        "--env",
        f"DOCKER_HOST={_UNIX}{_SOCKET}",
    ),
)


def docker_socket() -> Path:
    """Return the socket of the engine on this machine.

    Raises:
        DeploymentError: `DOCKER_HOST` names none.
    """
    host = os.environ.get("DOCKER_HOST") or f"{_UNIX}{_SOCKET}"
    if not host.startswith(_UNIX):
        raise DeploymentError("DOCKER_HOST must be a socket of this machine", hint="run this on a manager")
    path = Path(host.removeprefix(_UNIX))
    if not path.is_socket():
        raise DeploymentError(f"{path} is not a socket", hint="start Docker, or set DOCKER_HOST")
    return path


def place(stack: DeployedStack) -> Sequence[str]:
    """Return the URL of the service, the image for the container, and its network.

    Raises:
        DeploymentError: No replica is ready on this node.
    """
    url = os.environ.get("VAULT_URL")
    if url:
        return url, os.environ.get("IMAGE") or f"{STACK}:latest", "host"
    container = stack.replica()
    if not container:
        raise DeploymentError(
            "no replica is ready on this node",
            hint=f"run this on a manager among {stack.elsewhere()}, or export VAULT_URL",
        )
    if stack.setting("TLS_CERT"):
        raise DeploymentError(
            "the service has a certificate",
            hint="export its URL as VAULT_URL, such as https://secrets.example.com",
        )
    image = stack.ask(lambda client: str(client.inspect_container(container)["Image"]))
    port = (stack.setting("BIND") or _DEFAULT_BIND).rpartition(":")[2]
    # The replica's own network.
    return f"http://127.0.0.1:{port}", image, f"container:{container}"


def rotate(
    program: Program,
    where: Sequence[str],
    *,
    token: str,
    arguments: Sequence[str],
    value: IO[Any] | None,
    is_typed: bool,
) -> None:
    """Run `swarm rotate` with *arguments*, and the new value from *value* or the operator's standard input.

    Raises:
        DeploymentError: It fails.
    """
    url, image, network = where
    path = docker_socket()
    group = path.stat()[stat.ST_GID]
    with ExitStack() as closing:
        # In a file, in memory: Docker shows the variables of a container to anyone who may use it.
        folder = Path(closing.enter_context(TemporaryDirectory(prefix="rotate-secret.", dir="/dev/shm")))
        file = folder / "token"
        file.touch(0o600)
        file.write_text(token)
        options = [
            *("run", *_OPTIONS, "--network", network, "--user", f"{os.getuid()}:{group}"),
            *("--mount", f"type=bind,source={path},target={_SOCKET}"),
            *("--mount", f"type=bind,source={file},target=/run/token,readonly"),
            *("--env", f"VAULT_URL={url}", "--env", f"VAULT_ROLE={os.environ.get('VAULT_ROLE', '')}"),
            *_ca_options(),
            *(("--tty",) if is_typed else ()),
        ]
        owner = f"{socket.gethostname()}, process {os.getpid()}"
        program.show(
            *options,
            *(image, "swarm", "rotate", *arguments[:1], *(("-",) if value else ())),
            *("--token-file", "/run/token", "--owner", owner, *arguments[1:]),
            stdin=value,
        )


def _ca_options() -> Sequence[str]:
    ca_cert = os.environ.get("VAULT_CACERT")
    if not ca_cert:
        return ()
    if not Path(ca_cert).is_file():
        raise DeploymentError("VAULT_CACERT must be a file with certificates in PEM")
    mount = f"type=bind,source={Path(ca_cert).resolve()},target=/run/ca.pem,readonly"
    return "--mount", mount, "--env", "VAULT_CACERT=/run/ca.pem"
