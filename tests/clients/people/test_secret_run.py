"""The command `secret run`: programs that get secrets, as processes."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.command_fixtures import Served
from tests.support.commands import start_command
from tests.support.lifecycle import trail
from tests.support.people import Person
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.clients.people import memory_folder, program, secret_run
from vault.clients.people.program import Child
from vault.clients.people.secret_run import _until_change
from vault.clients.people.watch import Found
from vault.common.errors import VaultError
from vault.toolkit.client.secrets import Fetched

pytestmark = pytest.mark.process

#: Prints its environment and its ID, then waits for its standard input to end.
SHOW = (
    "import json, os, sys; "
    "print(json.dumps({'env': dict(os.environ), 'pid': os.getpid()}), flush=True); sys.stdin.read()"
)


def start(served: Served, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `secret run` with *arguments*; its input is a pipe."""
    return start_command(
        *("secret", "run", *arguments),
        environment=served.environment | environment,
        folder=served.folder,
        stdin=subprocess.PIPE,
    )


def shown(served: Served, *arguments: str, **environment: str) -> dict[str, dict[str, str]]:
    """Return what `SHOW` prints."""
    process = start(served, *arguments, "--", sys.executable, "-Ic", SHOW, **environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return dict(json.loads(out))


@pytest.mark.promise("commands")
def test_fifty_secrets_take_one_request(served: Served, stored: Stored) -> None:
    """A program gets 50 secrets with one request and 50 entries, and no value is anywhere else.

    Not in the arguments of any process, and in no file.
    """
    values = [f"hunter-{number:02}-{os.urandom(8).hex()}" for number in range(50)]
    new = [(f"app/key-{number}", value.encode()) for number, value in enumerate(values)]
    assert not any(served.secrets.create_all(new))
    options = [text for number in range(50) for text in ("--env", f"KEY_{number}=app/key-{number}")]
    before = len(trail(stored))
    del served.requests[:]
    with start(served, *options, "--", sys.executable, "-Ic", SHOW) as process:
        assert process.stdout
        child = json.loads(process.stdout.readline())
        assert [child["env"][f"KEY_{number}"] for number in range(50)] == values
        assert child["pid"] == process.pid
        arguments = b"".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
        files = b"".join(_read(path) for path in served.folder.rglob("*") if path.is_file())
        for value in values:
            assert value.encode() not in arguments
            assert value.encode() not in files
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert served.requests == ["/vault/secret/fetch-batch"]
    entries = trail(stored)[before:]
    assert [(one["action"], one["status"], one["principal"]) for one in entries] == [
        ("fetch", "success", "program")
    ] * 50


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_program_gets_single_secrets_and_prefixes(served: Served) -> None:
    """`--env` names single secrets, and precedes those below a prefix; the value is exact."""
    secrets = served.secrets
    named = secrets.create(b"one\n", name="billing/db-password")
    secrets.create(b"two", name="app/db.password")
    secrets.create(b"three", name="app/x/y")
    child = shown(
        served,
        "--env",
        f"DB_PASSWORD={named.secret_id}",
        "--env",
        "A=app/x/y",
        "--prefix",
        "app/",
        A="earlier",
    )
    assert (child["env"]["DB_PASSWORD"], child["env"]["A"], child["env"]["X_Y"]) == (
        "one\n",
        "three",
        "three",
    )


@pytest.mark.parametrize("options", [[], ["--file"]], ids=["exec", "child"])
def test_a_program_is_as_if_a_shell_had_started_it(served: Served, options: list[str]) -> None:
    """Python ignores some signals, and the program does not; its exit code passes through."""
    served.secrets.create(b"v", name="a")
    script = "grep SigIgn /proc/self/status; exit 37"
    process = start(served, "--env", "A=a", *options, "--", "sh", "-c", script)
    out, _ = process.communicate(timeout=60)
    ignored = int(out.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))
    assert process.returncode == 37


@pytest.mark.promise("commands")
def test_credentials_stay_here(served: Served) -> None:
    """The program gets neither the token, unless it is asked for, nor a master key.

    `--role` adds no variable to the program; an inherited `VAULT_ROLE` stays, as `VAULT_URL` does.
    """
    served.secrets.create(b"v", name="a")
    child = shown(served, "--role", "b", "--env", "A=a", MASTER_KEY_FILE="k", MONGO_URI="m", OTHER="o")
    assert not {"VAULT_TOKEN", "VAULT_ROLE", "MASTER_KEY_FILE", "MONGO_URI"} & set(child["env"])
    assert child["env"]["OTHER"] == "o"
    child = shown(served, "--env", "A=a", "--keep-token", MONGO_URI="m", VAULT_ROLE="b")
    assert (child["env"]["MONGO_URI"], child["env"]["VAULT_ROLE"]) == ("m", "b")
    assert child["env"]["VAULT_TOKEN"] == served.environment["VAULT_TOKEN"]


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], signal.SIGTERM),
        *((["--file"], number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)),
    ],
)
def test_signals_reach_the_program(served: Served, options: list[str], number: signal.Signals) -> None:
    """A signal reaches the program, in place of the command or as its child, and it decides what to do."""
    served.secrets.create(b"v", name="a")
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        # Not `signal.pause()`, which misses a signal just before.
        "while True: time.sleep(0.05)"
    )
    with start(served, "--env", "A=a", *options, "--", sys.executable, "-Ic", code) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 42


