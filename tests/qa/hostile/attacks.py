"""The attacks: the bytes that an attacker sends on each connection."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

CREATE, FETCH = "/vault/secret/create/", "/vault/secret/fetch"
CREATE_BATCH, FETCH_BATCH = "/vault/secret/create-batch", "/vault/secret/fetch-batch"
_MIB = 1_048_576


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _head(path: str, *headers: str, kind: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _post(path: str, body: bytes, *headers: str) -> bytes:
    return _head(path, f"Content-Length: {len(body)}", *headers) + body


@dataclass(frozen=True)
class Attack:
    """The traffic of one connection."""

    #: Sent once, on connecting.
    beginning: bytes = b""
    #: Sent repeatedly afterwards, as fast as the service reads it. Empty: wait until the service disconnects.
    piece: bytes = b""
    #: Wait for a reply after each piece.
    in_turns: bool = False

    def sent(self) -> Iterator[bytes]:
        """Yield everything to send, endlessly if *piece* is repeated."""
        yield self.beginning
        if self.piece:
            yield from repeat(self.piece)


#: Invalid label keys, 115 kB of them.
LABELS = json.dumps({"secret": "YQ==", "labels": {f"{number:05}!": "x" for number in range(8_000)}}).encode()
LARGE = json.dumps({"secret": b64encode(bytes(_MIB)).decode()}).encode()
#: Values that are too large, nearly 8 MiB together, which is read and decoded, and not stored.
LARGE_BATCH = json.dumps({"secrets": [{"secret": b64encode(bytes(1_100_000)).decode()}] * 5}).encode()
#: As many values as bytes allow, which would take hundreds of megabytes.
MANY_VALUES = b'{"secrets":[%s{}]}' % (b"{}," * 2_700_000)
#: As many fields as a body may have, all unknown, in objects of the same size.
FIELDS = json.dumps({"secrets": [{f"{n:080}": n for n in range(99)}] * 100}).encode()
UNKNOWN = json.dumps({"secrets": [{"secret_id": "550e8400-e29b-41d4-a716-446655440000"}] * 100}).encode()
_CHUNKED = "Transfer-Encoding: chunked"
_CHUNKS = b"1\r\n \r\n" * 10_000
_HEADER = b"X: " + b"y" * 8_000 + b"\r\n"
_BAD_TOKEN = f"Authorization: Bearer smt_{'0' * 32}05XDxM"

ATTACKS = {
    "pipelined live": Attack(piece=_get("/health/live") * 100),
    "pipelined 404": Attack(piece=_get("/nothing") * 100),
    "pipelined openapi": Attack(piece=_get("/openapi.json") * 100),
    "one-byte chunks": Attack(_head(CREATE, _CHUNKED), _CHUNKS),
    "refused chunks": Attack(_head(CREATE, _CHUNKED, kind="text/plain"), _CHUNKS),
    "large headers": Attack(_get("/health/live")[:-2] + _HEADER * 97),
    "headers in parts": Attack(_get("/health/live")[:-2] + _HEADER * 3, b"x"),
    "half-sent bodies": Attack(_head(CREATE, "Content-Length: 1000") + b"{"),
    "idle": Attack(),
    "kept": Attack(_get("/health/live")),
    "large creates": Attack(piece=_post(CREATE, LARGE), in_turns=True),
    "large batches": Attack(piece=_post(CREATE_BATCH, LARGE_BATCH), in_turns=True),
    "batches of many values": Attack(piece=_post(CREATE_BATCH, MANY_VALUES), in_turns=True),
    "batches of many fields": Attack(piece=_post(CREATE_BATCH, FIELDS), in_turns=True),
    "half-sent batches": Attack(_head(CREATE_BATCH, "Content-Length: 8000000") + b"{"),
    "batches of unknown IDs": Attack(piece=_post(FETCH_BATCH, UNKNOWN), in_turns=True),
    "bad credentials": Attack(piece=_post(FETCH, b"{}", _BAD_TOKEN), in_turns=True),
    "wrong labels": Attack(piece=_post(CREATE, LABELS), in_turns=True),
}
