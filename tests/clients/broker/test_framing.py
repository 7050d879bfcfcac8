"""Requests whose framing two servers could read differently: refused before anything is asked or sent."""

import pytest

from tests.clients.broker.world import World

_A_FIELD = b"Host: HOST\r\n"


def _fields(*lines: bytes) -> bytes:
    return b"POST /v1/charges HTTP/1.1\r\n" + _A_FIELD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


#: Heads, and bodies, with what is wrong in them.
HOSTILE = {
    "length and chunks": _fields(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and length": _fields(b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
    "two lengths": _fields(b"Content-Length: 3", b"Content-Length: 4") + b"abcd",
    "the same length twice": _fields(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "lengths in a list": _fields(b"Content-Length: 3, 3") + b"abc",
    "a signed length": _fields(b"Content-Length: +3") + b"abc",
    "a negative length": _fields(b"Content-Length: -1"),
    "a hexadecimal length": _fields(b"Content-Length: 0x3") + b"abc",
    "a length with a space in it": _fields(b"Content-Length: 1 0") + b"abc",
    "a length with an underscore": _fields(b"Content_Length: 3") + b"abc",
    "a length of other digits": _fields("Content-Length: ٣".encode()) + b"abc",
    "an empty length": _fields(b"Content-Length:"),
    "a long length": _fields(b"Content-Length: 1" + b"0" * 15),
    "a quoted length": _fields(b'Content-Length: "3"') + b"abc",
    "a length with a point": _fields(b"Content-Length: 3.0") + b"abc",
    "gzip": _fields(b"Transfer-Encoding: gzip"),
    "gzip and chunked": _fields(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked and gzip": _fields(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    "identity": _fields(b"Transfer-Encoding: identity"),
    "chunked twice": _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked in a list twice": _fields(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "chunked and identity": _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "quoted chunked": _fields(b'Transfer-Encoding: "chunked"'),
    "chunked with a parameter": _fields(b"Transfer-Encoding: chunked;q=1"),
    "chunked with a vertical tab": _fields(b"Transfer-Encoding: \x0bchunked"),
    "chunked with a form feed": _fields(b"Transfer-Encoding: chunked\x0c"),
    "chunked with an underscore": _fields(b"Transfer_Encoding: chunked"),
    "chunked after a space in the name": _fields(b"Transfer-Encoding : chunked"),
    "chunked after a tab in the name": _fields(b"Transfer-Encoding\t: chunked"),
    "an empty encoding": _fields(b"Transfer-Encoding:"),
    "xchunked": _fields(b"Transfer-Encoding: xchunked"),
    "a folded field": _fields(b"X: a", b" b"),
    "a field folded by a tab": _fields(b"X: a", b"\tb"),
    "a folded encoding": _fields(b"Transfer-Encoding:", b" chunked"),
    "a folded first field": b"GET / HTTP/1.1\r\n Host: HOST\r\n\r\n",
    "a line end without CR": b"GET /v1/charges HTTP/1.1\nHost: HOST\n\n",
    "a field's end without CR": b"GET /v1/charges HTTP/1.1\r\nHost: HOST\r\nX: a\nY: b\r\n\r\n",
    "an end of the head without CR": b"GET /v1/charges HTTP/1.1\r\nHost: HOST\r\n\n",
    "a CR alone": b"GET /v1/charges HTTP/1.1\r\nHost: HOST\r\nX: a\rY: b\r\n\r\n",
    "a CR alone as line end": b"GET /v1/charges HTTP/1.1\rHost: HOST\r\r\n\r\n",
    "two CR": b"GET /v1/charges HTTP/1.1\r\r\nHost: HOST\r\n\r\n",
    "an empty first line": b"\r\nGET /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "NUL in a value": _fields(b"X: a\x00b"),
    "NUL in a name": _fields(b"X\x00: a"),
    "a control character in a value": _fields(b"X: a\x01b"),
    "DEL in a value": _fields(b"X: a\x7fb"),
    "an escape in a value": _fields(b"X: \x1b[31m"),
    "a name with a space": _fields(b"X Y: a"),
    "a name with a bracket": _fields(b"X[]: a"),
    "a name in other letters": _fields("Xé: a".encode()),
    "an empty name": _fields(b": a"),
    "a line without a colon": _fields(b"X"),
    "a name of 300 bytes": _fields(b"X" * 300 + b": a"),
    "101 fields": _fields(*[b"X: a"] * 100),
    "a head of 33 KiB": _fields(*[b"X: " + b"a" * 1_000] * 33),
    "a first line of 17 KiB": b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "two spaces before the target": b"GET  /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "two spaces after the target": b"GET /v1/charges  HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a tab in the first line": b"GET\t/v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a space before the method": b" GET /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a space after the version": b"GET /v1/charges HTTP/1.1 \r\nHost: HOST\r\n\r\n",
    "a space in the target": b"GET /v1/charges HTTP/1.1 x HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "no version": b"GET /v1/charges\r\nHost: HOST\r\n\r\n",
    "HTTP/0.9": b"GET /v1/charges HTTP/0.9\r\nHost: HOST\r\n\r\n",
    "HTTP/1.2": b"GET /v1/charges HTTP/1.2\r\nHost: HOST\r\n\r\n",
    "HTTP/2.0": b"GET /v1/charges HTTP/2.0\r\nHost: HOST\r\n\r\n",
    "HTTP/2's beginning": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.10": b"GET /v1/charges HTTP/1.10\r\nHost: HOST\r\n\r\n",
    "http/1.1": b"GET /v1/charges http/1.1\r\nHost: HOST\r\n\r\n",
    "HTTP/1,1": b"GET /v1/charges HTTP/1,1\r\nHost: HOST\r\n\r\n",
    "a method in lower case": b"get /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a method with a hyphen": b"M-SEARCH /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a long method": b"A" * 17 + b" /v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "no method": b"/v1/charges HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a target in other letters": "GET /é HTTP/1.1\r\nHost: HOST\r\n\r\n".encode(),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_an_unclear_head_is_refused(world: World, raw: bytes) -> None:
    """The broker answers 400 and closes; neither the service nor the host is asked."""
    with world.tunnel() as client:
        client.send(raw.replace(b"HOST", world.authority.encode()) + b"GET /next HTTP/1.1\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.code) == (400, "request_malformed"), reply
        assert reply.values("connection") == ["close"]
        assert client.rest() == b""
    assert (world.host.arrived, world.service.uses) == ([], [])


@pytest.mark.parametrize("name", [name for name in HOSTILE if "CR" in name or "line end" in name])
def test_an_unclear_line_end_is_found_at_every_cut(world: World, name: str) -> None:
    """A line end without its other half is refused wherever the head is cut into packets."""
    raw = HOSTILE[name].replace(b"HOST", world.authority.encode())
    for cut in range(1, len(raw)):
        with world.tunnel() as client:
            client.send(raw[:cut])
            client.send(raw[cut:])
            assert client.reply().code == "request_malformed", cut
    assert (world.host.arrived, world.service.uses) == ([], [])


_CHUNKED = _fields(b"Transfer-Encoding: chunked")
MALFORMED_BODIES = {
    "a size that is no number": b"x\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    "a long size": b"0" * 21 + b"3\r\nabc\r\n0\r\n\r\n",
    "an empty size": b"\r\nabc\r\n0\r\n\r\n",
    "a space before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk without its end": b"3\r\nabc0\r\n\r\n",
    "a chunk that ends with LF": b"3\r\nabc\n0\r\n\r\n",
    "a malformed trailer": b"3\r\nabc\r\n0\r\nX y: z\r\n\r\n",
}


@pytest.mark.parametrize("body", MALFORMED_BODIES.values(), ids=MALFORMED_BODIES)
def test_a_malformed_body_never_becomes_a_request(world: World, body: bytes) -> None:
    """The host sees at most the beginning of one request, never its end and never a second one."""
    with world.tunnel() as client:
        client.send(
            _CHUNKED.replace(b"HOST", world.authority.encode()) + body + world.request("GET", "/smuggled")
        )
        assert client.reply().status in (400, 0)
        client.rest()
    assert world.host.arrived == []
    assert len(world.service.uses) == 1


def test_what_follows_a_body_is_the_next_request(world: World) -> None:
    """A request in the body of another one stays a body; one that follows it has its own use on record."""
    inner = world.request("GET", "/inner")
    with world.tunnel() as client:
        first = world.request("POST", "/first", f"Content-Length: {len(inner)}", body=inner)
        client.send(first + world.request("GET", "/second"))
        assert [client.reply().status for _ in range(2)] == [200, 200]
    assert [request.line for request in world.host.arrived] == [("POST", "/first"), ("GET", "/second")]
    assert world.host.arrived[0].body == inner
    assert [path for _, _, path in world.service.uses] == ["/first", "/second"]


def test_chunks_and_trailers_are_framed_anew(world: World) -> None:
    """The host gets the content in chunks of the broker's own, without extensions and trailers."""
    body = b"3;name=value\r\nabc\r\n002\r\nde\r\n0\r\nX-Trailer: x\r\n\r\n"
    reply = world.ask(
        world.request("POST", "/v1/charges", "Transfer-Encoding: CHUNKED", "Trailer: X", body=body)
    )
    assert reply.status == 200
    [arrived] = world.host.arrived
    assert (arrived.body, arrived.values("trailer"), arrived.values("x-trailer")) == (b"abcde", [], [])


def test_fields_of_the_connection_stay_behind(world: World) -> None:
    """What is of one connection, what names the session, and what the client lists are not sent on."""
    request = world.request(
        "GET",
        "/v1/charges",
        "Connection: keep-alive, X-Mine",
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Bearer smt_session",
        "TE: trailers",
        "X-Mine: 1",
        "X-Yours: 2",
        "Range: bytes=0-1",
        "If-Range: x",
        "Accept-Encoding: gzip",
    )
    assert world.ask(request).status == 200
    [arrived] = world.host.arrived
    names = [line.partition(b":")[0] for line in arrived.head.split(b"\r\n")[1:] if line]
    assert names == [b"host", b"x-yours", b"accept-encoding", b"Authorization"]
    assert arrived.values("accept-encoding") == ["identity"]


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_the_clients_own_header_is_replaced(world: World, name: str) -> None:
    """The host gets the header with the value, and none of the client's under that name."""
    assert world.ask(world.request("GET", "/v1/charges", f"{name}: mine", f"{name}: other")).status == 200
    [arrived] = world.host.arrived
    assert arrived.values("authorization") == [f"Bearer {world.service.rules[0].value}"]


def test_a_name_with_an_underscore_is_replaced_too(world: World) -> None:
    """Servers that read an underscore as a hyphen find the value only."""
    [rule] = world.service.rules
    world.service.rules = [type(rule)(rule.name, rule.hosts, header="X-Api-Key", format="{}")]
    assert world.ask(world.request("GET", "/v1/charges", "X_Api_Key: mine")).status == 200
    [arrived] = world.host.arrived
    assert b"mine" not in arrived.head
    assert arrived.values("x-api-key") == [rule.value]


@pytest.mark.parametrize(
    "field", ["Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade", "connection: x,upgrade"]
)
def test_upgrades_are_refused(world: World, field: str) -> None:
    """The broker speaks HTTP/1.1 only: 501, and nothing is on record."""
    reply = world.ask(world.request("GET", "/v1/charges", field))
    assert (reply.status, reply.code) == (501, "upgrade_refused")
    assert (world.host.arrived, world.service.uses) == ([], [])


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "LINK", "PROPFIND", "X"])
def test_methods_without_rules_are_refused(world: World, method: str) -> None:
    """No use rule can have another method than six: 405."""
    reply = world.ask(world.request(method, "/v1/charges"))
    assert (reply.status, reply.code) == (405, "method_refused")
    assert (world.host.arrived, world.service.uses) == ([], [])


def test_an_old_version_is_refused(world: World) -> None:
    """HTTP/1.0 has no chunks, which replies need: 505."""
    with world.tunnel() as client:
        client.send(f"GET /v1/charges HTTP/1.0\r\nHost: {world.authority}\r\n\r\n".encode())
        assert client.reply().code == "version_refused"
    assert world.service.uses == []


@pytest.mark.parametrize(
    "name",
    [
        *("X-HTTP-Method-Override", "X-HTTP-Method", "X_Method_Override", "X-Original-URL", "X-Rewrite-URL"),
        *("x-original-uri", "X-Forwarded-Uri", "X-Forwarded-Prefix"),
    ],
)
def test_fields_that_override_the_request_are_refused(world: World, name: str) -> None:
    """Some servers would take another method or path from them than the use rule allows: 400."""
    reply = world.ask(world.request("POST", "/v1/charges", f"{name}: DELETE"))
    assert reply.code == "request_malformed"
    assert (world.host.arrived, world.service.uses) == ([], [])


def test_an_unknown_expectation_is_refused(world: World) -> None:
    """Only 100-continue is known: 417."""
    assert world.ask(world.request("POST", "/v1/charges", "Expect: more")).code == "expectation_refused"
    assert world.service.uses == []


def test_a_refusal_leaves_the_connection_usable(world: World) -> None:
    """After a refused request without a body, the next one in the tunnel is answered."""
    with world.tunnel() as client:
        client.send(world.request("GET", "/v1/../x"))
        assert client.reply().code == "path_refused"
        client.send(world.request())
        assert client.reply().status == 200
