"""A provider: the interface of everything that can wrap a master key."""

import json
from dataclasses import dataclass, field
from typing import Protocol

#: The purpose in the context of every wrapped key.
PURPOSE = "secret-manager master key"

#: Maximum bytes of a wrapped key, and of a provider's reply.
MAX_BLOB_BYTES = 32_768

#: Seconds in which a provider answers; then the next slot has its turn.
TIMEOUT_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """An unwrapped master key."""

    material: bytes = field(repr=False)
    #: The provider's ID of the request, for comparison with its own log; empty if it has none.
    request_id: str = ""


class Provider(Protocol):
    """Wraps and unwraps master keys under one KEK.

    Methods raise `CustodyUnavailableError` if the provider does not answer now, and `CustodyRefusedError`
    otherwise; they raise nothing else.
    """

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* wrapped under the KEK, bound to *context* if the provider can bind one."""

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the key that `wrap` wrapped. The caller checks its key ID: a provider can lie."""

    def describe(self, blob: bytes) -> str:
        """Return the version of the KEK that wrapped *blob*, without a request; empty if unknown."""
        del blob
        return ""

    def close(self) -> None:
        """End sessions and child processes."""
        return


def context_of(key_id: str) -> dict[str, str]:
    """Return the context that providers bind to the key with this ID."""
    return {"purpose": PURPOSE, "key_id": key_id}


def encoded(context: dict[str, str]) -> bytes:
    """Return *context* as canonical JSON."""
    return json.dumps(context, sort_keys=True, separators=(",", ":")).encode()
