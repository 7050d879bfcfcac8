"""The command `secret edit`: a value in the user's editor."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import click

from vault.clients.people import program
from vault.clients.people.memory_folder import memory_folder, place
from vault.common.errors import ProgramError, ServiceRefusedError, VaultError
from vault.common.text import decoded
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options, warn
from vault.toolkit.client import private_files
from vault.toolkit.client.secrets import MAX_VALUE_BYTES, Fetched, Secrets, all_of, reference
from vault.toolkit.client.service import Service

_CONFLICT = "version_conflict"
_SCOPE = "secret:update"


class _OutdatedError(VaultError):
    """Another version came while the user edited one."""

    kind = "outdated"


@click.command
@click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)
@service_options
@output_options
def edit(secret: str, service: Service, output: Output) -> None:
    """Edit a secret's value in your editor.

    Starts VISUAL, EDITOR or else vi, with a file in memory that only you can read. What you save becomes the
    next version, unless another version came meanwhile. If it cannot be stored, you can open your text again.
    """
    editor = _editor()
    # Before the fetch, which can be the last one that is allowed.
    program.require(editor)
    place()
    _require_scope(service)
    secrets = Secrets(service)
    base = _fetched(secrets, secret)
    if decoded(base.value) is None:
        raise VaultError(
            "the value is not text, and an editor could damage it",
            hint="use `secret-manager secret get --out` and `secret-manager secret set --from-file`",
        )
    with _file_in_memory(base.value) as path:
        is_outdated = False
        while True:
            try:
                if is_outdated:
                    base, is_outdated = _fetched(secrets, secret), False
                _run([*editor, str(path)])
                version = _stored(secrets, secret, base, _edited(path, base.value))
                break
            except ProgramError:
                raise
            except VaultError as error:
                # Until then, the file keeps the text.
                if not _opens_again(error):
                    raise
                is_outdated |= isinstance(error, _OutdatedError)
    result = {"secret_id": base.secret_id, "version": version}
    is_stored = version != base.version
    output.result(
        result,
        f"stored version {version} of {secret}" if is_stored else "no change, so nothing was stored",
    )


def _require_scope(service: Service) -> None:
    """Require that the holder of the token may store the edited value.

    Raises:
        ServiceRefusedError: The token lacks the scope, or is refused.
    """
    # Without a token, only the service knows.
    scopes = service.call("/vault/token/self", {}).get("scopes") if service.token else None
    if isinstance(scopes, list) and _SCOPE not in scopes:
        raise ServiceRefusedError(
            f"your token lacks the scope {_SCOPE}, so nothing was read",
            status=HTTPStatus.FORBIDDEN,
            code="scope_missing",
            hint="`secret-manager whoami` shows your scopes; use a token that has this one",
        )


def _fetched(secrets: Secrets, secret: str) -> Fetched:
    return all_of(secrets.fetch([reference(secret)]), [secret])[0]


def _stored(secrets: Secrets, secret: str, base: Fetched, value: bytes) -> int:
    """Store *value* as the version after *base*, unless it is the same; return the newest version."""
    if value == base.value:
        return base.version
    try:
        return secrets.update(reference(secret), value, expected_version=base.version).version
    except ServiceRefusedError as error:
        if error.code != _CONFLICT:
            raise
        raise _OutdatedError(
            f"{secret} changed while you edited version {base.version}, so nothing was stored",
            hint="edit the newest version",
        ) from None


def _opens_again(error: VaultError) -> bool:
    """Return whether the user wants to go on with the text that *error* kept from being stored."""
    if not sys.stdin.isatty():
        return False
    warn(error.problem)
    is_outdated = isinstance(error, _OutdatedError)
    question = (
        "Open your text again, to replace the newest version?" if is_outdated else "Open your text again?"
    )
    return click.confirm(question, default=True, err=True)


def _editor() -> list[str]:
    """Return the command of the editor."""
    for name in ("VISUAL", "EDITOR"):
        try:
            if words := shlex.split(os.environ.get(name, "")):
                return words
        except ValueError:
            raise ProgramError(
                f"{name} cannot be read: a quote has no end", hint="set it to a program, such as nano"
            ) from None
    return ["vi"]


def _edited(path: Path, before: bytes) -> bytes:
    """Return the value in *path*, which was *before*.

    Raises:
        VaultError: It is empty or too long.
    """
    with path.open("rb") as file:
        edited = file.read(MAX_VALUE_BYTES + 1)
    if len(edited) > MAX_VALUE_BYTES:
        raise VaultError(f"the value has more than {MAX_VALUE_BYTES} bytes, so nothing was stored")
    if not before.endswith(b"\n"):
        # Editors add one to the last line.
        edited = edited.removesuffix(b"\n")
    if not edited:
        raise VaultError(
            "the value is empty, so nothing was stored",
            hint="to delete it, use `secret-manager secret delete`",
        )
    return edited


@contextmanager
def _file_in_memory(value: bytes) -> Iterator[Path]:
    """Yield a private file in memory with *value*; it is overwritten and removed afterwards."""
    with memory_folder() as folder:
        path = folder / "value.txt"
        private_files.write(path, value)
        try:
            yield path
        finally:
            # An editor's own copies, too.
            for file in folder.iterdir():
                if file.is_file() and not file.is_symlink():
                    _overwrite(file)


def _overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(0)
        opened.write(bytes(size))


def _run(command: list[str]) -> None:
    """Run an editor, which gets the signals of this process.

    Raises:
        ProgramError: It cannot be started, or fails.
    """
    with program.held_signals():
        child = program.Child(command, program.environment({}, keep_token=False))
        while (code := child.exit_code) is None:
            child.wait()
    if code:
        raise ProgramError(f"{command[0]} ended with exit code {code}, so nothing was stored")
