"""The command `dev`: the service with its own MongoDB, for trials and development."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from vault.cli.mongod import Mongod
from vault.cli.service import local_address
from vault.config.settings import Settings, read_dotenv
from vault.core.errors import MongodUnavailableError, VaultError
from vault.core.processes import die_with_parent, end

#: The folder for all files, in the current folder.
_FOLDER = Path(".dev")
#: Loopback, because there is no authentication.
_BIND = "127.0.0.1:8000"
_READY_TIMEOUT_SECONDS = 60
#: Longer than the service's graceful timeout.
_STOP_TIMEOUT_SECONDS = 60
_POLL_INTERVAL_SECONDS = 0.1

_BANNER = """
The Secret Manager is ready. Try

  {url}/docs
  curl -H 'Content-Type: application/json' -d '{{"secret": "aGVsbG8="}}' {url}/vault/secret/create/

To run commands, in another terminal:

  export MONGO_URI='{uri}' MASTER_KEY_FILE='{key_file}' PATH='{programs}':"$PATH"
  secret-manager tokens create --name me --role admin

The data and the master key are in {folder}. Press Ctrl-C to stop.
"""


class _Stop:
    """A stop request by Ctrl-C or SIGTERM.

    A plain attribute: a handler that sets a `threading.Event` can deadlock with the code that it interrupted.
    """

    requested = False

    def request(self, *_: object) -> None:
        self.requested = True


@click.command()
def dev() -> None:
    """Run the service with its own MongoDB, for development."""
    with _stop_on_signals() as stop:
        key_file = _prepare(_FOLDER)
        mongod = Mongod(_FOLDER / "db")
        environment = _environment(mongod.uri, key_file)
        host, port = _address(environment)
        _require_free(host, port)
        with mongod, _serve(environment) as serve:
            _wait_until_ready(host, port, mongod, serve, stop)
            if not stop.requested:
                click.echo(
                    _BANNER.format(
                        url=f"http://{host}:{port}",
                        uri=mongod.uri,
                        key_file=key_file.absolute(),
                        programs=Path(sys.executable).parent,
                        folder=_FOLDER.absolute(),
                    )
                )
            while not stop.requested:
                _pause(mongod, serve)


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    stop = _Stop()
    earlier = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _prepare(folder: Path) -> Path:
    """Create *folder* and the master key in it, both for their owner only, and return the key's file."""
    key_file = folder / "master.key"
    try:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        if not key_file.exists():
            _write_key(key_file)
    except OSError as error:
        raise VaultError(f"cannot use {folder.absolute()}: {error.strerror}") from error
    return key_file


def _write_key(key_file: Path) -> None:
    # Linked to its name when complete, so that no crash leaves, and no second `dev` reads, half a key.
    with tempfile.NamedTemporaryFile(dir=key_file.parent) as file:
        file.write(b64encode(os.urandom(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, key_file)


def _environment(uri: str, key_file: Path) -> dict[str, str]:
    """Return the service's environment: the user's own settings, except for MongoDB and the master key."""
    environment = os.environ | {"MONGO_URI": uri, "MASTER_KEY_FILE": str(key_file)}
    for name in ("MASTER_KEY", "MONGO_URI_FILE"):
        environment.pop(name, None)
    sources = (environment, read_dotenv())
    if not any(source.get(name) for source in sources for name in ("BIND", "BIND_FILE")):
        environment["BIND"] = _BIND
    return environment


def _address(environment: dict[str, str]) -> tuple[str, int]:
    """Return the host and port of the service, for clients on this machine.

    Raises:
        SettingsError: At least one of the user's own settings is invalid.
        VaultError: They enable TLS.
    """
    settings = Settings.from_mapping(environment, dotenv=read_dotenv())
    if settings.tls_cert:
        raise VaultError("`dev` does not support TLS: unset TLS_CERT, or run `secret-manager serve`")
    return local_address(settings.bind)


def _require_free(host: str, port: int) -> None:
    # Checked before the start: afterwards another server's replies would pass for the service's.
    with suppress(OSError):
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
        raise VaultError(f"{host}:{port} is in use: set another address, for example BIND=127.0.0.1:8001")


@contextmanager
def _serve(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # In its own session: a terminal's Ctrl-C must not reach the service too, or it would interrupt requests.
    serve = subprocess.Popen(
        # `-P` keeps the working folder off the module search path, as in `vault.cli.service`.
        [sys.executable, "-P", "-m", "vault.cli", "serve"],
        env=environment,
        # MASTER_KEY_FALLBACKS can be in a descriptor, see `hide_keys`. Other descriptors close at `execve`.
        close_fds=False,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    try:
        yield serve
    finally:
        end(serve, seconds=_STOP_TIMEOUT_SECONDS)


def _wait_until_ready(
    host: str, port: int, mongod: Mongod, serve: subprocess.Popen[bytes], stop: _Stop
) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
    last_reply = "none"
    while not stop.requested:
        with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=5)) as connection:
            connection.request("GET", "/health/ready")
            response = connection.getresponse()
            if response.status == 200:
                return
            last_reply = f"{response.status} {response.read().decode(errors='replace').strip()}"
        if time.monotonic() > deadline:
            raise VaultError(
                f"the service did not become ready in {_READY_TIMEOUT_SECONDS} s; "
                f"its last reply: {last_reply}"
            )
        _pause(mongod, serve)


def _pause(mongod: Mongod, serve: subprocess.Popen[bytes]) -> None:
    """Wait a moment.

    Raises:
        VaultError: MongoDB or the service has ended.
    """
    if not mongod.running:
        raise MongodUnavailableError(f"mongod has ended, see {mongod.log}")
    if serve.poll() is not None:
        raise VaultError(f"the service has ended with exit code {serve.returncode}, see its messages above")
    time.sleep(_POLL_INTERVAL_SECONDS)
