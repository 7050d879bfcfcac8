"""`secret-manager dev`: as a process, and in parts where a process cannot be made to fail."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import requests

from tests.cli.waiting import wait_until
from tests.system import coverage_of_greenlets
from vault.cli.mongod import free_port
from vault.core.errors import VaultError

#: The attribute `vault.cli.dev` is the command; this is its module.
module = import_module("vault.cli.dev")


_started: set[str] = set()


class Dev:
    """`secret-manager dev`, run in *folder*."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / "output"
        self.environment = {"BIND": f"127.0.0.1:{self.port}", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Dev":
        """Start it, without waiting."""
        inherited = ("PATH", "PYTHON")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vault.cli", "dev"],
                cwd=self.folder,
                env={n: v for n, v in os.environ.items() if n.startswith(inherited)}
                | coverage_of_greenlets()
                | self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _started.add(str(self.process.pid))
        return self

    def wait_until_it_says(self, text: str) -> None:
        """Return once *text* is in the output."""
        wait_until(lambda: text in self.output.read_text() or self.process.poll() is not None)
        assert text in self.output.read_text()

    def ready(self) -> "Dev":
        """Start it and wait for its banner."""
        self.start().wait_until_it_says("Press Ctrl-C to stop")
        return self

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send signal *number* if there is one, and return the exit status and the output's last line."""
        if number:
            self.process.send_signal(number)
        status = self.process.wait(90)
        return status, (self.output.read_text().splitlines() or [""])[-1]


@pytest.fixture
def make(tmp_path):
    """Return a function that creates a `Dev` in the test's folder; all end with the test."""
    made = []

    def make(**environment):
        made.append(Dev(tmp_path, **environment))
        return made[-1]

    yield make
    for dev in made:
        if dev.process:
            dev.process.kill()
            dev.process.wait()


def _processes(folder: Path, name: str = "") -> list[int]:
    """Return the IDs of the processes that work in *folder* and have *name* in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_text()
            if _is_in(process, folder) and name in command:
                found.append(int(process.name))
    return sorted(found)


def _command_line(process: int) -> bytes:
    # An orphan may stay unreaped: an ended process has no command line.
    try:
        return Path("/proc", str(process), "cmdline").read_bytes()
    except FileNotFoundError:
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
    return requests.post(f"{dev.url}/vault/secret/{path}", json=body, timeout=30).json()


def test_secrets_are_kept_between_runs(make, tmp_path):
    """A secret is still readable after a stop and a new start."""
    first = make().ready()
    identifier = _post(first, "create", secret="aGVsbG8=")["secret_id"]
    assert first.end(signal.SIGINT)[0] == 0
    second = make().ready()
    assert _post(second, "fetch", secret_id=identifier) == {"secret": "aGVsbG8="}
    assert second.end(signal.SIGINT)[0] == 0
    assert not _processes(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_it_cleanly(make, tmp_path, number):
    """Ctrl-C and SIGTERM end the service and MongoDB, with status 0."""
    dev = make().ready()
    assert _processes(tmp_path, "mongod")
    assert _processes(tmp_path, "gunicorn")
    assert dev.end(number)[0] == 0
    assert not _processes(tmp_path)


def test_a_stop_before_it_is_ready_works(make, tmp_path):
    """Ctrl-C during the start also ends it with status 0 and leaves nothing."""
    dev = make().start()
    wait_until((tmp_path / ".dev" / "db.log").exists)
    assert dev.end(signal.SIGINT)[0] == 0
    assert "Press Ctrl-C to stop" not in dev.output.read_text()
    assert not _processes(tmp_path)


def test_a_kill_leaves_no_process(make, tmp_path):
    """After it is killed, and so cannot clean up, the service and MongoDB end."""
    dev = make().ready()
    found = _processes(tmp_path)
    dev.process.kill()
    dev.process.wait()
    wait_until(lambda: not _processes(tmp_path))
    wait_until(lambda: not any(_command_line(process) for process in found))


def test_master_key_is_private(make, tmp_path):
    """The master key is in a file of mode 0600 in a folder of mode 0700, and nowhere else."""
    dev = make().ready()
    folder = tmp_path / ".dev"
    key = (folder / "master.key").read_text().strip()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    for process in _processes(tmp_path):
        assert key not in Path("/proc", str(process), "cmdline").read_text()
        # Only root may inspect hardened processes.
        with suppress(PermissionError):
            assert key not in Path("/proc", str(process), "environ").read_text()
    assert dev.end(signal.SIGINT)[0] == 0
    assert key not in dev.output.read_text()
    assert key not in (folder / "db.log").read_text()


def test_banner_shows_how_to_start(make, tmp_path):
    """The banner names the documentation, a working command, and the data folder."""
    dev = make().ready()
    banner = dev.output.read_text()
    assert f"{dev.url}/docs" in banner
    assert str(tmp_path / ".dev") in banner
    (command,) = (line for line in banner.splitlines() if line.startswith("  curl"))
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert '"secret_id"' in run.stdout


def test_used_port_is_one_clear_line(make, tmp_path):
    """If the port is in use, the command says so in one line, starts nothing and fails."""
    dev = make()
    with socket.create_server(("127.0.0.1", dev.port)):
        status, line = dev.start().end()
    assert status == 1
    assert f"127.0.0.1:{dev.port} is in use" in line
    assert dev.output.read_text().count("\n") == 1
    assert not _processes(tmp_path)


def test_second_one_on_the_same_data_is_one_clear_line(make):
    """A second instance in the same folder is refused in one line, and the first continues."""
    first = make().ready()
    first.output = first.output.rename(first.folder / "output-of-the-first")
    second = make().start()
    status, line = second.end()
    assert status == 1
    assert "another mongod uses the data in .dev/db" in line
    assert second.output.read_text().count("\n") == 1
    assert "secret_id" in _post(first, "create", secret="aGVsbG8=")


@pytest.mark.parametrize(
    ("name", "message"), [("gunicorn", "the service has ended"), ("mongod", "mongod has ended")]
)
def test_loss_of_either_process_ends_it(make, tmp_path, name, message):
    """When the service or MongoDB ends by itself, the command names it, ends the other and fails."""
    dev = make().ready()
    os.kill(_processes(tmp_path, name)[0], signal.SIGTERM)
    status, line = dev.end()
    assert status == 1
    assert message in line
    assert not _processes(tmp_path)


def test_unusable_folder_is_one_clear_line(make, tmp_path):
    """If `.dev` cannot be a folder, the command says so in one line and fails."""
    (tmp_path / ".dev").touch()
    status, line = make().start().end()
    assert status == 1
    assert f"cannot use {tmp_path / '.dev'}: " in line


def test_wrong_settings_are_refused_before_the_start(make, tmp_path):
    """The user's own settings apply, and invalid ones are refused before MongoDB is started."""
    status, line = make(LOG_LEVEL="loud").start().end()
    assert status == 1
    assert "LOG_LEVEL" in line
    assert not (tmp_path / ".dev" / "db.log").exists()


def test_modules_of_the_working_folder_do_not_run(make, tmp_path):
    """The started service runs no code of the working folder."""
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "__init__.py").write_text("raise SystemExit('a planted module ran')\n")
    dev = make(PYTHONSAFEPATH="").ready()
    assert dev.end(signal.SIGINT)[0] == 0


