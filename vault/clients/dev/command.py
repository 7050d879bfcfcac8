"""The command `dev`: the service with its own MongoDB, for trials and development."""

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from vault.clients.dev.folder import DevFolder
from vault.clients.dev.log import FiledLog, WholeLog
from vault.clients.dev.mongod import Mongod, free_port
from vault.common import feature
from vault.common.config.dotenv import read_dotenv
from vault.common.config.settings import Settings, declared
from vault.common.config.validators import is_loopback
from vault.common.errors import (
    AuthStateError,
    MongodUnavailableError,
    ServiceRefusedError,
    ServiceUnavailableError,
    VaultError,
)
from vault.common.processes import die_with_parent, end
from vault.service.commands.service import local_address
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client.service import Service

#: The folder for all files, in the current folder.
_FOLDER = Path(".dev")
#: Loopback, because there is no authentication.
_BIND = "127.0.0.1:8000"
#: A web page must not reach it by DNS rebinding.
_HOSTS = "localhost,127.0.0.1,[::1]"
#: The highest value of `MAX_CONNECTIONS_PER_ADDRESS`.
_NO_LIMIT = "100000"
_READY_TIMEOUT_SECONDS = 60
#: Longer than the service's graceful timeout.
_STOP_TIMEOUT_SECONDS = 60
_POLL_INTERVAL_SECONDS = 0.1
#: In the reply of a service whose AUTH_ENABLED is off, while its database says otherwise.
_AUTH_STATE = AuthStateError.message
#: `-P` keeps the working folder off the module search path, as in `vault.service.commands.service`.
_PROGRAM = (sys.executable, "-P", "-m", "vault.cli")

_BANNER = """
Secret Manager is ready: {url}/docs{console}

Run this in each other terminal. It sets the address, a token with the role admin, and the settings of
commands for operators:

  . {env_file}

{access}{trial_settings}

Then try, there:

  secret-manager secret set greeting
  secret-manager secret get greeting
  secret-manager tokens create --name me --role reader

Your data, the master key, the token and the log are in {folder}. Press Ctrl-C to stop."""


#: The content of the file that a terminal reads. It names the file of the token, so that it stays valid.
#: First, it unsets what an earlier run has left there.
_EXPORTS = """unset {names}
export PATH={programs}:"$PATH"
export VAULT_URL={url} BIND={bind} VAULT_TOKEN="$(cat {token_file})"
export {shared}
"""
#: The settings of the service that commands in another terminal need, besides those of a trial.
_SHARED = ("MONGO_URI", "MASTER_KEY_FILE", "AUTH_ENABLED", "AUDIT_ENABLED")


class _Stop:
    """A stop request by Ctrl-C or SIGTERM.

    A plain attribute: a handler that sets a `threading.Event` can deadlock with the code that it interrupted.
    """

    requested = False

    def request(self, *_: object) -> None:
        self.requested = True


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Print the service's log, with a line for each request.")
@output_options
def dev(*, verbose: bool, output: Output) -> None:
    """Run the service with its own MongoDB, for development.

    The service's settings apply, except MONGO_URI and MASTER_KEY. BIND is by default 127.0.0.1:8000. With
    AUTH_ENABLED=true, every request needs a credential, as in production. `. .dev/env` sets up another
    terminal.
    """
    with _stop_on_signals() as stop:
        folder = DevFolder(_FOLDER)
        mongod = Mongod(folder.path / "db", port=free_port(folder.port))
        environment = _environment(mongod.uri, folder.key_file)
        host, port = _address(environment)
        _set_default(environment, "ALLOWED_HOSTS", f"{_HOSTS},{host}")
        _set_default(environment, "CONSOLE_ENABLED", "true")
        for name, (value, _) in _of_a_trial().items():
            _set_default(environment, name, value)
        _lift_limit(environment)
        _require_free(host, port)
        output.note("Starting MongoDB and the service.")
        log = WholeLog() if verbose else FiledLog(folder.path / "service.log")
        with mongod:
            _keep_port(folder, mongod.port, output)
            with _serve(environment, log) as serve:
                trial = _Trial(mongod, serve, log)
                _wait_until_ready(host, port, trial, stop, environment)
                if not stop.requested:
                    url = f"http://{host}:{port}"
                    _require_token(folder, url, environment)
                    folder.keep_env(_exports(folder, url, environment))
                    trial.check()
                    output.result(_addresses(folder, url, mongod.uri), _banner(folder, url, environment))
                while not stop.requested:
                    trial.pause()
                output.note("Stopping the service and MongoDB.")
    output.note(f"Stopped. Your data is in {folder.path}/")


