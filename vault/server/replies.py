"""Replies of the application, framed by HTTP."""

import re
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any

from vault.server import heads
from vault.server.heads import Head

_STATUS = re.compile(r"([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME = re.compile(heads.NAME)
_VALID_LINES = re.compile(r"(?:[\t\x20-\x7e\x80-\xff]*+\r\n)*")

#: Headers that only the server sets.
_OWN = re.compile(
    "connection|keep-alive|proxy-authenticate|proxy-authorization|te|trailers|transfer-encoding|upgrade"
    "|server|date"
)


class Reply:
    """The reply to the request with *head*; *send* sends its bytes.

    Its head waits for the first bytes of its body, so that a small reply is sent at once. *ends* returns, at
    that time, whether the connection ends for another reason than the head.
    """

    def __init__(self, head: Head, send: Callable[[bytes], None], ends: Callable[[], bool]) -> None:
        self._head = head
        self._send = send
        self._ends = ends
        self._status = self._lines = ""
        self._omits_body = self._is_chunked = False
        #: Bytes of the body that are still to be sent; None if its length is unknown.
        self._left: int | None = None
        #: True once the head was sent.
        self.is_begun = False
        #: True if no other request can follow.
        self.is_last = False

    def start(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Set the status and headers: `start_response` of WSGI.

        Raises:
            ValueError: One of them is invalid. The message does not contain it.
        """
        if exc_info and self.is_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._status and not exc_info:
            raise AssertionError("start_response was called again")
        code = _code(status)
        has_no_length = code == HTTPStatus.NO_CONTENT or code < HTTPStatus.OK
        lines = []
        self._left = None
        for name, value in headers:
            kind = _kind(name)
            if kind == "content-length":
                if self._left is not None or not value.isdecimal():
                    raise ValueError("the length of the reply is invalid")
                self._left = int(value)
            if kind and not (has_no_length and kind == "content-length"):
                lines.append(name + ": " + value.strip(" \t") + "\r\n")
        self._lines = "".join(lines)
        # Names were checked, so only a line end within a value makes more lines.
        if not _VALID_LINES.fullmatch(self._lines) or self._lines.count("\r\n") != len(lines):
            raise ValueError("a header of the reply is invalid")
        self._omits_body = has_no_length or code == HTTPStatus.NOT_MODIFIED or self._head.method == "HEAD"
        self._is_chunked = self._left is None and self._head.minor > 0 and not self._omits_body
        self._status = status
        return self.write

    def write(self, data: bytes) -> None:
        """Send the next bytes of the body, without any beyond its length. Raises the errors of *send*."""
        if self._omits_body:
            return
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            self._send_next(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def finish(self) -> None:
        """Send what is left. Raises the errors of *send*."""
        ending = b"0\r\n\r\n" if self._is_chunked else b""
        if ending or not self.is_begun:
            self._send_next(ending)
        if self._left and not self._omits_body:
            # The client waits for the rest of the body.
            self.is_last = True

    def _send_next(self, data: bytes) -> None:
        if not self.is_begun:
            if not self._status:
                raise AssertionError("start_response was not called")
            has_end = self._left is not None or self._is_chunked or self._omits_body
            self.is_last = self._head.is_last or self._ends() or not has_end
            connection = "close" if self.is_last else "keep-alive"
            chunked = "Transfer-Encoding: chunked\r\n" if self._is_chunked else ""
            head = (
                f"HTTP/1.{self._head.minor} {self._status}\r\nServer: gunicorn\r\n"
                f"Date: {_date(int(time()))}\r\nConnection: {connection}\r\n{chunked}{self._lines}\r\n"
            )
            data = head.encode("latin-1") + data
            self.is_begun = True
        self._send(data)


@lru_cache(128)
def _code(status: str) -> int:
    match = _STATUS.fullmatch(status)
    if match is None:
        raise ValueError("the status of the reply is invalid")
    return int(match[1])


@lru_cache(128)
def _kind(name: str) -> str:
    """Return the *name* of a header in lower case; nothing if only the server sets it."""
    if not _NAME.fullmatch(name):
        raise ValueError("the name of a header of the reply is invalid")
    lower = name.lower()
    return "" if _OWN.fullmatch(lower) else lower


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