def test_fallback_keys_of_the_environment_are_used(make):
    """Fallback keys of the user reach the service, although they are in no environment."""
    dev = make(MASTER_KEY_FALLBACKS="an-older-key-of-thirty-two-chars").ready()
    assert dev.end(signal.SIGINT)[0] == 0


def test_key_and_database_are_always_its_own(monkeypatch, tmp_path):
    """The command uses its own key and MongoDB, even if the environment names production's."""
    monkeypatch.chdir(tmp_path)
    for name in ("MASTER_KEY", "MASTER_KEY_FILE", "MONGO_URI", "MONGO_URI_FILE"):
        monkeypatch.setenv(name, "production")
    environment = module._environment("mongodb://ours", Path("our.key"))
    assert "production" not in environment.values()
    assert environment["MONGO_URI"] == "mongodb://ours"
    assert environment["MASTER_KEY_FILE"] == "our.key"


def test_listens_on_loopback_by_default(monkeypatch, tmp_path):
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
    ("bind", "address"),
    [("0.0.0.0:80", ("localhost", 80)), ("[::]:80", ("localhost", 80)), ("[::1]:81", ("[::1]", 81))],
)
def test_the_banner_s_address_can_be_opened(master_key, bind, address):
    """If the service listens on every address, the banner names one that a browser can open."""
    assert module._address({"MASTER_KEY": master_key, "BIND": bind}) == address


def test_key_of_a_simultaneous_start_is_kept(tmp_path):
    """A key that another start has just created is not replaced."""
    key_file = tmp_path / "master.key"
    module._write_key(key_file)
    key = key_file.read_text()
    module._write_key(key_file)
    assert key_file.read_text() == key
    assert list(tmp_path.iterdir()) == [key_file]


def test_a_service_that_is_never_ready_times_out(monkeypatch):
    """A service that answers but never becomes ready is stopped, and its last answer is shown."""

    class Unready(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"no mongodb")

        def log_message(self, *_):
            pass

    monkeypatch.setattr(module, "_READY_TIMEOUT_SECONDS", 0)
    processes = (SimpleNamespace(running=True), SimpleNamespace(poll=lambda: None))
    with HTTPServer(("127.0.0.1", 0), Unready) as server:
        Thread(target=server.serve_forever).start()
        with pytest.raises(VaultError, match="its last reply: 503 no mongodb"):
            module._wait_until_ready("127.0.0.1", server.server_port, *processes, module._Stop())
        server.shutdown()


def test_banner_command_creates_a_token(make, tmp_path):
    """The banner's command creates a token that can read the audit trail."""
    dev = make().ready()
    lines = dev.output.read_text().splitlines()
    commands = [line for line in lines if line.startswith(("  export ", "  secret-manager "))]
    assert len(commands) == 2
    assert f"PATH='{Path(sys.executable).parent}'" in commands[0]
    commands[1] = commands[1].replace("secret-manager", f"{sys.executable} -m vault.cli")
    token = subprocess.run(
        ["bash", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=dev.environment | dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    reply = requests.post(f"{dev.url}/vault/audit/query", json={}, headers=headers, timeout=30)
    assert reply.status_code == 200


def test_a_trial_is_without_tls(monkeypatch, master_key):
    """Settings with TLS are refused, and the message names the command that supports it."""
    settings = SimpleNamespace(tls_cert="a", bind="127.0.0.1:8000")
    monkeypatch.setattr(module.Settings, "from_mapping", lambda *_, **__: settings)
    with pytest.raises(VaultError, match="unset TLS_CERT"):
        module._address({"MASTER_KEY": master_key})