def _of_a_trial() -> dict[str, tuple[str, str]]:
    """Return the settings with another default than the service's, and their effect."""
    return {name: one.trial for name, one in declared().items() if one.trial}


def _keep_port(folder: DevFolder, port: int, output: Output) -> None:
    if folder.port not in (None, port):
        output.note(f"Port {folder.port} is in use: MongoDB has port {port} from now on.")
    folder.keep_port(port)


def _require_token(folder: DevFolder, url: str, environment: dict[str, str]) -> None:
    """Keep a new token of the role admin in *folder*, unless the service accepts the kept one."""
    if not (folder.token and _accepts(url, folder.token)):
        folder.keep_token(_new_token(environment))


def _accepts(url: str, token: str) -> bool:
    try:
        Service(url, token).call("/vault/token/self", {})
    except ServiceRefusedError as error:
        return error.status != HTTPStatus.UNAUTHORIZED
    except (ServiceUnavailableError, ValueError):
        # The file has something else than a token; or nothing is known.
        return False
    return True


def _new_token(environment: dict[str, str]) -> str:
    # Names cannot be reused, and the database may outlive the file.
    name = f"dev-{secrets.token_hex(4)}"
    done = _run(environment, "tokens", "create", "--name", name, "--role", "admin")
    if done.returncode:
        raise VaultError(f"no token can be created: {done.stderr.strip().removeprefix('error: ')}")
    return done.stdout.strip()


def _disable_auth(environment: dict[str, str]) -> None:
    """Follow the setting: the database is for development only."""
    done = _run(environment, "auth", "disable", "--yes")
    if done.returncode:
        raise VaultError(f"AUTH_ENABLED cannot become false: {done.stderr.strip().removeprefix('error: ')}")


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - no input from outside
        [*_PROGRAM, *arguments],
        env=environment,
        # As for the service.
        close_fds=False,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )


def _addresses(folder: DevFolder, url: str, uri: str) -> dict[str, str]:
    return {
        "url": url,
        "docs": f"{url}/docs",
        "mongo_uri": uri,
        "master_key_file": str(folder.key_file),
        "token_file": str(folder.token_file),
        "env_file": str(folder.env_file),
        "folder": str(folder.path),
    }


def _exports(folder: DevFolder, url: str, environment: dict[str, str]) -> str:
    """Return the lines that set up a terminal for commands."""
    names = [*_SHARED, *_of_a_trial()]
    shared = [f"{name}={shlex.quote(environment[name])}" for name in names if name in environment]
    return _EXPORTS.format(
        programs=shlex.quote(str(Path(sys.executable).parent)),
        url=shlex.quote(url),
        bind=shlex.quote(url.removeprefix("http://")),
        token_file=shlex.quote(str(folder.token_file)),
        names=" ".join(names),
        shared=" ".join(shared),
    )


def _banner(folder: DevFolder, url: str, environment: dict[str, str]) -> str:
    return _BANNER.format(
        console=_console(folder, url),
        access=_access(environment),
        trial_settings=_trial_settings(environment),
        url=url,
        env_file=shlex.quote(str(folder.env_file)),
        folder=folder.path,
    )


def _trial_settings(environment: dict[str, str]) -> str:
    """Return which settings have the defaults of a trial, in a line each."""
    return "".join(
        f"\n{name}={value}: {effect}."
        for name, (value, effect) in _of_a_trial().items()
        if environment.get(name) == value
    )


def _console(folder: DevFolder, url: str) -> str:
    """Return where the console is, as a line of its own; empty if the service has none."""
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=5)) as connection:
        connection.request("GET", "/console/sign-in")
        if connection.getresponse().status == HTTPStatus.NOT_FOUND:
            return ""
    return f"\nThe console, for your browser: {url}/console/ (sign in with the token in {folder.token_file})"


