"""Replies of hosts that lie about their framing, compress, switch protocols, or send the value back."""

import gzip
import zlib
from collections.abc import Sequence
from threading import Event

import pytest

from tests.clients.broker.host import OK
from tests.clients.broker.service import VALUE, Rule
from tests.clients.broker.world import World
from tests.support.waiting import wait_until

_V = VALUE.encode()
_HEAD = b"HTTP/1.1 200 OK\r\n"


def _with(*fields: bytes, body: bytes = b"") -> bytes:
    return _HEAD + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


#: Whole replies that must become 502; each has the value, which must not pass.
REFUSED = {
    "length and chunks": _with(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"3\r\n" + _V),
    "two lengths": _with(b"Content-Length: 3", b"Content-Length: 4", body=_V),
    "the same length twice": _with(b"Content-Length: 3", b"Content-Length: 3", body=_V),
    "lengths in a list": _with(b"Content-Length: 3, 3", body=_V),
    "a signed length": _with(b"Content-Length: +3", body=_V),
    "a negative length": _with(b"Content-Length: -3", body=_V),
    "a length with the value": _with(b"Content-Length: " + _V, body=_V),
    "a length with an underscore": _with(b"Content_Length: 3", body=_V),
    "gzip in the framing": _with(b"Transfer-Encoding: gzip, chunked", body=_V),
    "identity in the framing": _with(b"Transfer-Encoding: identity", body=_V),
    "chunked twice": _with(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_V),
    "an encoding with the value": _with(b"Transfer-Encoding: " + _V, body=_V),
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n" + _V,
    "a folded field": _with(b"X: a\r\n " + _V),
    "a line end without CR": b"HTTP/1.1 200 OK\nX: " + _V + b"\n\n",
    "a field's end without CR": _with(b"X: a\nY: " + _V),
    "a CR alone": _with(b"X: a\rY: " + _V),
    "NUL in a field": _with(b"X: \x00" + _V),
    "an escape in a field": _with(b"X: \x1b]0;" + _V),
    "a name with a space": _with(b"X " + _V + b": a"),
    "a line without a colon": _with(_V),
    "101 fields": _with(*[b"X: " + _V] * 101),
    "a head of 33 KiB": _with(*[b"X: " + _V + b"a" * 1_000] * 33),
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n" + _V,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n" + _V,
    "a status 600": b"HTTP/1.1 600 OK\r\n\r\n" + _V,
    "a status 099": b"HTTP/1.1 099 OK\r\n\r\n" + _V,
    "a status with the value": b"HTTP/1.1 " + _V + b" OK\r\n\r\n",
    "a reason with a control character": b"HTTP/1.1 200 O\x07K\r\n\r\n" + _V,
    "HTTP/2": b"HTTP/2 200\r\n\r\n" + _V,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n" + _V,
    "ICY": b"ICY 200 OK\r\n\r\n" + _V,
    "HTTP/0.9": _V + b"\r\n\r\n",
    "an empty first line": b"\r\nHTTP/1.1 200 OK\r\n\r\n" + _V,
    "a space before": b" HTTP/1.1 200 OK\r\n\r\n" + _V,
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + _V,
    "9 interim replies": (b"HTTP/1.1 103 Early Hints\r\nLink: " + _V + b"\r\n\r\n") * 9 + _with(body=_V),
    "a malformed interim reply": b"HTTP/1.1 100 Continue\r\nX: a\nY: " + _V + b"\r\n\r\n" + _with(body=_V),
    "gzip": _with(b"Content-Encoding: gzip", b"Content-Length: 3", body=gzip.compress(_V)),
    "x-gzip": _with(b"Content-Encoding: x-gzip", body=gzip.compress(_V)),
    "deflate": _with(b"Content-Encoding: deflate", body=zlib.compress(_V)),
    "br": _with(b"Content-Encoding: br", body=_V),
    "zstd": _with(b"content-encoding: ZSTD", body=_V),
    "two encodings": _with(b"Content-Encoding: identity, gzip", body=_V),
    "gzip in a second field": _with(b"Content-Encoding: identity", b"Content-Encoding: gzip", body=_V),
    "gzip with an underscore": _with(b"Content_Encoding: gzip", body=gzip.compress(_V)),
    "an unknown encoding": _with(b"Content-Encoding: " + _V, body=_V),
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nX: " + _V,
}


def _reply(world: World, parts: Sequence[bytes], *, closes: bool = True) -> None:
    world.host.reply, world.host.closes = lambda _: parts, closes


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_an_unclear_reply_is_refused(world: World, raw: bytes) -> None:
    """The client gets 502 in place of a reply that two programs could read differently."""
    _reply(world, [raw])
    reply = world.ask(world.request())
    assert (reply.status, len(world.host.arrived)) == (502, 1)
    assert reply.code in ("reply_refused", "host_closed")


