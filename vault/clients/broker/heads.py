"""Heads of requests and replies as they arrive, checked before any library reads them.

h11 alone accepts line ends without CR, folded lines, a length with chunks, and a length twice. A peer that
reads one of these differently would see another request.
"""

import re
from collections.abc import Sequence

#: The bytes of a head.
MAX_BYTES = 32_768
#: The bytes of a request's first line, and of a field's name.
_MAX_LINE_BYTES, _MAX_NAME_BYTES = 16_384, 256
_MAX_FIELDS = 100

END = b"\r\n\r\n"

#: Bytes of a line end without its other half.
_HALF_LINE_END = re.compile(rb"\r(?!\n)(?!\Z)|(?<!\r)\n")

_REQUEST = re.compile(rb"[A-Z]{1,16} [!-~]+ HTTP/1\.[01]")
_REPLY = re.compile(rb"HTTP/1\.([01]) [1-5][0-9]{2}(?: [\t -~\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")

#: Fields that decide where a message ends and where it goes; a second one could decide otherwise.
_SINGLE = (b"content-length", b"transfer-encoding", b"host")


class FlawedHeadError(Exception):
    """A head breaks a rule; the text continues the name of the message, and quotes nothing of it."""


def require_begun(head: bytes, checked: int) -> None:
    """Require that the beginning of a *head*, of which so many bytes were *checked*, can still become one.

    Raises:
        FlawedHeadError: It breaks a rule already.
    """
    # From the last byte on: it can be half of a line end.
    if _HALF_LINE_END.search(head, max(checked - 1, 0)):
        raise FlawedHeadError("has a line end without its carriage return or line feed")
    if len(head) > MAX_BYTES:
        raise FlawedHeadError(f"has a head of more than {MAX_BYTES} bytes")


def require_request(head: bytes) -> None:
    """Require the *head* of a request.

    Raises:
        FlawedHeadError: It breaks a rule.
    """
    line, *fields = _lines(head)
    if len(line) > _MAX_LINE_BYTES or not _REQUEST.fullmatch(line):
        raise FlawedHeadError("does not begin with a method, a target of visible ASCII and HTTP/1.1")
    _require_fields(fields)


def require_reply(head: bytes) -> None:
    """Require the *head* of a reply.

    Raises:
        FlawedHeadError: It breaks a rule.
    """
    line, *fields = _lines(head)
    found = _REPLY.fullmatch(line)
    if not found:
        raise FlawedHeadError("does not begin with HTTP/1.1 and a status")
    if found[1] == b"0" and any(field.lower().startswith(b"transfer-encoding:") for field in fields):
        raise FlawedHeadError("has chunks in HTTP/1.0")
    _require_fields(fields)


def _lines(head: bytes) -> list[bytes]:
    return head.removesuffix(END).split(b"\r\n")


def _require_fields(lines: Sequence[bytes]) -> None:
    found = [_FIELD.fullmatch(line) for line in lines]
    fields = [(field[1].lower(), field[2].rstrip(b"\t ")) for field in found if field]
    if len(fields) < len(lines):
        raise FlawedHeadError("has a line that is no field, or one that is folded")
    if len(fields) > _MAX_FIELDS or any(len(name) > _MAX_NAME_BYTES for name, _ in fields):
        raise FlawedHeadError(
            f"has more than {_MAX_FIELDS} fields, or a name of more than {_MAX_NAME_BYTES} bytes"
        )
    if flaw := _framing_flaw(fields):
        raise FlawedHeadError(flaw)


def _framing_flaw(fields: Sequence[tuple[bytes, bytes]]) -> str:
    # Some servers read an underscore as a hyphen.
    names = [name.replace(b"_", b"-") for name, _ in fields]
    single = dict(fields)
    if any(names.count(name) > 1 or (name in names and name not in single) for name in _SINGLE):
        return "has Host, Content-Length or Transfer-Encoding twice, or with an underscore"
    if single.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        return "has another Transfer-Encoding than chunked"
    if b"transfer-encoding" in single and b"content-length" in single:
        return "has both Content-Length and Transfer-Encoding"
    if not _LENGTH.fullmatch(single.get(b"content-length", b"0")):
        return "has a Content-Length that is no number"
    return ""
