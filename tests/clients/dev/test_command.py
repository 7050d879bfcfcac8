"""`secret-manager dev`: as a process, and in parts where a process cannot be made to fail."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from tests.support.commands import nursery
from tests.support.nursery import Fork
from tests.support.system import coverage_of_greenlets
from tests.support.waiting import wait_until
from vault.cli import commands
from vault.clients.dev.folder import DevFolder
from vault.clients.dev.log import WholeLog
from vault.clients.dev.mongod import free_port
from vault.common.config.settings import declared
from vault.common.errors import AuthStateError, VaultError
from vault.toolkit.cli.output import Output

pytestmark = pytest.mark.process

#: The attribute `vault.clients.dev.command` is the command; this is its module.
module: Any = import_module("vault.clients.dev.command")

#: The IDs of all processes that these tests have started.
_started: set[str] = set()


class Dev:
    """`secret-manager dev`, run in *folder* with one worker.

    It is a fork of the nursery, whose service does not count for the coverage, or as in production.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / "output"
        self.environment = {"BIND": f"127.0.0.1:{self.port}", "WEB_CONCURRENCY": "1", **environment}
        self.options: tuple[str, ...] = ()
        self.as_in_production = False
        self.process: subprocess.Popen[bytes] | Fork | None = None

    def start(self) -> "Dev":
        """Start it, without waiting."""
        inherited = ("PATH", "PYTHON")
        environment = {n: v for n, v in os.environ.items() if n.startswith(inherited)} | self.environment
        with self.output.open("wb") as output, Path(os.devnull).open() as nothing:
            if not self.as_in_production:
                streams = [nothing.fileno(), output.fileno(), output.fileno()]
                self.process = nursery().start(
                    "dev", *self.options, environment=environment, folder=self.folder, streams=streams
                )
            else:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "vault.cli", "dev", *self.options],
                    cwd=self.folder,
                    env=environment | coverage_of_greenlets(),
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        _started.add(str(self.process.pid))
        return self

    def wait_until_it_says(self, text: str) -> None:
        """Return once *text* is in the output."""
        wait_until(lambda: text in self.output.read_text() or self._running().poll() is not None, seconds=180)
        assert text in self.output.read_text()

    def ready(self) -> "Dev":
        """Start it and wait for its banner."""
        self.start().wait_until_it_says("Press Ctrl-C to stop")
        return self

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send signal *number* if there is one, and return the exit status and the output's last line."""
        if number:
            self._running().send_signal(number)
        status = self._running().wait(90)
        return status, (self.output.read_text().splitlines() or [""])[-1]

    def kill(self) -> None:
        """Kill it, so that it cannot clean up."""
        self._running().kill()
        self._running().wait()

    def _running(self) -> "subprocess.Popen[bytes] | Fork":
        assert self.process, "it was not started"
        return self.process


#: Creates a `Dev` with these environment variables.
Make = Callable[..., Dev]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that creates a `Dev` in the test's folder; all end with the test."""
    made: list[Dev] = []

    def make(**environment: str) -> Dev:
        made.append(Dev(tmp_path, **environment))
        return made[-1]

    yield make
    for dev in made:
        if dev.process:
            dev.kill()