#: Replies that lie after their head: the client sees that they are cut.
CUT = {
    "shorter than its length": _with(b"Content-Length: 100", body=b"short"),
    "an unfinished chunk": _with(b"Transfer-Encoding: chunked", body=b"64\r\nshort"),
    "no last chunk": _with(b"Transfer-Encoding: chunked", body=b"5\r\nshort\r\n"),
    "a malformed size": _with(
        b"Transfer-Encoding: chunked", body=b"5\r\nshort\r\nx\r\n" + _V + b"\r\n0\r\n\r\n"
    ),
    "a chunk longer than its size": _with(
        b"Transfer-Encoding: chunked", body=b"5\r\nshorter" + _V + b"\r\n0\r\n\r\n"
    ),
    "a chunk that ends with LF": _with(
        b"Transfer-Encoding: chunked", body=b"5\r\nshort\n" + _V + b"\r\n0\r\n\r\n"
    ),
    "a trailer without its end": _with(b"Transfer-Encoding: chunked", body=b"5\r\nshort\r\n0\r\nX: " + _V),
    "a malformed trailer": _with(
        b"Transfer-Encoding: chunked", body=b"5\r\nshort\r\n0\r\n" + _V + b"\r\n\r\n"
    ),
    "a long trailer": _with(
        b"Transfer-Encoding: chunked", body=b"5\r\nshort\r\n0\r\n" + b"X: " + b"a" * 70_000
    ),
    "a cut value": _with(b"Content-Length: 100", body=_V[:-1]),
}


@pytest.mark.parametrize("raw", CUT.values(), ids=CUT)
def test_a_broken_reply_is_cut(world: World, raw: bytes) -> None:
    """A reply that ends early ends early for the client, too: it never looks whole."""
    _reply(world, [raw])
    with world.tunnel() as client:
        client.send(world.request())
        found = client.rest()
    assert found.startswith(b"HTTP/1.1 200 ")
    assert not found.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (_with(b"Content-Length: 2", body=b"ok"), 200, b"ok"),
        (_with(b"Content-Length: 2", body=b"ok" + _V), 200, b"ok"),
        (_with(b"content-length:2", body=b"ok"), 200, b"ok"),
        (_with(body=b"until the end"), 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", 200, b"old"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 " + _V + b"\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n" + _V, 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, b""),
        (b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", 500, b"no"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + _with(b"Content-Length: 2", body=b"ok"), 200, b"ok"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: "
            + _V
            + b"\r\n\r\n"
            + _with(b"Content-Length: 2", body=b"ok"),
            200,
            b"ok",
        ),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 7 + _with(b"Content-Length: 2", body=b"ok"), 200, b"ok"),
        (_with(b"Transfer-Encoding: chunked", body=b"2;x=" + _V + b"\r\nok\r\n0\r\n\r\n"), 200, b"ok"),
        (
            _with(
                b"Transfer-Encoding: chunked", b"Trailer: X", body=b"2\r\nok\r\n0\r\nX: " + _V + b"\r\n\r\n"
            ),
            200,
            b"ok",
        ),
        (_with(b"Transfer-Encoding: chunked", body=b"02\r\nok\r\n000\r\n\r\n"), 200, b"ok"),
        (_with(b"Content-Encoding: identity", b"Content-Length: 2", body=b"ok"), 200, b"ok"),
        (_with(b"Content-Encoding:", b"Content-Length: 2", body=b"ok"), 200, b"ok"),
    ],
)
def test_a_clear_reply_is_framed_anew(world: World, raw: bytes, status: int, body: bytes) -> None:
    """The client gets the content in the broker's framing, without interim replies, reason and trailers."""
    _reply(world, [raw])
    reply = world.ask(world.request())
    assert (reply.status, reply.body) == (status, body)
    assert b"content-length" not in reply.head.lower()


def test_a_redirect_is_the_clients(world: World) -> None:
    """The broker follows none: the client gets it, and no second request leaves."""
    _reply(
        world, [b"HTTP/1.1 307 X\r\nLocation: https://evil.example/" + _V + b"\r\nContent-Length: 0\r\n\r\n"]
    )
    reply = world.ask(world.request())
    assert reply.values("location") == ["https://evil.example/[secret]"]
    assert len(world.host.arrived) == 1


def test_the_reply_to_head_has_no_body(world: World) -> None:
    """HEAD has the fields of the reply, whatever their length says; the next request is answered, too."""
    _reply(world, [_with(b"Content-Length: 100", b"X: y")], closes=False)
    with world.tunnel() as client:
        for _ in range(2):
            client.send(world.request("HEAD"))
            head = client.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"X: y\r\n" in head
    assert world.host.connections == 1


def test_fields_of_the_hosts_connection_stay_behind(world: World) -> None:
    """What is of one connection, or shows another way to the host, is not returned."""
    _reply(
        world,
        [
            _with(
                *(b"Connection: X-Mine", b"Keep-Alive: 5", b"X-Mine: 1", b"Alt-Svc: h3", b"Upgrade: h2c"),
                *(b"Proxy-Authenticate: Basic", b"Trailer: X", b"X-Yours: 2", b"Content-Length: 0"),
            )
        ],
    )
    reply = world.ask(world.request())
    names = {line.partition(b":")[0] for line in reply.head.split(b"\r\n")[1:] if line}
    assert names == {b"X-Yours", b"Transfer-Encoding"}


