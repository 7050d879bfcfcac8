"""Request heads: a strict grammar, and the WSGI environment of a request.

Each function raises `HTTPException` for a head that is invalid, too large, or asks for what the service does
not support.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import NotImplemented as UnsupportedTransferCoding

Environ = dict[str, Any]

#: Maximum bytes of a request line, of a header with its line end, and of all headers; and their number.
_MAX_LINE_BYTES = 4_094
_MAX_HEADER_BYTES = 8_190
MAX_HEADERS_BYTES = 32_768
_MAX_HEADERS = 100

#: The end of a head.
END = b"\r\n\r\n"

# Quantifiers of characters are possessive, and a line matches in one way only, so matching takes linear time.
# Quantifiers of groups are not possessive: Python before 3.11.5 has defects there.
NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# Lower case is refused in methods, and `#` in targets: not all readers take them in the same way.
_REQUEST_LINE = r"(?:\r\n)?([!$%&'*+.^_`|~0-9A-Z-]{3,20}+) ([!\"$-~]++) HTTP/1\.([01])\r\n"
_VALID_LINE = re.compile(_REQUEST_LINE)
_VALID_HEAD = re.compile(rf"{_REQUEST_LINE}((?:{NAME}:[\t\x20-\x7e\x80-\xff]*+\r\n)*)")

#: A target with the host, as clients of proxies send it.
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?]*)([^?]*)(?:\?(.*))?")

#: A host and port, by RFC 9110, section 7.2; both can be empty.
_HOST = re.compile(r"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)

#: Longer ones cannot be converted to numbers.
_LENGTH = re.compile(r"[0-9]{1,4300}", re.ASCII)

#: Headers with one value. Readers could take different ones of several.
_SINGLE = {"HTTP_HOST", "CONTENT_TYPE", "CONTENT_LENGTH"}

_CODINGS = {"chunked", "identity", "gzip", "deflate", "compress"}

_BAD_LINE = "The request line is invalid."
_BAD_HEADER = "A header is invalid."


@dataclass(slots=True)
class Head:
    """A valid head."""

    environ: Environ
    method: str
    #: The second number of the HTTP version.
    minor: int
    #: Bytes of the body; None if it comes in chunks.
    length: int | None
    #: True if the client waits for `100 Continue` before it sends the body.
    expects_continue: bool
    #: True if the connection ends after the reply.
    is_last: bool


def parse(data: bytes, template: Environ) -> Head:
    """Return the head *data*, which ends with the last header; its environment extends *template*."""
    match = _VALID_HEAD.fullmatch(data.decode("latin-1"))
    if match is None:
        check_part(data)
        raise BadRequest(_BAD_HEADER)
    method, target, minor, headers = match.groups()
    if len(method) + len(target) > _MAX_LINE_BYTES - len("  HTTP/1.1"):
        raise RequestURITooLarge
    environ = template.copy()
    _add_headers(environ, headers)
    host = environ.get("HTTP_HOST")
    if not _HOST.fullmatch(host or "") or (host is None and minor == "1"):
        raise BadRequest(_BAD_HEADER)
    path, query = _split(method, target, host)
    environ["REQUEST_METHOD"] = method
    environ["RAW_URI"] = target
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["SERVER_PROTOCOL"] = "HTTP/1." + minor
    return _framed(environ, method, int(minor))


def check_part(data: bytes) -> None:
    """Refuse *data*, the beginning of a head, if no end could make it valid."""
    line, end, headers = data.removeprefix(b"\r\n").partition(b"\r\n")
    if len(line) > _MAX_LINE_BYTES:
        raise RequestURITooLarge
    # After a line feed alone, the end of the head, as it is read here, would never come.
    if b"\n" in line or (end and not _VALID_LINE.fullmatch((line + end).decode("latin-1"))):
        raise BadRequest(_BAD_LINE)
    if len(headers) > MAX_HEADERS_BYTES:
        raise RequestHeaderFieldsTooLarge
    if headers.count(b"\n") != headers.count(b"\r\n"):
        raise BadRequest(_BAD_HEADER)


def _add_headers(environ: Environ, headers: str) -> None:
    lines = headers.split("\r\n")
    # After the last line end is nothing.
    lines.pop()
    if len(lines) > _MAX_HEADERS or len(headers) > MAX_HEADERS_BYTES:
        raise RequestHeaderFieldsTooLarge
    for line in lines:
        if len(line) > _MAX_HEADER_BYTES - 2:
            raise RequestHeaderFieldsTooLarge
        name, _, value = line.partition(":")
        key = _key(name)
        if key not in environ:
            environ[key] = value.strip(" \t")
        elif key in _SINGLE:
            raise BadRequest(_BAD_HEADER)
        else:
            environ[key] += "," + value.strip(" \t")
    environ.pop("", None)


@lru_cache(256)
def _key(name: str) -> str:
    """Return the key of a header in the environment.

    With an underscore it has none: past a proxy, `X_Forwarded_For` would be taken for `X-Forwarded-For`.
    """
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def _split(method: str, target: str, host: str | None) -> tuple[str, str]:
    """Return the path and query of *target*."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    if target == "*" and method == "OPTIONS":
        return target, ""
    match = _ABSOLUTE.fullmatch(target)
    # Readers could take either host.
    if match is None or match[1].lower() != (host or "").lower():
        raise BadRequest(_BAD_LINE)
    return match[2], match[3] or ""


def _framed(environ: Environ, method: str, minor: int) -> Head:
    """Return the head with *environ*, which says where the body ends and if another request may follow."""
    tokens = [token.strip(" \t") for token in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    # After CONNECT, clients take the connection for a tunnel.
    is_last = "close" in tokens or method == "CONNECT" or (not minor and tokens != ["keep-alive"])
    expectation = environ.get("HTTP_EXPECT")
    if expectation is not None and expectation.lower() != "100-continue":
        raise ExpectationFailed
    length = environ.get("CONTENT_LENGTH", "0")
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        *others, last = (part.strip(" \t").lower() for part in coding.split(","))
        if not _CODINGS.issuperset((*others, last)):
            raise UnsupportedTransferCoding
        if last != "chunked" or "chunked" in others or not minor or "CONTENT_LENGTH" in environ:
            raise BadRequest(_BAD_HEADER)
        # Nothing decodes the others, so their bodies are refused.
        is_last |= bool(others)
    elif not _LENGTH.fullmatch(length):
        raise BadRequest(_BAD_HEADER)
    # HTTP/1.0 has no expectations.
    expects = expectation is not None and minor > 0
    return Head(environ, method, minor, int(length) if coding is None else None, expects, is_last)