def _processes(folder: Path, name: str = "") -> list[int]:
    """Return the IDs of the processes in *folder* that have *name* in their command, oldest first."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The arguments of other tests' processes can be any bytes.
            if _is_in(process, folder) and name in (process / "cmdline").read_text():
                started = (process / "stat").read_text().rpartition(")")[2].split()[19]
                found.append((int(started), int(process.name)))
    return [process for _, process in sorted(found)]


def _command_line(process: int) -> bytes:
    # An orphan may stay unreaped: an ended process has no command line.
    try:
        return Path("/proc", str(process), "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _is_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except PermissionError:
        # Hardened, and the test is not root: then it is a descendant of this test's process.
        while process.name not in ("0", *_started):
            process = process.with_name(re.findall(r"PPid:\t(\d+)", (process / "status").read_text())[0])
        return process.name in _started


def _post(dev: Dev, path: str, **body: str) -> dict[str, str]:
    reply: dict[str, str] = requests.post(f"{dev.url}/vault/secret/{path}", json=body, timeout=30).json()
    return reply


def _sourced(dev: Dev) -> str:
    """Return the line of the banner that sets a terminal up."""
    [line] = [line for line in dev.output.read_text().splitlines() if line.startswith("  . ")]
    return line


def _whoami(dev: Dev, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{dev.url}/vault/token/self", json={}, headers=headers, timeout=30).status_code


@pytest.mark.long
def test_a_second_run_continues_the_first(make: Make, tmp_path: Path) -> None:
    """A stop ends everything; a new start has the same secrets, port and token, so pasted lines work.

    The commands of the banner work, also if the service requires a credential, and no longer does. When the
    service ends by itself, the command names it, ends MongoDB and fails.
    """
    first = make().ready()
    assert _processes(tmp_path, "mongod")
    assert "Anyone who knows an ID" in first.output.read_text()
    _check_banner(first)
    identifier = _post(first, "create", secret="aGVsbG8=")["secret_id"]
    assert first.end(signal.SIGTERM) == (0, f"Stopped. Your data is in {tmp_path / '.dev'}/")
    assert not _processes(tmp_path)
    line = _sourced(first)
    second = make(BIND=first.environment["BIND"], AUTH_ENABLED="true", CONSOLE_ENABLED="false").ready()
    assert "/console/" not in second.output.read_text()
    assert "Every request needs a credential" in second.output.read_text()
    assert _sourced(second) == line
    settings = 'printf "%s" "$AUTH_ENABLED"'
    printed = _paste(second, line, f"secret-manager secret describe {identifier}", settings)
    assert identifier in printed
    assert printed.endswith("true")
    os.kill(_processes(tmp_path, "gunicorn")[0], signal.SIGTERM)
    status, line = second.end()
    assert status == 1
    assert "the service has ended" in line
    assert not _processes(tmp_path)
    # Without a command: the database is for development only.
    third = make().ready()
    assert _post(third, "fetch", secret_id=identifier)["secret"] == "aGVsbG8="
    assert third.end(signal.SIGTERM)[0] == 0


def _check_banner(dev: Dev) -> None:
    """Require that the banner comes last, and that all its commands work when pasted."""
    output = dev.output.read_text()
    assert output.endswith("Press Ctrl-C to stop.\n")
    assert f"{dev.url}/docs" in output
    assert f"{dev.url}/console/" in output
    assert "Sign in" in requests.get(f"{dev.url}/console/sign-in", timeout=30).text
    commands = _commands(dev)
    environment = dev.folder / ".dev" / "env"
    assert commands[0] == f". {environment}"
    assert environment.stat().st_mode & 0o777 == 0o600
    stored, printed = _paste(dev, *commands, 'printf "%s" "$VAULT_TOKEN"').split("hello")
    assert "greeting" in stored
    [(reader, admin)] = re.findall(r"\A(smt_.*)\n(smt_.*)\Z", printed)
    assert admin not in output
    for token, status in ((reader, 403), (admin, 200)):
        headers = {"Authorization": f"Bearer {token}"}
        reply = requests.post(f"{dev.url}/vault/audit/query", json={}, headers=headers, timeout=30)
        assert reply.status_code == status
    _check_settings(dev, commands[0])
    # Refusals and requests concern clients, not the terminal of the service.
    assert requests.get(f"{dev.url}/nowhere", timeout=30).status_code == 404
    assert dev.output.read_text() == output


def _check_settings(dev: Dev, sourced: str) -> None:
    """Require that the service, and a command in its own process, have the settings of a trial.

    A deleted secret can be restored. A setting of an earlier run does not stay in the terminal.
    """
    left = _paste(dev, "export AUTH_ENABLED=true", sourced, 'printf "%s" "${AUTH_ENABLED-unset}"')
    assert left == "unset"
    headers = {"Authorization": f"Bearer {(dev.folder / '.dev' / 'token').read_text().strip()}"}
    identifier = _post(dev, "create", secret="aGVsbG8=")["secret_id"]
    body = {"secret_id": identifier}
    deleted = requests.post(f"{dev.url}/vault/secret/delete", json=body, headers=headers, timeout=30)
    assert deleted.json()["restorable_until"]
    trials = {name: one.trial for name, one in declared().items() if one.trial}
    assert trials["DELETE_RECOVERY_DAYS"]
    for name, (value, effect) in trials.items():
        assert f"{name}={value}: {effect}." in dev.output.read_text()
        assert _paste(dev, sourced, f'printf "%s" "${name}"') == value


def _commands(dev: Dev) -> list[str]:
    """Return the commands of the banner, in order."""
    _, _, banner = dev.output.read_text().partition("Secret Manager is ready")
    return [
        command.strip() for command in banner.replace("\\\n", "").splitlines() if command.startswith("  ")
    ]


def _paste(dev: Dev, *commands: str) -> str:
    """Return the output of *commands* in a new terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAULT_")}
    nursery().install(dev.folder)
    run = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        cwd=dev.folder,
        env=environment | {"PATH": f"{dev.folder}:{environment['PATH']}"},
        pass_fds=[nursery().fileno()],
        input="hello",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.promise("processes")
