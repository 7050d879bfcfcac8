"""The grammar of requests, compared with the parser of gunicorn, and through proxies."""

import re
from typing import Any

import gevent
import pytest
from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create

from tests.server.conversations import Recorder, everything, talk
from tests.server.raw_requests import CORPUS
from vault.server import bodies, heads, replies

#: Statuses of gunicorn's errors, other than 400.
_STATUSES = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
}

#: What the application sees of each request, and the status of the refusal that ends the connection, or None.
Outcome = tuple[list[dict[str, Any]], int | None]

_KEYS = (
    *("REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SCRIPT_NAME", "SERVER_PROTOCOL"),
    *("CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme"),
)


def seen(environ: dict[str, Any], body: bytes | None) -> dict[str, Any]:
    """Return what a request is: all of its environment that a client decides."""
    keys = (key for key in environ if key in _KEYS or key.startswith("HTTP_"))
    return {**{key: environ[key] for key in keys}, "body": body}


def by_gunicorn(raw: bytes) -> Outcome:
    """Return what gunicorn makes of *raw*, with the settings that the service had for its parser."""
    config = Config()
    config.set("http_parser", "python")
    config.set("forwarded_allow_ips", "")
    parser = RequestParser(config, iter([raw]), ("192.0.2.1", 1))
    asked: list[dict[str, Any]] = []
    try:
        while True:
            request = next(parser)
            request._expected_100_continue = False
            _, environ = create(request, None, ("192.0.2.1", 1), ("x", 80), config)
            try:
                body = request.body.read()
                # The service refuses bodies that are cut off.
                if len(body) < int(environ.get("CONTENT_LENGTH", 0)):
                    body = None
            except (errors.ParseException, OSError):
                body = None
            asked.append(seen(environ, body))
            if body is None:
                return asked, None
    except (StopIteration, errors.NoMoreData):
        return asked, None
    except errors.ParseException as error:
        return asked, _STATUSES.get(type(error), 400)


def by_us(*parts: bytes) -> Outcome:
    """Return what our server makes of *parts*, each sent after the one before was read."""
    recorder = Recorder()
    with talk(recorder) as (client, serving):
        for part in parts:
            if serving.dead:
                break
            client.sendall(part)
            gevent.sleep(0)
        client.shutdown(1)
        said = everything(client)
    asked = [
        seen(environ, None if len(body or b"") < int(environ.get("CONTENT_LENGTH", 0)) else body)
        for environ, body in recorder.asked
    ]
    last = said.rpartition(b"HTTP/1.1 ")[2]
    return asked, int(last[:3]) if b"problem+json" in last else None


#: Differences from gunicorn, by their reasons: the service refuses, or ends, what gunicorn accepts.
DIFFERENCES = {
    "Readers could take a fragment for a part of the path.": {
        *("target b'/a#b' 4", "target b'/#' 2", "target b'/a?b#c' 6"),
    },
    "The target names another host than `Host`, or a scheme that is not HTTP's.": {
        *("target b'http://y/a' 10", "target b'http://x:80/a' 13", "target b'http://u@x/a' 12"),
        *("target b'http:///a' 9", "target b'ftp://x/a' 9", "an absolute target without a host"),
    },
    "The service is no proxy.": {"CONNECT"},
    "No such version exists, and its framing could differ.": {"version b'HTTP/1.2'", "version b'HTTP/1.9'"},
    "HTTP/1.1 requires a valid `Host`.": {
        *("no headers", "Host: x:x", "Host: x:80:80", "Host: x y", "Host: x/y", "Host: u@x", "Host: [::1"),
        *("Host: ::1", "Host: \xc3\xbc", "Host: x?y", "Host: x#y", "Host: x\\y"),
    },
    "All headers together are limited, also those that are dropped.": {
        *("headers of 33 kB", "headers of 40 kB", "headers without an end", "many dropped headers"),
        "chunked: trailers of 40 kB",
    },
    "Chunks of more than 16 digits are no chunks of this world.": {"size b'00000000000000002' 17"},
    "The line of a chunk's size is limited even if its end arrives together with it.": {
        "size b'2;a=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb' 9004",
    },
    "Two expectations are not one.": {"Expect twice"},
    "`close` counts wherever `Connection` has it.": {
        *("Connection: close, te", "Connection: te, close", "Connection: keep-alive, close"),
        "Connection twice",
    },
    "After a coding that nothing decodes, the connection ends.": {"coding b'identity, chunked'"},
}


def test_the_corpus_is_large() -> None:
    """Hundreds of raw requests are compared, and each listed difference is one of them."""
    assert len(CORPUS) >= 400
    listed = [name for names in DIFFERENCES.values() for name in names]
    assert len(listed) == len(set(listed)) < 50
    assert set(listed) <= CORPUS.keys()


@pytest.mark.promise("network")
@pytest.mark.parametrize("name", CORPUS)
def test_a_raw_request_is_what_gunicorn_takes_it_for(name: str) -> None:
    """Each raw request means what it means to gunicorn's strict parser, or is refused for a listed reason."""
    (theirs, their_refusal), (ours, our_refusal) = by_gunicorn(CORPUS[name]), by_us(CORPUS[name])
    if any(name in names for names in DIFFERENCES.values()):
        assert (ours, our_refusal) != (theirs, their_refusal)
        # Nothing that gunicorn does not see, too.
        assert all(
            {**mine, "body": None} == {**other, "body": None}
            for mine, other in zip(ours, theirs, strict=False)
        )
        assert len(ours) < len(theirs) or our_refusal
    else:
        assert (ours, our_refusal) == (theirs, their_refusal)


@pytest.mark.promise("network")
@pytest.mark.parametrize("name", [name for name, raw in CORPUS.items() if len(raw) < 300])
def test_a_raw_request_may_come_in_any_parts(name: str) -> None:
    """A request that comes byte by byte means what it means at once."""
    raw = CORPUS[name]
    assert by_us(*(raw[at : at + 1] for at in range(len(raw)))) == by_us(raw)


@pytest.mark.parametrize(
    "pattern",
    [heads._VALID_HEAD, bodies._SIZE_LINE, bodies._TRAILERS, replies._VALID_LINES],
    ids=["head", "size", "trailers", "reply"],
)
def test_a_group_is_not_possessive(pattern: re.Pattern[str]) -> None:
    """Python 3.11, which is supported, has defects in possessive quantifiers of groups before 3.11.5."""
    assert not re.search(r"\)(?:[*+?]|\{[0-9,]+\})\+", pattern.pattern)


@pytest.mark.promise("network")
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (heads._VALID_HEAD, "GET / HTTP/1.1\r\n" + "A:\r\n" * 8_000 + "A"),
        (heads._VALID_HEAD, "GET / HTTP/1.1\r\n" + "A" * 32_000),
        (bodies._SIZE_LINE, "1" + ";a" * 4_000 + "\0"),
        (bodies._SIZE_LINE, "1" + " ; a = b" * 1_000 + " "),
        (bodies._SIZE_LINE, "1;a=" + '"' + "\\b" * 4_000),
        (bodies._SIZE_LINE, "1;a=" + '"' + "b" * 8_000),
        (bodies._TRAILERS, "A:\r\n" * 8_000),
    ],
)
def test_a_text_that_does_not_match_takes_no_long_time(pattern: re.Pattern[str], text: str) -> None:
    """There is one way only to read the beginning of a text, so that its end leads to no further attempts."""
    assert not pattern.fullmatch(text)
