"""Child processes of providers: without secrets in their environment, and with limits of time and size.

Also the scheme `command`, a program of the operator.
"""

import os
import select
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from io import FileIO
from pathlib import Path
from time import monotonic

from vault.common.processes import CREDENTIALS
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import MAX_BLOB_BYTES, TIMEOUT_SECONDS, Provider, Unwrapped, encoded

#: Settings that no child gets, in either form: keys, the database, and credentials of other providers, of
#: witnesses, of the console and of a collector of traces.
_WITHHELD = {
    *("MASTER_KEY", "MASTER_KEY_FALLBACKS", "MONGO_URI", "DRILL_MONGO_URI", "RATE_LIMIT_STORAGE_URI"),
    "VAULT_TOKEN",
    *(*CREDENTIALS, "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN", "KEYS_OPENED", "KEYS_OPENED_SOCKET"),
    *("AUDIT_WITNESS_TOKEN", "OIDC_CLIENT_SECRET"),
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
}

#: Seconds in which a program ends by itself once its input has ended.
_GRACE_SECONDS = 5.0

#: The exit code that means "not available now", as EX_TEMPFAIL of sysexits.h.
_UNAVAILABLE = 75


def socket_pipe() -> tuple[int, int]:
    """Return the ends for reading and writing of a pipe that no other process can open through `/proc`."""
    reader, writer = (end.detach() for end in socket.socketpair())
    # gevent's sockets do not block.
    os.set_blocking(reader, True)
    os.set_blocking(writer, True)
    return reader, writer


class Child:
    """A running program, which gets bytes and answers with bytes."""

    #: The time until which it has to answer.
    _deadline = 0.0

    def __init__(
        self,
        command: Sequence[str],
        variables: dict[str, str],
        pipe: Callable[[], tuple[int, int]] = os.pipe,
    ) -> None:
        """Start *command* with *variables* in its environment. *pipe* makes its input and its output.

        Raises:
            CustodyRefusedError: It cannot be started.
        """
        kept = {
            name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in _WITHHELD
        }
        try:
            self._process, self._input, self._output = _started(command, kept | variables, pipe)
        except OSError as error:
            raise CustodyRefusedError(f"{command[0]} cannot be started: {error.strerror}") from None

    def send(self, content: bytes, *, last: bool = False) -> None:
        """Send *content*, which fits into a pipe; end the input if it is the *last* one."""
        self._deadline = monotonic() + TIMEOUT_SECONDS
        # A program that reads nothing may still answer, and one that has ended has an exit code.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._input.write(content)
        if last:
            self._input.close()

    def receive(self, end: bytes = b"") -> bytes:
        """Return the output up to *end*, or up to its own end.

        Raises:
            CustodyUnavailableError: It does not arrive in time.
            CustodyRefusedError: It is too large.
        """
        content = b""
        while not (end and content.endswith(end)):
            ready, _, _ = select.select([self._output], [], [], self._left())
            if not ready:
                raise CustodyUnavailableError("the provider does not answer in time")
            part = os.read(self._output.fileno(), 65_536)
            content += part
            if len(content) > 2 * MAX_BLOB_BYTES:
                raise CustodyRefusedError("the provider's reply is too large")
            if not part:
                break
        return content

    def exit_code(self) -> int:
        """Return the exit code of a program that has closed its output.

        Raises:
            CustodyUnavailableError: It does not end.
        """
        try:
            return self._process.wait(self._left())
        except subprocess.TimeoutExpired:
            raise CustodyUnavailableError("the provider does not end in time") from None

    def _left(self) -> float:
        return max(self._deadline - monotonic(), 0)

    def close(self) -> None:
        """End the program's input, and after a while kill it with all that it has started."""
        self._input.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


def _started(
    command: Sequence[str], variables: Mapping[str, str], pipe: Callable[[], tuple[int, int]]
) -> tuple[subprocess.Popen[bytes], FileIO, FileIO]:
    """Start *command*; return its process, and the ends of its input and output in this process."""
    with ExitStack() as its, ExitStack() as own:
        its_input, ours = pipe()
        its.callback(os.close, its_input)
        content = own.enter_context(FileIO(ours, "wb"))
        ours, its_output = pipe()
        its.callback(os.close, its_output)
        output = own.enter_context(FileIO(ours, "rb"))
        process = subprocess.Popen(  # noqa: S603 - no shell takes part
            command,
            env=variables,
            stdin=its_input,
            stdout=its_output,
            # It could contain a secret.
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        own.pop_all()
        return process, content, output


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