def test_one_run_keeps_its_promises(make: Make, tmp_path: Path) -> None:
    """The key is private, web pages cannot rebind names, a second run in the folder is refused, and so on.

    The run begins with a token that the service refuses, a module in the working folder, and fallback keys.
    With `--json`, its addresses and paths are one object.
    """
    folder = tmp_path / ".dev"
    folder.mkdir(mode=0o700)
    token = folder / "token"
    token.write_text("smt_0000000000000000000000000000000000000\n")
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "__init__.py").write_text("raise SystemExit('a planted module ran')\n")
    dev = make(PYTHONSAFEPATH="", MASTER_KEY_FALLBACKS="an-older-key-of-thirty-two-chars")
    dev.options, dev.as_in_production = ("--verbose", "--json"), True
    dev.start().wait_until_it_says('{"url"')
    [shown] = [json.loads(line) for line in dev.output.read_text().splitlines() if line.startswith('{"url"')]
    assert (shown["url"], shown["folder"], shown["token_file"]) == (dev.url, str(folder), str(token))
    # The kept token was refused, so the service has another.
    assert token.stat().st_mode & 0o777 == 0o600
    assert _whoami(dev, token.read_text().strip()) == 200
    _check_key(dev, folder)
    _check_hosts(dev)
    dev.wait_until_it_says('"operation": "openapi"')
    _check_second(make, dev)
    assert dev.end(signal.SIGINT)[0] == 0
    key = (folder / "master.key").read_text().strip()
    assert key not in dev.output.read_text()
    assert key not in (folder / "db.log").read_text()


def _check_key(dev: Dev, folder: Path) -> None:
    key = (folder / "master.key").read_text().strip()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    for process in _processes(dev.folder):
        assert key not in Path("/proc", str(process), "cmdline").read_text()
        # Only root may inspect hardened processes.
        with suppress(PermissionError):
            assert key not in Path("/proc", str(process), "environ").read_text()


def _check_hosts(dev: Dev) -> None:
    def status(host: str) -> int:
        return requests.get(f"{dev.url}/openapi.json", headers={"Host": host}, timeout=60).status_code

    assert [status(host) for host in ("localhost", "127.0.0.1:1", "[::1]:8000")] == [200, 200, 200]
    assert status("evil.example") == 421


def _check_second(make: Make, first: Dev) -> None:
    first.output = first.output.rename(first.folder / "output-of-the-first")
    port = (first.folder / ".dev" / "mongodb.port").read_text()
    second = make().start()
    status, line = second.end()
    assert status == 1
    assert f"another mongod uses the data in {first.folder / '.dev' / 'db'}" in line
    assert second.output.read_text().splitlines()[:-1] == ["Starting MongoDB and the service."]
    assert (first.folder / ".dev" / "mongodb.port").read_text() == port
    assert "secret_id" in _post(first, "create", secret="aGVsbG8=")


def test_a_stop_before_it_is_ready_works(make: Make, tmp_path: Path) -> None:
    """Ctrl-C during the start also ends it with status 0 and leaves nothing."""
    # It is never ready.
    dev = make(AUDIT_SINK="unix:///nowhere").start()
    wait_until((tmp_path / ".dev" / "db.log").exists)
    assert dev.end(signal.SIGINT)[0] == 0
    assert "Press Ctrl-C to stop" not in dev.output.read_text()
    assert not _processes(tmp_path)


def test_a_kill_leaves_no_process(make: Make, tmp_path: Path) -> None:
    """After it is killed, and so cannot clean up, the service and MongoDB end."""
    dev = make().ready()
    found = _processes(tmp_path)
    assert found
    dev.kill()
    wait_until(lambda: not _processes(tmp_path), seconds=120, pause=0.2)
    wait_until(lambda: not any(_command_line(process) for process in found))


def test_nothing_is_started_in_vain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Invalid settings and a port in use are one line, before MongoDB is started."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = f"127.0.0.1:{server.getsockname()[1]}"
        for settings, problem in (({"LOG_LEVEL": "loud"}, "LOG_LEVEL"), ({}, f"{bind} is in use")):
            result = CliRunner().invoke(commands, ["dev"], env={"BIND": bind, **settings})
            assert result.exit_code == 1
            assert problem in result.stderr
            assert result.output.count("\n") == 1
    assert not (tmp_path / ".dev" / "db.log").exists()


def test_the_end_of_mongodb_is_noticed() -> None:
    """When MongoDB ends by itself, the command fails and names its log."""
    mongod = SimpleNamespace(running=False, log="db.log")
    with pytest.raises(VaultError, match=r"mongod has ended; see db\.log"):
        module._Trial(mongod, SimpleNamespace(), WholeLog()).check()


