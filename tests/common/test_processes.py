"""Protection of the service from other processes of its user, and from its child processes."""

import os
import resource
import signal
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.test_gunicorn_conf import PLAINTEXT
from tests.support.commands import command_environment
from tests.support.service import SERVE, Service, children, patient
from tests.support.waiting import wait_until
from vault.common import processes
from vault.common.config.settings import Settings
from vault.common.processes import hide_keys

KEY = b64encode(bytes(range(100, 132))).decode()
NOBODY = 65_534

#: Loads the package while it is root, as another user may not be able to.
_PREPARED = """
import ctypes, os, sys
from vault.common.processes import harden
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    # Changing the user makes a process not dumpable; this one is to be as any other at first.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if "harden" in sys.argv:
    harden()
print("ready", flush=True)
sys.stdin.read()
"""


def environ_as_seen_by_its_user(*arguments: str) -> str:
    """Return the environment of a process as read by an unprivileged process of its user."""
    user = NOBODY if os.getuid() == 0 else None
    environment = command_environment({"MASTER_KEY": KEY})
    with subprocess.Popen(
        [sys.executable, "-c", _PREPARED, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            return subprocess.run(
                ["/bin/cat", f"/proc/{process.pid}/environ"],
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
        finally:
            process.communicate("")


@pytest.mark.promise("processes")
@pytest.mark.process
def test_the_same_user_cannot_read_a_hardened_process() -> None:
    """A user's process can read the environment of another, except a hardened one's."""
    assert KEY in environ_as_seen_by_its_user()
    assert environ_as_seen_by_its_user("harden") == ""


@pytest.mark.promise("processes")
@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [
        SERVE,
        ("-m", "gunicorn", "--chdir", str(Path(__file__).parents[2]), "wsgi:app"),
    ],
    ids=["serve", "wsgi"],
)
def test_every_process_of_the_service_is_hardened(
    environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    """For every way to start the service, none of its processes dumps core or gains privileges.

    `serve` becomes gunicorn, and passes the keys on outside the environment, so even root does not find them.
    """
    keys = {"MASTER_KEY": environment["MASTER_KEY"], "MASTER_KEY_FALLBACKS": KEY}
    service = Service({**environment, **keys}, folder=tmp_path, command=command)
    if "wsgi:app" in command:
        service._command = (*command, "--bind", f"127.0.0.1:{service.port}", "--worker-class", "gevent")
    with service:
        if "wsgi:app" not in command:
            service.wait_until_started()
        assert service.process is not None
        master = str(service.process.pid)
        workers = children(int(master))
        assert workers
        for process in workers if "wsgi:app" in command else {master, *workers}:
            status = Path("/proc", process, "status").read_text()
            assert "NoNewPrivs:\t1\n" in status
            [core] = [
                line
                for line in Path("/proc", process, "limits").read_text().splitlines()
                if line.startswith("Max core file size")
            ]
            assert core.split()[4:6] == ["0", "0"]
            # For users other than root, which is more than this test needs.
            with suppress(PermissionError):
                shown = Path("/proc", process, "environ").read_text()
                assert "MONGO_URI" in shown
                assert "serve" not in command or not [name for name, key in keys.items() if key in shown]


@pytest.mark.promise("processes")
@pytest.mark.process
def test_commands_are_hardened(environment: dict[str, str], tmp_path: Path) -> None:
    """A command that holds the master key is protected like the service."""
    code = (
        "import sys, ctypes, click\n"
        "from vault import cli\n"
        "cli.commands.add_command(click.Command('look', callback=lambda:"
        " print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))))\n"
        "sys.argv = ['secret-manager', 'look']\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=command_environment(environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0 1\n"


@pytest.mark.process
def test_a_new_master_takes_over_on_sigusr2(environment: dict[str, str], tmp_path: Path) -> None:
    """On SIGUSR2 a new master gets the keys, and serves the stored data after the old one has ended."""
    with Service(environment, folder=tmp_path) as service:
        service.wait_until_started()
        assert service.process is not None
        secret_id = service.create(PLAINTEXT)
        old = service.process.pid
        workers = service.workers()
        os.kill(old, signal.SIGUSR2)
        wait_until(lambda: len(children(old)) == 3)
        [new] = children(old) - workers
        wait_until(lambda: len(children(int(new))) == 2)
        os.kill(old, signal.SIGTERM)
        assert service.process.wait(120) == 0
        service.wait_until("/health/ready")
        assert patient(lambda: service.fetch(secret_id)).status == 200
        os.kill(int(new), signal.SIGTERM)
        wait_until(lambda: not _command_line(new))


def _command_line(process: str) -> bytes:
    # An orphan may stay unreaped: an ended process has no command line.
    try:
        return Path("/proc", process, "cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_other_systems_use_what_they_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `prctl`, a process still writes no core file."""
    set_to = []
    monkeypatch.setattr(processes, "_prctl", None)
    monkeypatch.setattr(processes, "hide_keys", lambda: None)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: set_to.append(limit))
    processes.harden()
    assert set_to == [(resource.RLIMIT_CORE, (0, 0))]


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a patch of the environment that also restores it afterwards."""
    for name in ("MASTER_KEY", "MASTER_KEY_FALLBACKS"):
        monkeypatch.setenv(name, KEY)
        monkeypatch.setenv(f"{name}_FILE", "")
    return monkeypatch


def test_hidden_keys_are_still_found(restored: pytest.MonkeyPatch) -> None:
    """A value removed from the environment can be read repeatedly, byte for byte."""
    raw = "a key of 32 characters and no 64\n"[1:]
    restored.setenv("MASTER_KEY_FALLBACKS", raw)
    hide_keys()
    hide_keys()
    assert not {"MASTER_KEY", "MASTER_KEY_FALLBACKS"} & os.environ.keys()
    for _ in range(2):
        settings = Settings.from_environment()
        assert b64encode(settings.master_key).decode() == KEY
        assert settings.master_key_fallbacks == (raw.encode(),)


def test_a_kernel_without_memory_files_leaves_the_key_in_place(restored: pytest.MonkeyPatch) -> None:
    """If the kernel forbids the hand-over, the service starts anyway."""

    def refuse(*_: object) -> int:
        raise PermissionError

    restored.setattr(os, "memfd_create", refuse)
    hide_keys()
    assert b64encode(Settings.from_environment().master_key).decode() == KEY


def test_a_key_and_its_file_together_stay_an_error(restored: pytest.MonkeyPatch) -> None:
    """Hiding a key does not select one of two sources."""
    restored.setenv("MASTER_KEY_FILE", "/any")
    hide_keys()
    assert os.environ["MASTER_KEY"] == KEY
