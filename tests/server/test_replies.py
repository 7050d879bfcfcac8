"""Replies on the wire, for everything that an application may do by WSGI."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
from gunicorn.http.wsgi import FileWrapper

from tests.server.conversations import everything, talk

Application = Callable[..., Iterable[bytes]]


def said(application: Application, request: str = "GET / HTTP/1.1") -> tuple[list[str], bytes]:
    """Return the head of the reply of *application*, as lines, and all bytes after it."""
    with talk(application) as (client, _):
        client.sendall(f"{request}\r\nHost: x\r\n\r\n".encode())
        client.shutdown(1)
        head, _, body = everything(client).partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def replying(*parts: bytes, status: str = "200 OK", **headers: str) -> Application:
    """Return an application that replies with *parts*."""

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [(name.replace("_", "-"), value) for name, value in headers.items()])
        return list(parts)

    return application


def test_a_reply_has_a_head_and_a_body() -> None:
    """The server adds its own headers, and keeps those of the application, except hop-by-hop ones."""
    lines, body = said(replying(b"a", b"b", Content_Length="2", X=" y\t", Connection="close", Server="z"))
    assert lines[0] == "HTTP/1.1 200 OK"
    assert lines[1] == "Server: gunicorn"
    assert lines[2].startswith("Date: ")
    assert lines[2].endswith(" GMT")
    assert lines[3:] == ["Connection: keep-alive", "Content-Length: 2", "X: y"]
    assert body == b"ab"


def test_a_small_reply_is_sent_at_once() -> None:
    """Head and body are one segment, which saves the client a wait and both sides a system call."""
    with talk(replying(b"body", Content_Length="4")) as (client, _):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65_536).endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(
    ("request_line", "framing", "body"),
    [
        (
            "GET / HTTP/1.1",
            ["Connection: keep-alive", "Transfer-Encoding: chunked"],
            b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ),
        ("GET / HTTP/1.0", ["Connection: close"], b"abc"),
        ("HEAD / HTTP/1.1", ["Connection: keep-alive"], b""),
    ],
)
def test_a_reply_without_a_length(request_line: str, framing: list[str], body: bytes) -> None:
    """A body of unknown length comes in chunks, or until the end of the connection in HTTP/1.0."""
    lines, received = said(replying(b"a", b"", b"bc"), request_line)
    assert (lines[3:], received) == (framing, body)


@pytest.mark.parametrize(
    ("status", "kept"), [("204 NO CONTENT", False), ("304 NOT MODIFIED", True), ("103 EARLY HINTS", False)]
)
def test_a_reply_without_a_body(status: str, kept: bool) -> None:
    """A status without a body has none, whatever the application says, nor a length except 304."""
    lines, body = said(replying(b"body", status=status, Content_Length="4"))
    assert lines[3:] == ["Connection: keep-alive", *(["Content-Length: 4"] if kept else [])]
    assert body == b""


def test_a_reply_to_head_has_a_length_and_no_body() -> None:
    """HEAD gets the headers of GET."""
    lines, body = said(replying(b"body", Content_Length="4"), "HEAD / HTTP/1.1")
    assert "Content-Length: 4" in lines
    assert body == b""


def test_a_body_is_as_long_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    """A longer body is cut off; a shorter one ends the connection, as the client waits for the rest."""
    twice = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1"
    assert said(replying(b"abcd", b"e", Content_Length="3"), twice)[1].count(b"HTTP/1.1 200 OK") == 1
    assert said(replying(b"abcd", b"e", Content_Length="3"))[1] == b"abc"
    assert said(replying(b"a", Content_Length="3"), twice)[1] == b"a"
    assert not caplog.records


def test_an_application_may_write_its_body() -> None:
    """`start_response` returns a function that sends bytes before those that the application returns."""

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "3")])
        write(b"")
        write(b"a")
        write(b"b")
        return [b"c"]

    assert said(application)[1] == b"abc"


def test_an_application_may_change_its_mind() -> None:
    """With an error, `start_response` replaces the head, as long as it was not sent."""

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "1")])
        try:
            fail()
        except RuntimeError:
            start_response("500 OH", [("X", "y"), ("Content-Length", "2")], sys.exc_info())
        return [b"ab"]

    lines, body = said(application)
    assert (lines[0], lines[4:], body) == ("HTTP/1.1 500 OH", ["X: y", "Content-Length: 2"], b"ab")


def fail() -> None:
    raise RuntimeError("broken")


def late(_environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    yield b"a"
    try:
        fail()
    except RuntimeError:
        start_response("500 OH", [], sys.exc_info())


def broken(_environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    yield b"a"
    fail()


@pytest.mark.parametrize("application", [late, broken])
def test_a_reply_that_breaks_off(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    """An error after the head ends the connection, as the client may not take the error for the body."""
    assert said(application, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1")[1] == b"a"
    [record] = caplog.records
    assert (record.message, str(record.exc_info and record.exc_info[1])) == ("request failed", "broken")


def twice(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize(
    "application",
    [
        replying(status="hunter2"),
        replying(status="200 hunter2\r\nX: y"),
        replying(X="hunter2\r\nY: z"),
        replying(X="hunter2\n"),
        replying(X="hunter2\u2026"),
        replying(X="\x00hunter2"),
        replying(**{"hunter2 ": "y"}),
        replying(**{"": "y"}),
        replying(**{"hunter2: x": "y"}),
        replying(Content_Length="x"),
        replying(Content_Length="-1"),
        replying(Content_Length="+1"),
        replying(Content_Length="1", content_length="1"),
        replying(X=1),  # type: ignore[arg-type] # wrong on purpose
        twice,
        lambda *_: [b"body without a head"],
        lambda *_: [],
        lambda *_: 1 / 0,
    ],
)
@pytest.mark.promise("network")
def test_a_reply_that_is_no_reply_is_a_defect(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid status or header, or an error of the application, is 500, without a word from it."""
    with caplog.at_level(logging.INFO):
        lines, body = said(application)
    assert lines[0] == "HTTP/1.1 500 INTERNAL SERVER ERROR"
    assert "Connection: close" in lines
    assert json.loads(body)["code"] == "defect"
    [record] = [record for record in caplog.records if record.message == "request failed"]
    assert "hunter2" not in f"{lines} {body!r} {record.exc_info and record.exc_info[1]}"


class Closing:
    """A body that counts how often it is closed."""

    def __init__(self, *parts: bytes) -> None:
        self.closed = 0
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[bytes]:
        """Return the parts."""
        yield from self._parts
        if not self.closed:
            raise RuntimeError

    def close(self) -> None:
        """Count a call."""
        self.closed += 1


def test_a_body_is_closed_whatever_happens() -> None:
    """`close` of the body is called once, after an error too."""
    body = Closing(b"a")

    def application(_environ: Any, start_response: Any) -> Closing:
        start_response("200 OK", [("Content-Length", "2")])
        return body

    assert said(application)[1] == b"a"
    assert body.closed == 1


def test_a_file_is_sent() -> None:
    """The wrapper for files in the environment is a body like others, and closes its file."""
    file = BytesIO(b"x" * 20_000)

    def application(_environ: Any, start_response: Any) -> FileWrapper:
        start_response("200 OK", [("Content-Length", "20000")])
        return FileWrapper(file)

    assert said(application)[1] == b"x" * 20_000
    assert file.closed
