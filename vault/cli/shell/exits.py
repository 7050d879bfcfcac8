"""Exit codes of commands, and the one line that a failed command prints.

Only this module decides the exit code of an error. A process's output is `error: what. Hint: what to do`, on
standard error.
"""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path

import click

from vault.cli.shell.output import in_color
from vault.cli.shell.quotes import usage_problem
from vault.core.credentials import masked
from vault.core.errors import (
    AddressRefusedError,
    CredentialRequiredError,
    DuplicateNameError,
    FieldNotFoundError,
    GrantRefusedError,
    ImportSourceAwayError,
    ImportSourceDeniedError,
    InvalidCredentialError,
    IssuerInUseError,
    IssuerNotFoundError,
    IssuerTakenError,
    KeyMissingError,
    MountForbiddenError,
    NamespaceNotFoundError,
    OutsidePathsError,
    RevocationRefusedError,
    RoleNameTakenError,
    RoleNotFoundError,
    ScopeMissingError,
    SecretNotFoundError,
    ServiceAwayError,
    ServiceRefusedError,
    StorageUnavailableError,
    TokenNameTakenError,
    TokenNotFoundError,
    TrailIndexMissingError,
    VaultError,
)
from vault.core.text import printable_lines


class Exit(IntEnum):
    """The exit codes of all commands; `audit verify` and `drill` have their own meaning of 1 and 3."""

    DONE = 0
    #: Refused, or failed.
    FAILED = 1
    #: The command line is invalid.
    USAGE = 2
    NOT_FOUND = 3
    #: The credential, or MongoDB's user, may not do this.
    DENIED = 4
    #: The service or MongoDB does not answer.
    AWAY = 5


#: By the status of the service's reply.
_STATUSES = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}

#: As shells have it for a program that a signal ended: 128 and the signal's number.
_SIGNALLED = 128
_SIGINT, _SIGPIPE = 2, 13

#: Error numbers of output that cannot be written.
_FULL = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}

#: Exit codes by error, with the hint if the error has none. Subclasses share that of their nearest base.
_ENDS: dict[type[Exception], tuple[Exit, str]] = {
    VaultError: (Exit.FAILED, ""),
    TokenNameTakenError: (Exit.FAILED, "choose another name"),
    RoleNameTakenError: (
        Exit.FAILED,
        "choose another name, or delete that one: see `secret-manager roles list`, also for orphaned ones",
    ),
    IssuerTakenError: (
        Exit.FAILED,
        "choose others, or delete that issuer: see `secret-manager issuers list`",
    ),
    TokenNotFoundError: (Exit.NOT_FOUND, "run `secret-manager tokens list` to see all names"),
    RoleNotFoundError: (Exit.NOT_FOUND, "run `secret-manager roles list` to see all names"),
    IssuerNotFoundError: (Exit.NOT_FOUND, "run `secret-manager issuers list` to see all names"),
    KeyMissingError: (Exit.FAILED, "set it in MASTER_KEY, or add it to MASTER_KEY_FALLBACKS"),
    SecretNotFoundError: (Exit.NOT_FOUND, ""),
    FieldNotFoundError: (Exit.NOT_FOUND, ""),
    NamespaceNotFoundError: (Exit.NOT_FOUND, ""),
    AddressRefusedError: (Exit.DENIED, ""),
    CredentialRequiredError: (Exit.DENIED, ""),
    InvalidCredentialError: (Exit.DENIED, ""),
    GrantRefusedError: (Exit.DENIED, ""),
    MountForbiddenError: (Exit.DENIED, ""),
    OutsidePathsError: (Exit.DENIED, ""),
    RevocationRefusedError: (Exit.DENIED, ""),
    ScopeMissingError: (Exit.DENIED, ""),
    ImportSourceDeniedError: (Exit.DENIED, ""),
    ImportSourceAwayError: (Exit.AWAY, ""),
    ServiceAwayError: (Exit.AWAY, ""),
    StorageUnavailableError: (Exit.AWAY, "check that MongoDB runs and that MONGO_URI leads to it"),
    # MongoDB answers, but not as the service needs it.
    DuplicateNameError: (Exit.FAILED, ""),
    TrailIndexMissingError: (Exit.FAILED, ""),
}

#: Hints for commands, in place of those that the errors have for callers of the API.
_HINTS: dict[type[Exception], str] = {
    IssuerInUseError: "delete them with `secret-manager roles delete`, or add --force"
}

#: By the kind of an error whose class only some commands load.
_KINDS = {"docker_away": Exit.AWAY}


class SignalledError(KeyboardInterrupt):
    """A signal asks the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class ReaderGoneError(Exception):
    """The reader of the output is gone, as with `| head`."""


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


def exit_code(error: VaultError) -> Exit:
    """Return the exit code for *error*."""
    return _end(error)[0]


def described(problem: str, hint: str = "") -> str:
    """Return the line for a *problem* and the *hint* what to do, if any, without credentials."""
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
        # Without a reader of the error, the exit code still tells.
        with suppress(OSError):
            click.echo(shown, err=True)
        raise SystemExit(code) from None


def _report(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for *error*."""
    match error:
        case VaultError():
            code, hint = _end(error)
            return code, described(error.problem, _HINTS.get(type(error), error.hint) or hint)
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


def _end(error: VaultError) -> tuple[Exit, str]:
    if isinstance(error, StorageUnavailableError) and error.is_denied:
        hint = "check the user in MONGO_URI, and give it the privileges: `secret-manager replicaset grant`"
        return Exit.DENIED, hint
    if error.kind in _KINDS:
        return _KINDS[error.kind], ""
    if isinstance(error, ServiceRefusedError):
        return _STATUSES.get(error.status, Exit.FAILED), ""
    return next(_ENDS[kind] for kind in type(error).__mro__ if kind in _ENDS)


def _usage(error: click.UsageError) -> tuple[str, str]:
    command = error.ctx.command_path if error.ctx else "secret-manager"
    similar = getattr(error, "possibilities", None)
    guess = f"did you mean {' or '.join(f'`{name}`' for name in similar)}? " if similar else ""
    return usage_problem(error), f"{guess}see `{command} --help`"


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