def _access(environment: dict[str, str]) -> str:
    """Return who can read a secret, in a sentence."""
    if _settings(environment).auth_enabled:
        return "Every request needs a credential, because AUTH_ENABLED is true."
    return "Anyone who knows an ID can read that secret, unless AUTH_ENABLED is true."


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    stop = _Stop()
    earlier = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _environment(uri: str, key_file: Path) -> dict[str, str]:
    """Return the service's environment: the user's own settings, except for MongoDB and the master key."""
    environment = os.environ | {"MONGO_URI": uri, "MASTER_KEY_FILE": str(key_file)}
    for name in ("MASTER_KEY", "MONGO_URI_FILE", *(opener.setting for opener in feature.openers())):
        environment.pop(name, None)
    _set_default(environment, "BIND", _BIND)
    return environment


def _set_default(environment: dict[str, str], name: str, value: str) -> None:
    """Set *name* to *value* unless *environment* or `.env` sets it."""
    sources = (environment, read_dotenv())
    if not any(source.get(form) for source in sources for form in (name, f"{name}_FILE")):
        environment[name] = value


def _lift_limit(environment: dict[str, str]) -> None:
    """Allow one address all connections if only clients on this machine can reach the service."""
    if is_loopback(_settings(environment).bind):
        _set_default(environment, "MAX_CONNECTIONS_PER_ADDRESS", _NO_LIMIT)


def _settings(environment: dict[str, str]) -> Settings:
    return Settings.from_mapping(environment, dotenv=read_dotenv())


def _address(environment: dict[str, str]) -> tuple[str, int]:
    """Return the host and port of the service, for clients on this machine."""
    settings = _settings(environment)
    if settings.tls_cert:
        raise VaultError("`dev` does not support TLS", hint="unset TLS_CERT, or run `secret-manager serve`")
    return local_address(settings.bind)


def _require_free(host: str, port: int) -> None:
    # Checked before the start: afterwards another server's replies would pass for the service's.
    with suppress(OSError):
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
        raise VaultError(
            f"{host}:{port} is in use", hint="set another address, for example BIND=127.0.0.1:8001"
        )


@contextmanager
def _serve(environment: dict[str, str], log: WholeLog) -> Iterator[subprocess.Popen[bytes]]:
    # In its own session: a terminal's Ctrl-C must not reach the service too, or it would interrupt requests.
    with log.output() as output:
        serve = subprocess.Popen(  # noqa: S603 - no input from outside
            [*_PROGRAM, "serve"],
            env=environment,
            stdout=output,
            stderr=output,
            # MASTER_KEY_FALLBACKS can be in a descriptor, see `hide_keys`. Others close at `execve`.
            close_fds=False,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    try:
        yield serve
    finally:
        end(serve, seconds=_STOP_TIMEOUT_SECONDS)
        log.show()


class _Trial:
    """The running MongoDB and service."""

    def __init__(self, mongod: Mongod, serve: subprocess.Popen[bytes], log: WholeLog) -> None:
        self._mongod = mongod
        self._serve = serve
        self._log = log

    def pause(self) -> None:
        """Check, and wait a moment."""
        self.check()
        time.sleep(_POLL_INTERVAL_SECONDS)

    def check(self) -> None:
        """Show new warnings and errors of the service."""
        self._log.show()
        if not self._mongod.running:
            raise MongodUnavailableError("mongod has ended", hint=f"see {self._mongod.log}")
        if self._serve.poll() is not None:
            self._log.show()
            code = self._serve.returncode
            raise VaultError(f"the service has ended with exit code {code}", hint="see its messages above")


def _wait_until_ready(host: str, port: int, trial: _Trial, stop: _Stop, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
    last_reply = "none"
    while not stop.requested:
        with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=5)) as connection:
            connection.request("GET", "/health/ready")
            response = connection.getresponse()
            if response.status == 200:
                return
            last_reply = f"{response.status} {response.read().decode(errors='replace').strip()}"
            if _AUTH_STATE in last_reply:
                _disable_auth(environment)
        if time.monotonic() > deadline:
            raise VaultError(
                f"the service did not become ready in {_READY_TIMEOUT_SECONDS} s; "
                f"its last reply: {last_reply}",
                hint=f"see its messages above; its master key is that in {_FOLDER}/master.key",
            )
        trial.pause()