@pytest.mark.parametrize(
    ("field", "returned"),
    [
        (b"X: " + _V, [b"X: [secret]"]),
        (b"Set-Cookie: a=" + _V + b"; Path=/", [b"Set-Cookie: a=[secret]; Path=/"]),
        (b'WWW-Authenticate: Bearer error="' + _V + b'"', [b'WWW-Authenticate: Bearer error="[secret]"']),
        (b"X: Bearer " + _V + b", Bearer " + _V, [b"X: Bearer [secret], Bearer [secret]"]),
        (b"Link: </?key=sk_live_4eC39%2FHqLyjW%2BarjtT1zdp7dc>", [b"Link: </?key=[secret]>"]),
        (b"Link: </?key=sk_live_4eC39%2fHqLyjW%2barjtT1zdp7dc>", [b"Link: </?key=[secret]>"]),
        (b"X-" + _V.replace(b"/", b"%2F") + b": 1", []),
        (b"X: y", [b"X: y"]),
    ],
)
def test_fields_are_scrubbed(world: World, field: bytes, returned: list[bytes]) -> None:
    """The value is removed from each field; a field whose name has it is dropped."""
    _reply(world, [_with(field, b"Content-Length: 0")])
    reply = world.ask(world.request())
    assert [line for line in reply.head.split(b"\r\n")[1:-2] if not line.startswith(b"Transfer-")] == returned


def test_a_connection_with_leftovers_is_not_used_again(world: World) -> None:
    """What a host sends after its reply never becomes the reply to the next request."""
    world.host.reply = lambda _: [
        _with(b"Content-Length: 2", body=b"ok") + _with(b"Content-Length: 4", body=b"evil")
    ]
    with world.tunnel() as client:
        for _ in range(3):
            client.send(world.request())
            assert client.reply().body == b"ok"
    assert (world.host.connections, len(world.host.arrived)) == (3, 3)


def test_a_connection_is_used_again(world: World) -> None:
    """Requests of one tunnel share a connection to the host; each has its use on record."""
    with world.tunnel() as client:
        for number in range(5):
            client.send(world.request("GET", f"/{number}"))
            assert client.reply().status == 200
    assert (world.host.connections, len(world.service.uses)) == (1, 5)


def test_a_host_that_closes_is_connected_again(world: World) -> None:
    """A connection that the host closed while it was idle is not used for the next request."""
    world.host.closes = True
    with world.tunnel() as client:
        for _ in range(3):
            client.send(world.request())
            assert client.reply().status == 200
    assert (world.host.connections, len(world.service.uses)) == (3, 3)


@pytest.mark.parametrize("size", [10, 8 * 1_048_576])
def test_an_early_reply_ends_the_request(world: World, size: int) -> None:
    """A host that replies and closes before it has read the body is heard; the connection ends with that."""
    world.host.reads_bodies, world.host.closes = False, True
    world.host.reply = lambda _: [b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"]
    with world.tunnel() as client:
        client.send(world.request("POST", "/v1/charges", f"Content-Length: {size}", body=b"a" * (size // 2)))
        assert client.reply().status in (413, 504)
        assert client.rest() == b""
    assert len(world.service.uses) == 1


def test_a_host_that_breaks_off_is_noticed(world: World) -> None:
    """A host that closes in the midst of a body, without a reply, is an error of the host."""
    world.host.reads_bodies, world.host.closes = False, True
    world.host.reply = lambda _: []
    size = 8 * 1_048_576
    reply = world.ask(world.request("POST", "/v1/charges", f"Content-Length: {size}", body=bytes(size)))
    assert reply.code in ("host_closed", "host_silent")


def test_a_request_can_come_early(world: World) -> None:
    """A request that arrives while the reply to another one is awaited is answered after it."""
    going = Event()
    world.host.reply = lambda _: [OK] if going.wait(10) else []
    with world.tunnel() as client:
        client.send(world.request("GET", "/first"))
        wait_until(lambda: world.host.arrived)
        client.send(world.request("GET", "/second"))
        going.set()
        assert [client.reply().status for _ in range(2)] == [200, 200]
    assert [path for _, _, path in world.service.uses] == ["/first", "/second"]


def test_a_value_that_repeats_itself_is_cut(world: World) -> None:
    """A reply in which the value cannot be followed is cut, or refused if it is in a field."""
    [rule] = world.service.rules
    world.service.rules = [Rule(rule.name, rule.hosts, value="a" * 3_000)]
    _reply(world, [_with(b"X: " + b"a" * 2_000, b"Content-Length: 0")])
    assert world.ask(world.request()).code == "reply_refused"
    _reply(world, [_with(b"Content-Length: 9000", body=b"a" * 2_000)])
    with world.tunnel() as client:
        client.send(world.request())
        assert not client.rest().endswith(b"0\r\n\r\n")