@pytest.mark.parametrize(("options", "code"), [([], -signal.SIGTERM), (["--file"], 128 + signal.SIGTERM)])
def test_a_signal_ends_the_program(served: Served, options: list[str], code: int) -> None:
    """A signal that the program does not handle ends it, as shells see it."""
    served.secrets.create(b"v", name="a")
    with start(served, "--env", "A=a", *options, "--", sys.executable, "-Ic", SHOW) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == code


@pytest.mark.promise("commands")
def test_files_are_in_memory_until_the_program_ends(served: Served) -> None:
    """`--file` gives files in memory that only the user can read, any bytes, and removes them."""
    content = b"\0\xff\n"
    served.secrets.create(content, name="app/key")
    code = (
        "import os, sys\nfolder = os.environ['SECRETS_DIR']\npath = os.path.join(folder, 'KEY')\n"
        "assert 'KEY' not in os.environ\n"
        "print(folder, oct(os.stat(folder).st_mode & 0o777), oct(os.stat(path).st_mode & 0o777), "
        "open(path, 'rb').read() == b'\\0\\xff\\n')"
    )
    process = start(served, "--prefix", "app/", "--file", "--", sys.executable, "-Ic", code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    folder, *facts = out.split()
    assert facts == ["0o700", "0o600", "True"]
    assert not Path(folder).exists()
    assert not Path(folder).is_relative_to(served.folder)


def test_a_change_restarts_the_program(served: Served) -> None:
    """`--watch` restarts the program with the new value, and asks for descriptions until then.

    A SIGHUP that the program survives does not change that.
    """
    secrets = served.secrets
    secrets.create(b"one", name="app/key")
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGHUP, lambda *_: print('reloaded', flush=True))\n"
        "print(os.environ['KEY'], flush=True)\ntime.sleep(60)"
    )
    options = ("--prefix", "app/", "--watch", "--interval", "1s")
    with start(served, *options, "--", sys.executable, "-Ic", code) as process:
        assert process.stdout
        assert process.stdout.readline() == "one\n"
        wait_until(lambda: "/vault/secret/describe" in served.requests)
        assert served.requests.count("/vault/secret/fetch-batch") == 1
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "reloaded\n"
        secrets.update({"name": "app/key"}, b"two")
        assert process.stdout.readline() == "two\n"
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the secrets have changed" in err
    assert served.requests.count("/vault/secret/fetch-batch") == 2


def test_a_program_that_does_not_end_is_killed(served: Served) -> None:
    """After the grace period, a program that ignores SIGTERM is killed for its restart."""
    secrets = served.secrets
    secrets.create(b"one", name="a")
    code = (
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.environ['A'], flush=True)\nsignal.pause()"
    )
    options = ("--env", "A=a", "--watch", "--interval", "1s", "--grace", "1s")
    with start(served, *options, "--", sys.executable, "-Ic", code) as process:
        assert process.stdout
        assert process.stdout.readline() == "one\n"
        secrets.update({"name": "a"}, b"two")
        assert process.stdout.readline() == "two\n"
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGUSR1


def test_a_stop_during_a_restart_is_a_stop(served: Served) -> None:
    """A signal that asks to end while the program is stopped for its restart is not lost."""
    secrets = served.secrets
    secrets.create(b"one", name="a")
    code = (
        "import os, signal, sys, time\n"
        "def stop(*_):\n    print('stopping', flush=True)\n    sys.stdin.read()\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, stop)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print(os.environ['A'], flush=True)\n"
        # Not `signal.pause()`, which misses a signal just before.
        "while True: time.sleep(0.05)"
    )
    options = ("--env", "A=a", "--watch", "--interval", "1s", "--grace", "60s")
    with start(served, *options, "--", sys.executable, "-Ic", code) as process:
        assert process.stdout
        assert process.stdout.readline() == "one\n"
        secrets.update({"name": "a"}, b"two")
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (7, "")


