"""Providers of libraries in C: each library runs in a child process of its own.

A library that hangs is killed, one that crashes takes nothing along, and what it leaves behind in OpenSSL
does not break TLS here. The child keeps its session, so there is one login for all keys.
"""

import json
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping

from vault.features.custody.child import Child, socket_pipe
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import Provider, Unwrapped, encoded

#: An operation of a library: the KEK, the content and the context, as bytes.
Operation = Callable[[str, bytes, bytes], bytes]


class Library:
    """The child process *module*, which carries out operations with a library; it starts when needed."""

    def __init__(self, module: str, settings: Mapping[str, str]) -> None:
        """Send *settings*, which may be secret, to the child on its standard input."""
        self._module = module
        self._settings = dict(settings)
        self._child: Child | None = None
        self._has_refused = False

    def ask(self, operation: str, kek: str, content: bytes, context: dict[str, str]) -> bytes:
        """Return what the library makes of *content*.

        Raises:
            CustodyUnavailableError: The library, or its device, does not answer now.
            CustodyRefusedError: It refuses, or crashed.
        """
        request = {"operation": operation, "kek": kek, "content": b64encode(content).decode()}
        if self._child is None:
            # Not `-m` alone: that would look for modules in the working folder. Until it is hardened, other
            # processes of this user could read from a pipe of it.
            self._child = Child([sys.executable, "-P", "-m", self._module], {}, socket_pipe)
            self._child.send(_line(self._settings))
        self._child.send(_line(request | {"context": b64encode(encoded(context)).decode()}))
        try:
            reply = json.loads(self._child.receive(b"\n"))
        except ValueError:
            self.close()
            raise CustodyRefusedError(
                "the library of the provider crashed",
                hint="check that its extra of the package is installed, such as pkcs11",
            ) from None
        except CustodyUnavailableError:
            self.close()
            raise
        if reply["outcome"] == "refused":
            self._has_refused = True
            raise CustodyRefusedError(reply["content"])
        if reply["outcome"] == "unavailable":
            # A new child finds a token that has appeared. One whose PIN was refused must remember that.
            if not self._has_refused:
                self.close()
            raise CustodyUnavailableError(reply["content"])
        return b64decode(reply["content"])

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.close()
            self._child = None


class Device(Provider):
    """A provider whose KEK is in a device that *library* reaches."""

    def __init__(self, library: Library, kek: str) -> None:
        self._library = library
        self._kek = kek

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* wrapped by the device."""
        return self._library.ask("wrap", self._kek, material, context)

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the key that the device unwraps."""
        return Unwrapped(self._library.ask("unwrap", self._kek, blob, context))

    def close(self) -> None:
        """End the child, and with it the session of all keys of this device."""
        self._library.close()


def _line(content: Mapping[str, str]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def serve(connect: Callable[[dict[str, str]], Mapping[str, Operation]]) -> None:
    """Answer a `Device` in this child process, by the operations that *connect* returns for its settings.

    Its module hardens the process, before it loads the library.
    """
    # Libraries print, too: only replies may reach the parent.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    operations = connect(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            made = operations[request["operation"]](
                request["kek"], b64decode(request["content"]), b64decode(request["context"])
            )
            reply = {"outcome": "done", "content": b64encode(made).decode()}
        except (CustodyUnavailableError, CustodyRefusedError) as error:
            outcome = "refused" if isinstance(error, CustodyRefusedError) else "unavailable"
            reply = {"outcome": outcome, "content": str(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
