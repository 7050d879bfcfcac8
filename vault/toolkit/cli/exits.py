"""The end of a failed command: its exit code, and `error: what. Hint: what to do` on standard error."""

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from vault.common.credentials import masked
from vault.common.errors import StorageUnavailableError, VaultError
from vault.common.observability import logs
from vault.common.outcomes import Exit
from vault.common.text import printable_lines
from vault.toolkit.cli.output import in_color

#: As shells have it for a program that a signal ended: 128 and the signal's number.
_SIGNALLED = 128
_SIGINT, _SIGPIPE = 2, 13

#: Error numbers of output that cannot be written.
_FULL = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}

_DENIED_HINT = "check the user in MONGO_URI, and give it the privileges: `secret-manager replicaset grant`"

#: The form of options. Other arguments that begin with a hyphen may be values.
_OPTION = re.compile("--?[a-z]+(?:-[a-z]+)*")


class SignalledError(KeyboardInterrupt):
    """A signal asks the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class ReaderGoneError(Exception):
    """The reader of the output is gone, as with `| head`."""


@contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Run a block that follows something: Ctrl-C is its usual end, and no other signal is."""
    try:
        yield
    except SignalledError:
        raise
    except KeyboardInterrupt:
        return


@contextmanager
def closed_pipes() -> Iterator[None]:
    """Turn the error of a closed pipe into one that click does not handle: it would exit with 1.

    Raises:
        ReaderGoneError: The reader of the output is gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError from None


def described(problem: str, hint: str = "") -> str:
    """Return the line for a *problem* and its *hint*, if any, without credentials."""
    line = f"error: {problem.rstrip('.')}. Hint: {hint}" if hint else f"error: {problem}"
    return printable_lines(masked(line))


@contextmanager
def reported() -> Iterator[None]:
    """Run a command in the block; if it fails, print the reason and exit with its code.

    Raises:
        SystemExit: The block failed, or its output could not be written.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, ReaderGoneError):
        raise SystemExit(_SIGNALLED + _SIGPIPE) from None
    except click.exceptions.NoArgsIsHelpError as help_text:
        help_text.show()
        raise SystemExit(Exit.USAGE) from None
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a defect is one line, too
        code, line = _report(error)
        shown = in_color("error:", "red", err=True) + line.removeprefix("error:")
        # Without a reader of the error, the exit code remains.
        with suppress(OSError):
            click.echo(shown, err=True)
        raise SystemExit(code) from None


@contextmanager
def logged(logger: logging.Logger) -> Iterator[None]:
    """Run the start of a service in the block; if it fails, log the reason and exit with its code.

    Raises:
        SystemExit: The block failed.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a defect is one line, too
        code, line = _report(error)
        logs.write(logger, logging.ERROR, f"not starting: {line.removeprefix('error: ')}", {})
        raise SystemExit(code) from None


def reason(error: Exception) -> str:
    """Return the reason of a failure, and the hint, on one line."""
    return _report(error)[1].removeprefix("error: ")


def _report(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for *error*."""
    match error:
        case VaultError():
            return error.exit_code, described(error.problem, _hint(error))
        case click.UsageError():
            return Exit.USAGE, described(*_usage(error))
        case click.Abort() | KeyboardInterrupt():
            # click turns an interrupt into an Abort.
            origin = error.__context__ if isinstance(error, click.Abort) else error
            number = origin.number if isinstance(origin, SignalledError) else _SIGINT
            return _SIGNALLED + number, described("interrupted")
        case click.ClickException():
            return Exit.FAILED, described(error.format_message())
        case OSError():
            return Exit.FAILED, described(_failed_file(error))
        case UnicodeEncodeError():
            return Exit.FAILED, described(f"the output cannot be in {error.encoding}", "set LC_ALL=C.UTF-8")
        case UnicodeError():
            return Exit.FAILED, described("the input is not UTF-8", "convert it, for example with iconv")
        case _:
            return Exit.FAILED, described(*_defect(error))


def _hint(error: VaultError) -> str:
    of_commands = error.refusal.hint if error.refusal else ""
    # The remedy of a class is for callers of the API, too.
    is_replaced = of_commands and error.hint == error.remedy
    if error.hint and not is_replaced:
        return error.hint
    if isinstance(error, StorageUnavailableError) and error.is_denied:
        return _DENIED_HINT
    return of_commands


def _usage(error: click.UsageError) -> tuple[str, str]:
    command = error.ctx.command_path if error.ctx else "secret-manager"
    similar = getattr(error, "possibilities", None)
    guess = f"did you mean {' or '.join(f'`{name}`' for name in similar)}? " if similar else ""
    return _usage_problem(error), f"{guess}see `{command} --help`"


def _usage_problem(error: click.UsageError) -> str:
    """Return the problem of *error*, without arguments that may be values or credentials."""
    match error:
        case click.exceptions.NoSuchCommand():
            return error.message if error.possibilities else "No such command."
        case click.NoSuchOption():
            return error.message if _OPTION.fullmatch(error.option_name) else "No such option."
    rule = re.sub(r"^(Got unexpected extra arguments?) \(.*", r"\1.", error.message, flags=re.DOTALL)
    rule = re.sub(r".* is not (?=one of|a valid|in the range)", "must be ", rule, flags=re.DOTALL)
    rule = rule.replace("a valid integer range", "a valid integer")
    # click prints each choice on a line of its own.
    return " ".join((error.format_message().removesuffix(error.message) + rule).split())


def _failed_file(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    if error.filename is not None:
        return f"cannot use {error.filename}: {reason}"
    return f"cannot write the output: {reason}" if error.errno in _FULL else reason


def _defect(error: BaseException) -> tuple[str, str]:
    # Its text can contain a value.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"unexpected {type(error).__name__} at {where}", "this is a defect: report it with this line"


def discard_unwritten() -> None:
    """Discard output that cannot be written: at its end, Python would try again, and print a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