def test_a_deleted_secret_leaves_the_program_running(served: Served) -> None:
    """If a secret cannot be described any more, the program runs on, and one note says why."""
    secrets = served.secrets
    secrets.create(b"one", name="a")
    options = ("--env", "A=a", "--watch", "--interval", "1s")
    with start(served, *options, "--", sys.executable, "-Ic", SHOW) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        secrets.call_for("delete", {"name": "a"})
        assert "cannot check for changes" in process.stderr.readline()
        asked = served.requests.count("/vault/secret/describe")
        wait_until(lambda: served.requests.count("/vault/secret/describe") > asked + 1)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_the_command_line_is_checked_first(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid command line, a missing program and a missing place in memory are refused before a fetch."""
    person.fails_to("secret", "run", "--", "true", code=2)
    person.fails_to("secret", "run", "--env", "A=a", code=2)
    person.fails_to("secret", "run", "--env", "A=a", "--env", "A=b", "--", "true", code=2)
    person.fails_to("secret", "run", "--env", "A-B=a", "--", "true", code=2)
    assert "must be NAME=SECRET" in person.fails_to("secret", "run", "--env", "A", "--", "true", code=2)
    assert "no program nowhere" in person.fails_to("secret", "run", "--env", "A=a", "--", "nowhere", code=1)
    monkeypatch.setattr(memory_folder, "_IN_MEMORY", set())
    person.fails_to("secret", "run", "--env", "A=a", "--file", "--", "true", code=1)
    assert person.calls == []


@pytest.mark.promise("commands")
def test_a_program_starts_with_all_its_secrets_or_not(person: Person) -> None:
    """A missing secret, an empty prefix, and a conflict of names are errors; then nothing is started."""
    assert "billing/db: " in person.fails_to("secret", "run", "--env", "A=billing/db", "--", "true", code=3)
    person.fails_to("secret", "run", "--prefix", "app/", "--", "true", code=3)
    for name in ("app/a-b", "app/a.b", "x/1", "y/path"):
        person.does("secret", "set", name, "--generate", 8)
    line = person.fails_to("secret", "run", "--prefix", "app/", "--", "true", code=1)
    assert "--env A_B=NAME" in line
    assert "gives no name" in person.fails_to("secret", "run", "--prefix", "x/", "--", "true", code=1)
    assert "would set PATH" in person.fails_to("secret", "run", "--prefix", "y/", "--", "true", code=1)
    assert "would set PATH" in person.fails_to("secret", "export", "y/", code=1)
    chosen = ("--env", "PATH=y/path", "--prefix", "y/")
    person.does("secret", "run", *chosen, "--file", "--", "true")


def test_a_value_must_fit_an_environment(served: Served, tmp_path: Path) -> None:
    """A value with a NUL byte or of 128 KiB, and a file that is not a program, are errors."""
    (tmp_path / "broken").write_text("#!/nowhere\n")
    (tmp_path / "broken").chmod(0o755)
    served.secrets.create(b"a\0b", name="nul")
    served.secrets.create(b"v" * 60_000, name="v")
    many = [argument for number in range(60) for argument in ("--env", f"V{number}=v")]
    for arguments, text in (
        (["--env", "A=nul", "--", "true"], "NUL byte"),
        (["--env", "A=v", "--", str(tmp_path / "broken")], "cannot be started: No such file"),
        (["--env", "A=v", "--file", "--", str(tmp_path / "broken")], "cannot be started: No such file"),
        ([*many, "--", "true"], "too large"),
    ):
        process = start(served, *arguments)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert text in err
        assert err.startswith("error: ")


@pytest.mark.promise("commands")
def test_files_need_a_place_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable tmpfs, there is no folder, and the error says so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setattr(memory_folder, "_IN_MEMORY", {})
    with pytest.raises(memory_folder.ProgramError, match="no place in memory"), memory_folder.memory_folder():
        pass


def test_a_change_during_a_restart_is_not_lost() -> None:
    """Values that came before the program started again restart it without another wake."""
    # It cannot wait.
    child: Any = SimpleNamespace(exit_code=None, is_ending=False)
    found: Found = {"A": Fetched("id", "a", 2, b"new")}
    assert _until_change(child, deque([found])) == found


def test_no_error_leaves_the_program_behind(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the command fails while the program runs, it stops the program."""
    person.does("secret", "set", "a", "--generate", 8)
    started: list[Child] = []

    def fail(child: Child, _changes: deque[Found]) -> None:
        started.append(child)
        raise VaultError("failed")

    monkeypatch.setattr(secret_run, "_until_change", fail)
    person.fails_to("secret", "run", "--env", "A=a", "--file", "--grace", "1s", "--", "sleep", "60", code=1)
    assert started[0].exit_code is not None


def test_a_terminal_signals_the_program_itself() -> None:
    """A signal of the terminal has reached the program, so that it is not forwarded. It need not end it."""
    with program.held_signals():
        child = program.Child(["sleep", "60"], dict(os.environb))
        program.wake()
        assert child.wait() is None
        child._forward(program._Received(signal.SIGINT, is_of_terminal=True))
        assert not child.is_ending
        assert child.wait(0.01) is None
        program.wake()
        child.stop(60)
    assert child.exit_code == 128 + signal.SIGTERM