def test_key_and_database_are_always_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command uses its own key and MongoDB, even if the environment names production's."""
    monkeypatch.chdir(tmp_path)
    for name in ("MASTER_KEY", "MASTER_KEY_FILE", "MONGO_URI", "MONGO_URI_FILE"):
        monkeypatch.setenv(name, "production")
    environment = module._environment("mongodb://ours", Path("our.key"))
    assert "production" not in environment.values()
    assert environment["MONGO_URI"] == "mongodb://ours"
    assert environment["MASTER_KEY_FILE"] == "our.key"


def test_listens_on_loopback_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The service listens on loopback, or on the address in the environment or a `.env` file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIND", raising=False)
    assert module._environment("", Path())["BIND"] == "127.0.0.1:8000"
    monkeypatch.setenv("BIND_FILE", "bind")
    assert "BIND" not in module._environment("", Path())
    monkeypatch.delenv("BIND_FILE")
    (tmp_path / ".env").write_text("BIND=0.0.0.0:9000\n")
    assert "BIND" not in module._environment("", Path())


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"BIND": "127.0.0.1:9000"}, "100000"),
        ({"BIND": "[::1]:9000"}, "100000"),
        ({"BIND": "localhost:9000", "MAX_CONNECTIONS_PER_ADDRESS": "7"}, "7"),
        ({"BIND": "0.0.0.0:9000"}, None),
    ],
)
def test_clients_on_this_machine_can_use_all_connections(
    master_key: str, settings: dict[str, str], limit: str | None
) -> None:
    """On loopback, all clients are the user's own, so only the user limits their connections."""
    environment = {"MASTER_KEY": master_key, **settings}
    module._lift_limit(environment)
    assert environment.get("MAX_CONNECTIONS_PER_ADDRESS") == limit


@pytest.mark.parametrize(
    ("bind", "address"),
    [("0.0.0.0:80", ("localhost", 80)), ("[::]:80", ("localhost", 80)), ("[::1]:81", ("[::1]", 81))],
)
def test_the_banner_s_address_can_be_opened(master_key: str, bind: str, address: tuple[str, int]) -> None:
    """If the service listens on every address, the banner names one that a browser can open."""
    assert module._address({"MASTER_KEY": master_key, "BIND": bind}) == address


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        ("no mongodb", 0, "its last reply: 503 no mongodb"),
        (AuthStateError.message, 0, "its last reply: 503 authentication was enabled"),
        (AuthStateError.message, 1, "AUTH_ENABLED cannot become false: processes run"),
    ],
)
def test_a_service_that_is_never_ready_times_out(
    monkeypatch: pytest.MonkeyPatch, reply: str, code: int, message: str
) -> None:
    """A service that answers but never becomes ready is stopped; the reason is shown."""
    done = subprocess.CompletedProcess((), code, "", "error: processes run\n")
    monkeypatch.setattr(module, "_run", lambda *_: done)

    class Unready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(reply.encode())

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(module, "_READY_TIMEOUT_SECONDS", 0)
    trial = module._Trial(SimpleNamespace(running=True), SimpleNamespace(poll=lambda: None), WholeLog())
    with HTTPServer(("127.0.0.1", 0), Unready) as server:
        Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(VaultError, match=message):
                module._wait_until_ready("127.0.0.1", server.server_port, trial, module._Stop(), {})
        finally:
            server.shutdown()


def test_a_missing_token_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If no token can be created, the message has the reason."""
    environment = dict(os.environ) | {"MASTER_KEY": "", "MASTER_KEY_FILE": "", "MONGO_URI": ""}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VaultError, match=r"no token can be created: (.|\n)*MASTER_KEY"):
        module._new_token(environment)


@pytest.mark.parametrize("token", ["smt_0000", "é"], ids=["away", "no token"])
def test_a_token_without_an_answer_is_not_accepted(token: str) -> None:
    """A kept token counts only if the service accepts it."""
    assert not module._accepts("http://127.0.0.1:1", token)


def test_another_port_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If MongoDB's port has changed, a line says so; otherwise, nothing does."""
    folder = DevFolder(tmp_path)
    for port in (20_001, 20_001, 20_002):
        module._keep_port(folder, port, Output())
    assert folder.port == 20_002
    assert capsys.readouterr().err == "Port 20001 is in use: MongoDB has port 20002 from now on.\n"


def test_a_trial_is_without_tls(monkeypatch: pytest.MonkeyPatch, master_key: str) -> None:
    """Settings with TLS are refused, and the message names the command that supports it."""
    settings = SimpleNamespace(tls_cert="a", bind="127.0.0.1:8000")
    monkeypatch.setattr(module.Settings, "from_mapping", lambda *_, **__: settings)
    with pytest.raises(VaultError, match="unset TLS_CERT"):
        module._address({"MASTER_KEY": master_key})
