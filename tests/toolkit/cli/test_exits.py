"""Exit codes of commands, and the line that a failed command prints."""

import errno
import os
import signal
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.common.test_errors import errors
from tests.support.commands import run_command_into, start_command
from vault.cli import commands
from vault.common.errors import (
    ScopeMissingError,
    ServiceRefusedError,
    ServiceUnavailableError,
    StorageUnavailableError,
    TokenNameTakenError,
    TokenNotFoundError,
    TrailIndexMissingError,
    VaultError,
)
from vault.common.outcomes import Exit
from vault.toolkit.cli.exits import SignalledError, described, discard_unwritten, reported


def failing(error: BaseException) -> Result:
    """Return the end of a command that raises *error*."""

    @click.command()
    def command() -> None:
        with reported():
            raise error

    return CliRunner().invoke(command)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (VaultError("the door is shut"), 1, "error: the door is shut"),
        (VaultError("it is shut", hint="open it"), 1, "error: it is shut. Hint: open it"),
        (TokenNameTakenError("It is used."), 1, "error: It is used. Hint: choose another name"),
        (TokenNameTakenError("It is made.", hint="Try again."), 1, "error: It is made. Hint: Try again."),
        (
            TokenNotFoundError(),
            3,
            "error: Token not found. Hint: run `secret-manager tokens list` to see all names",
        ),
        (ScopeMissingError("secret:list"), 4, "error: The scope secret:list is required."),
        (
            StorageUnavailableError("MongoDB is not available"),
            5,
            "error: MongoDB is not available. Hint: check that MongoDB runs and that MONGO_URI leads to it",
        ),
        (
            TrailIndexMissingError(),
            1,
            (
                "error: the audit trail lacks its unique index, and the MongoDB user may not create it. "
                "Hint: run `secret-manager replicaset initiate` or `grant`"
            ),
        ),
        (
            click.UsageError("Add --role."),
            2,
            "error: Add --role. Hint: see `secret-manager --help`",
        ),
        (ServiceUnavailableError("no answer"), 5, "error: no answer"),
        (ServiceRefusedError("no", status=404, code="x"), 3, "error: no"),
        (ServiceRefusedError("no", status=403, code="x"), 4, "error: no"),
        (ServiceRefusedError("no", status=409, code="x"), 1, "error: no"),
        (click.ClickException("no"), 1, "error: no"),
        (click.FileError("a.txt", "gone"), 1, "error: Could not open file 'a.txt': gone"),
        (OSError(28, "No space left"), 1, "error: cannot write the output: No space left"),
        (OSError(13, "Denied", "a.txt"), 1, "error: cannot use a.txt: Denied"),
        (TimeoutError(), 1, "error: TimeoutError"),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
            1,
            "error: the input is not UTF-8. Hint: convert it, for example with iconv",
        ),
        (
            UnicodeEncodeError("ascii", "ü", 0, 1, "invalid"),
            1,
            "error: the output cannot be in ascii. Hint: set LC_ALL=C.UTF-8",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (SignalledError(signal.SIGTERM), 143, "error: interrupted"),
        (VaultError("a\tb\x1b[1m"), 1, "error: a\\u0009b\\u001b[1m"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_has_its_code_and_its_line(error: BaseException, code: int, line: str) -> None:
    """A failure is one line, what is wrong and what to do, and the exit code of its error."""
    done = failing(error)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"{line}\n")


def test_a_defect_is_one_line_without_its_text() -> None:
    """An unexpected error prints its type and place, and not its text, which can contain a value."""
    done = failing(KeyError("hunter2"))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: unexpected KeyError at test_exits.py:")
    assert "hunter2" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_error_has_an_exit_code() -> None:
    """Every error of the package has one of the documented exit codes, except 2, which click decides."""
    codes = {error.__new__(error).exit_code for error in errors() if error is not ServiceRefusedError}
    assert codes == set(Exit) - {Exit.DONE, Exit.USAGE}


def test_a_message_keeps_its_hint_in_logs_and_replies() -> None:
    """As text, an error has its problem and its hint, in sentences or after a semicolon."""
    assert str(VaultError("it is shut", hint="open it")) == "it is shut; open it"
    assert str(VaultError("It is shut.", hint="Open it.")) == "It is shut. Open it."
    assert described("It is shut.", "open it") == "error: It is shut. Hint: open it"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--bogus"], "error: No such option '--bogus'. Hint: see `secret-manager --help`"),
        (
            ["tokens", "revoke", "a", "--cascad"],
            (
                "error: No such option '--cascad'. Hint: did you mean `--cascade`? "
                "see `secret-manager tokens revoke --help`"
            ),
        ),
        (
            ["tokens", "revoke"],
            "error: Missing argument 'NAME'. Hint: see `secret-manager tokens revoke --help`",
        ),
        (["keyz"], "error: No such command 'keyz'. Hint: did you mean `keys`? see `secret-manager --help`"),
        (
            ["audit", "verify", "--checkpoint", "/no/such"],
            (
                "error: Invalid value for '--checkpoint': '/no/such': No such file or directory. "
                "Hint: see `secret-manager audit verify --help`"
            ),
        ),
    ],
)
def test_a_usage_error_is_one_line(arguments: list[str], line: str) -> None:
    """An invalid command line is one line that names the help, without the usage, and exits with 2."""
    done = CliRunner().invoke(commands, arguments, prog_name="secret-manager")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"{line}\n")


def test_a_group_without_a_command_prints_its_help() -> None:
    """A group alone prints its help on standard error, and exits with 2."""
    done = CliRunner().invoke(commands, ["tokens"], prog_name="secret-manager")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: secret-manager tokens [OPTIONS] COMMAND")


def test_without_standalone_mode_errors_are_raised() -> None:
    """A program that calls the command line without standalone mode gets the errors."""
    with pytest.raises(click.UsageError):
        commands.main(["--bogus"], standalone_mode=False)


@pytest.mark.process
@pytest.mark.parametrize("arguments", [("--help",), ("keys", "generate"), ("tokens", "create", "-h")])
def test_a_full_disk_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Output that cannot be written is one line, and 1."""
    with Path("/dev/full").open("w") as out:
        done = run_command_into(out, *arguments, environment={}, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.process
@pytest.mark.parametrize("arguments", [("--help",), ("keys", "generate")])
def test_a_closed_pipe_is_quiet(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A command whose output has no reader says nothing, and exits as a program that SIGPIPE ended."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        done = run_command_into(out, *arguments, environment={}, folder=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.process
def test_an_error_that_cannot_be_written_keeps_its_code(tmp_path: Path) -> None:
    """With nowhere to write the error, the exit code still tells."""
    with Path("/dev/full").open("w") as err:
        process = start_command("tokens", "--bogus", environment={}, folder=tmp_path, stderr=err.fileno())
        assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 2


def test_output_that_is_written_at_the_end_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output that only the end of the command writes can fail, too; without standard output, nothing can."""

    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(sys.stdout, "flush", refuse)
        with pytest.raises(SystemExit, match="1"), reported():
            pass
    monkeypatch.setattr(sys, "stdout", None)
    with reported():
        pass


def test_unwritten_output_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output that cannot be written does not fail a second time, when Python ends."""
    with Path("/dev/full").open("w") as full:
        full.write("text")
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", None)
        discard_unwritten()
        full.flush()
