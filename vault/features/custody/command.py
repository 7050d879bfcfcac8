"""The scheme `command`: a program of the operator wraps and unwraps."""

import os
import stat
from contextlib import closing
from pathlib import Path

from vault.features.custody.child import Child
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import MAX_BLOB_BYTES, Provider, Unwrapped, encoded

#: The exit code that means "not available now", as EX_TEMPFAIL of sysexits.h.
_UNAVAILABLE = 75


class Command(Provider):
    """A program that gets `wrap` or `unwrap` as its argument, and bytes on standard input and output."""

    def __init__(self, kek: str) -> None:
        """Take the path of the program.

        Raises:
            CustodyRefusedError: It is not an executable file, or anyone may write to it.
        """
        path = Path(kek)
        # In this order: `is_file` raises for a path that is too long, or in a closed folder.
        if not (path.is_absolute() and os.access(path, os.X_OK) and path.is_file()):
            raise CustodyRefusedError(f"{kek} is not the absolute path of a program that you can execute")
        if path.stat().st_mode & stat.S_IWOTH:
            raise CustodyRefusedError(f"everyone can write to {kek}", hint="run `chmod o-w` on it")
        self._program = kek

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return the program's output for *material*."""
        return self._run("wrap", material, context)

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the program's output for *blob*."""
        return Unwrapped(self._run("unwrap", blob, context))

    def _run(self, operation: str, content: bytes, context: dict[str, str]) -> bytes:
        with closing(
            Child([self._program, operation], {"CUSTODY_CONTEXT": encoded(context).decode()})
        ) as child:
            child.send(content, last=True)
            output, code = child.receive(), child.exit_code()
        if code == _UNAVAILABLE:
            raise CustodyUnavailableError(f"{self._program} says that it is unavailable")
        if code:
            raise CustodyRefusedError(f"{self._program} failed with exit code {code}")
        if not 0 < len(output) <= MAX_BLOB_BYTES:
            raise CustodyRefusedError(f"{self._program} wrote nothing, or too much")
        return output
