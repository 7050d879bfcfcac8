"""The command `secret edit`: a value in the user's editor."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from vault.cli.shell import parameters
from vault.cli.shell.output import Output, output_options
from vault.cli.user.connection import service_options
from vault.client import private_files, program
from vault.client.memory_folder import memory_folder, place
from vault.client.secrets import MAX_VALUE_BYTES, Secrets, all_of, reference
from vault.client.service import Service
from vault.core.errors import ProgramError, ServiceRefusedError, VaultError

_CONFLICT = "version_conflict"


@click.command
@click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)
@service_options
@output_options
def edit(secret: str, service: Service, output: Output) -> None:
    """Edit a secret's value in your editor.

    Starts VISUAL, EDITOR or else vi, with a file in memory that only you can read. What you save becomes the
    next version, unless another version came meanwhile.
    """
    editor = _editor()
    # Before the fetch, which can be the last one that is allowed.
    program.require(editor)
    place()
    secrets = Secrets(service)
    [found] = all_of(secrets.fetch([reference(secret)]), [secret])
    value = _edited(found.value, editor)
    result = {"secret_id": found.secret_id, "version": found.version}
    if value == found.value:
        output.result(result, "no change, so nothing was stored")
        return
    try:
        written = secrets.update(reference(secret), value, expected_version=found.version)
    except ServiceRefusedError as error:
        if error.code != _CONFLICT:
            raise
        raise VaultError(
            f"{secret} changed while you edited version {found.version}, so nothing was stored",
            hint="edit the newest version",
        ) from None
    output.result(result | {"version": written.version}, f"stored version {written.version} of {secret}")


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


def _edited(value: bytes, editor: list[str]) -> bytes:
    """Return *value* as *editor* leaves it.

    Raises:
        VaultError: *value* is no text, or the new one is empty or too long, or the editor failed.
    """
    if not _is_text(value):
        raise VaultError(
            "the value is not text, and an editor could damage it",
            hint="use `secret-manager secret get --out` and `secret-manager secret set --from-file`",
        )
    with _file_in_memory(value) as path:
        _run([*editor, str(path)])
        with path.open("rb") as file:
            edited = file.read(MAX_VALUE_BYTES + 1)
    if len(edited) > MAX_VALUE_BYTES:
        raise VaultError(f"the value has more than {MAX_VALUE_BYTES} bytes, so nothing was stored")
    if not value.endswith(b"\n"):
        # Editors add one to the last line.
        edited = edited.removesuffix(b"\n")
    if not edited:
        raise VaultError(
            "the value is empty, so nothing was stored",
            hint="to delete it, use `secret-manager secret delete`",
        )
    return edited


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeError:
        return False


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
