"""The commands for people on a Linux without `/proc`, and as on a Mac."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.docs.terminal import terminal
from tests.support.command_fixtures import Served
from tests.support.commands import command_environment
from tests.support.system import missing
from vault.clients.people import memory_folder, program

pytestmark = pytest.mark.process

#: Runs commands of one line each in this process, the last of which takes its place.
_RUN = """
import shlex, sys
from vault.cli import commands
for line in sys.argv[1:]:
    commands(shlex.split(line), standalone_mode=False)
"""

#: A stand-in for a Mac: what only Linux has is missing.
_MAC = """
import ctypes, os, resource, select, signal, socket, sys, time, types
sys.platform = "darwin"
sys.modules["_scproxy"] = types.SimpleNamespace(_get_proxy_settings=dict, _get_proxies=dict)
ctypes.CDLL = lambda _: types.SimpleNamespace()
for module, names in {
    os: "O_PATH O_TMPFILE copy_file_range eventfd getrandom getxattr memfd_create pidfd_open pipe2"
        " posix_fadvise posix_fallocate sched_getaffinity setresuid splice",
    resource: "prlimit",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo SIGRTMIN",
    socket: "AF_NETLINK SO_PEERCRED SOCK_CLOEXEC",
    time: "CLOCK_BOOTTIME",
}.items():
    for name in names.split():
        delattr(module, name)
"""

_COMMANDS = (
    "login",
    "whoami",
    "secret set shop/db --generate 16",
    "secret edit shop/db",
    "secret list shop/",
    "secret history shop/db",
    "secret run --env V=shop/db -- sh -c 'echo value $V'",
)
_WITH_FILES = "secret run --prefix shop/ --file -- sh -c 'echo value $(cat $SECRETS_DIR/DB)'"

_WITHOUT_PROC = ("sh", "-c", 'mount -t tmpfs tmpfs /proc && exec "$@"', "sh")


def ran(served: Served, *command: str, **environment: str) -> str:
    """Return the output of *command*, which gets the token on standard input."""
    token = served.environment.pop("VAULT_TOKEN")
    settings = {**served.environment, "EDITOR": "sh -c 'echo edited > \"$1\"' sh", **environment}
    done = subprocess.run(
        command,
        env=command_environment(settings),
        cwd=served.folder,
        input=token,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def namespace() -> tuple[str, ...]:
    """Return a command that runs another one in a mount namespace, or skip the test."""
    for way in (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")):
        if (
            shutil.which("unshare")
            and not subprocess.run(
                [*way, *_WITHOUT_PROC, "true"], capture_output=True, check=False
            ).returncode
        ):
            return way
    raise missing("needs mount namespaces")


@pytest.mark.parametrize("last", [_COMMANDS[-1], _WITH_FILES], ids=["variables", "files"])
def test_the_commands_for_people_need_no_proc(served: Served, last: str) -> None:
    """Without `/proc`, as in some containers, a person logs in, and stores, edits and uses secrets."""
    lines = (*_COMMANDS[:-1], last)
    shown = ran(served, *namespace(), *_WITHOUT_PROC, sys.executable, "-c", _RUN, *lines)
    assert "stored version 2 of shop/db" in shown
    assert shown.endswith("value edited\n")


@pytest.mark.parametrize("last", [_COMMANDS[-1], _WITH_FILES], ids=["variables", "files"])
def test_the_commands_for_people_need_no_linux(served: Served, tmp_path: Path, last: str) -> None:
    """As on a Mac, a person logs in, and stores, edits and uses secrets, with files on a disk in memory."""
    lines = (*_COMMANDS[:-1], last)
    shown = ran(served, sys.executable, "-c", _MAC + _RUN, *lines, XDG_RUNTIME_DIR=str(tmp_path))
    assert "stored version 2 of shop/db" in shown
    assert shown.endswith("value edited\n")
    assert not [*tmp_path.glob("secret-manager-*")]


def test_a_mac_is_told_how_to_make_a_disk_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac has no folder in memory, so the error has the commands that make one."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(memory_folder.ProgramError, match="no place in memory") as raised:
        memory_folder.place()
    assert "hdiutil attach -nomount ram://16384" in str(raised.value)


def test_signals_are_forwarded_off_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a wait for signals has no time-out, it ends in time, and forwards a signal to the program."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with program.held_signals():
        child = program.Child(["sleep", "60"], dict(os.environb))
        assert child.wait(0.01) is None
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        while child.wait() is None:
            pass
    assert child.exit_code == 128 + signal.SIGTERM
    assert child.is_ending


def test_keys_of_a_terminal_reach_the_foreground_only(tmp_path: Path) -> None:
    """Off Linux, a signal of a key is not forwarded if the program has it, as both are in the foreground."""
    code = "from vault.clients.people.program import _is_in_foreground as f; print('seen', f())"
    python = f'{sys.executable} -c "{code}"'
    with terminal(tmp_path, command_environment({"PYTHONPATH": str(Path.cwd())})) as shell:
        assert "seen True" in shell.run(python)
        shell.type(f"{python} &")
        shell.wait_for("seen False")
    alone = subprocess.run(
        ["setsid", "--wait", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert alone.stdout == "seen False\n"
