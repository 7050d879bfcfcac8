"""Hosts, paths and sessions in spellings that another program could read differently."""

from base64 import b64encode

import pytest

from tests.clients.broker.world import NAME, World, basic

#: Targets of CONNECT that are no host with a port, or another one than rules have.
AUTHORITIES = [
    *(
        "",
        "/",
        "*",
        ":",
        ":443",
        NAME,
        f"{NAME}:",
        f"{NAME}:0",
        f"{NAME}:00443",
        f"{NAME}:+443",
        f"{NAME}:65536",
    ),
    *(f"{NAME}:443x", f"{NAME}:4 43", f"{NAME}:443:443", f"{NAME}:-1", f"{NAME}:٤٤٣", f"{NAME}:0x1bb"),
    *(f"{NAME}.:PORT", f".{NAME}:PORT", "api..example.com:PORT", f"-{NAME}:PORT", f"{NAME}-:PORT"),
    *(
        f"user@{NAME}:PORT",
        f"{NAME}@evil.example:PORT",
        f"user:pass@{NAME}:PORT",
        f"{NAME}:PORT@evil.example:443",
    ),
    *(f"{NAME}%2eevil:PORT", "api%2Eexample.com:PORT", f"{NAME}%00.evil:PORT", f"{NAME}\\evil:PORT"),
    *(
        f"https://{NAME}:PORT",
        f"//{NAME}:PORT",
        f"{NAME}:PORT/",
        f"{NAME}:PORT/x",
        f"{NAME}:PORT?x",
        f"{NAME}:PORT#x",
    ),
    *(f"[{NAME}]:PORT", "[::1:PORT", "::1]:PORT", "[]:PORT", "[::1%25lo]:PORT", "[v1.x]:PORT", "::1:PORT"),
    *(
        "a" * 254 + ":PORT",
        f"{'a' * 64}.com:PORT",
        f"{NAME},evil:PORT",
        f"{NAME};evil:PORT",
        f"'{NAME}':PORT",
    ),
]
_UNKNOWN = [
    *(
        "evil.example:PORT",
        "example.com:PORT",
        f"x.{NAME}:PORT",
        f"{NAME}.evil.example:PORT",
        "localhost:PORT",
    ),
    *("127.0.0.1:PORT", "2130706433:PORT", "0x7f000001:PORT", "127.1:PORT", "0177.0.0.1:PORT", "[::1]:PORT"),
    *(
        "[::ffff:127.0.0.1]:PORT",
        "0.0.0.0:PORT",
        "169.254.169.254:80",
        f"{NAME}:443",
        f"{NAME}:80",
        "api_example.com:PORT",
    ),
]


def _connect(world: World, target: str, *fields: str, session: bytes = basic()) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", *(fields or (f"Host: {target}",))]
    text = "\r\n".join(lines).replace("PORT", str(world.host.port))
    return text.encode() + b"\r\n" + session + b"\r\n"


@pytest.mark.parametrize("target", AUTHORITIES)
def test_a_target_that_is_no_host_is_refused(world: World, target: str) -> None:
    """CONNECT takes a name and a port in their plain form; anything else is 400."""
    with world.client() as client:
        client.send(_connect(world, target))
        assert client.reply().code == "request_malformed"
        client.rest()
    assert (world.host.connections, world.service.asked) == (0, [])


@pytest.mark.parametrize("target", _UNKNOWN)
def test_other_hosts_are_refused(world: World, target: str) -> None:
    """A host without a rule for the session is 403, and no connection to it is made."""
    with world.client() as client:
        client.send(_connect(world, target))
        reply = client.reply()
        assert (reply.status, reply.code) == (403, "host_refused")
        assert b"secret rules" in reply.body
    assert (world.host.connections, world.service.uses) == (0, [])


@pytest.mark.parametrize("target", [NAME.upper() + ":PORT", "Api.Example.Com:PORT"])
def test_names_in_upper_case_are_the_same(world: World, target: str) -> None:
    """Names of hosts are compared in lower case."""
    with world.client() as client:
        client.send(_connect(world, target))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        client.secure(world)
        client.send(world.request())
        assert client.reply().status == 200
    assert world.service.uses == [(world.authority, "GET", "/v1/charges")]


#: The field Host in CONNECT, and in a request of the tunnel.
_OTHER_HOSTS = [
    *(
        "evil.example",
        "evil.example:PORT",
        f"x.{NAME}:PORT",
        f"{NAME}.:PORT",
        f"{NAME}:443",
        NAME,
        f"{NAME}:1",
    ),
    *(
        f"user@{NAME}:PORT",
        f"{NAME}:PORT@evil",
        f"{NAME}:PORT/",
        f"{NAME}:PORT, evil.example",
        f"{NAME} evil:PORT",
    ),
    *("", "localhost:PORT", "127.0.0.1:PORT", f"{NAME}:0PORT", f"{NAME}%2e:PORT", f"https://{NAME}:PORT"),
]


@pytest.mark.parametrize("host", [host for host in _OTHER_HOSTS if host != NAME])
def test_connect_has_one_host(world: World, host: str) -> None:
    """A tunnel whose Host is another one is refused."""
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:PORT", f"Host: {host}"))
        assert client.reply().code == "request_malformed"
    assert world.host.connections == 0


def test_connect_can_omit_443(world: World) -> None:
    """Node.js names the port 443 in the target only."""
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:443", f"Host: {NAME}"))
        assert client.reply().code == "host_refused"


def test_a_host_that_is_no_text_is_refused(world: World) -> None:
    """A tunnel whose Host is not UTF-8 is refused like any other one, and is no defect."""
    with world.client() as client:
        client.send(b"CONNECT %s HTTP/1.1\r\nHost: \xff\r\n\r\n" % world.authority.encode())
        assert client.reply().code == "request_malformed"


@pytest.mark.parametrize("host", _OTHER_HOSTS)
def test_requests_are_for_the_host_of_the_tunnel(world: World, host: str) -> None:
    """A request in a tunnel whose Host is another one is 421, and not on record."""
    with world.tunnel() as client:
        client.send(f"GET / HTTP/1.1\r\nHost: {host.replace('PORT', str(world.host.port))}\r\n\r\n".encode())
        reply = client.reply()
        assert (reply.status, reply.code) == (421, "host_mismatch")
    assert (world.host.arrived, world.service.uses) == ([], [])


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "Host: IT\r\nHost: IT\r\n",
        "Host: IT\r\nhost: evil.example\r\n",
        "Host: IT\r\nX: a\r\nHOST: b\r\n",
        "HOST : IT\r\n",
    ],
)
def test_a_request_has_one_host(world: World, fields: str) -> None:
    """Without the field Host, and with two, a request is 400."""
    with world.tunnel() as client:
        client.send(f"GET / HTTP/1.1\r\n{fields}\r\n".replace("IT", world.authority).encode())
        assert client.reply().code == "request_malformed"
    assert (world.host.arrived, world.service.uses) == ([], [])


REFUSED_PATHS = [
    *(
        "/..",
        "/.",
        "/../",
        "/./",
        "/v1/..",
        "/v1/.",
        "/v1/../x",
        "/v1/./x",
        "/../../etc/passwd",
        "/v1/charges/..",
    ),
    *("/v1/..%3f/x", "/v1/..%23/x", "/v1/.%3fx"),
    *("/%2e%2e/x", "/%2E%2E/x", "/.%2e/x", "/%2e./x", "/v1/%2e", "/v1/%2e%2e", "/v1/%2e%2e%2fx"),
    *(
        "/v1%2fcharges",
        "/v1%2Fcharges",
        "/v1%5ccharges",
        "/v1%5Ccharges",
        "/v1/..%2fx",
        "/v1/..%5cx",
        "/%2f",
        "/%5c",
    ),
    *("/v1\\charges", "/v1\\..\\x", "/..\\x", "\\v1", "/\\evil.example"),
    *(
        "/v1%00",
        "/%00",
        "/v1/charges%00.png",
        "/v1%0d%0aX: y",
        "/v1%0a",
        "/v1%0d",
        "/v1%09x",
        "/v1%1f",
        "/v1%7f",
    ),
    *("/%76%31/charges", "/v1/%63harges", "/%41", "/%61", "/%2d", "/%5f", "/%7e", "/v1/%30"),
    *(
        "/v1/..;/x",
        "/v1/..;a=b/x",
        "/v1/.;/x",
        "/..;/x",
        "/v1/..%3b/x",
        "/v1/..%3Ba/x",
        "/v1/..%20/x",
        "/v1/%20../x",
    ),
    *("//evil.example/x", "//", "///", "//v1/charges", "/%252e%252e/x", "/v1%252fx", "/v1%255cx", "/v1%2500"),
    *("/%c0%ae%c0%ae/x", "/%c0%af", "/%e0%80%ae/x", "/%ff", "/%ed%a0%80", "/%f8%80%80%80%ae"),
    *("/v1/%", "/v1/%2", "/v1/%zz", "/v1/%%", "/v1/%u002e", "/v1/%-1", "/v1/%2x"),
    *(
        "/v1#x",
        "/v1/charges#/../x",
        "/v1?a#b",
        '/v1"x',
        "/v1<x",
        "/v1>x",
        "/v1^x",
        "/v1`x",
        "/v1{x",
        "/v1|x",
        "/v1}x",
        "/v1[x]",
    ),
    *(
        "*",
        "v1/charges",
        "?x",
        "",
        f"https://{NAME}/v1/charges",
        "http://evil.example/",
        f"{NAME}:443",
        "@evil.example/",
    ),
]


@pytest.mark.parametrize("path", [path for path in REFUSED_PATHS if path and " " not in path])
def test_an_unclear_path_is_refused(world: World, path: str) -> None:
    """A path that a server could read as another one is 400, and not on record."""
    reply = world.ask(world.request("GET", path))
    assert (reply.status, reply.code) == (400, "path_refused")
    assert (world.host.arrived, world.service.uses) == ([], [])


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/v1/charges?a=../..", "/v1/charges"),
        ("/v1/charges?a=%2e%2e%2f%00", "/v1/charges"),
        ("/v1/charges?", "/v1/charges"),
        ("/v1/charges??a", "/v1/charges"),
        ("/v1/a//b", "/v1/a//b"),
        ("/v1/...", "/v1/..."),
        ("/v1/.well-known", "/v1/.well-known"),
        ("/v1/a%20b", "/v1/a%20b"),
        ("/v1/a%25b", "/v1/a%25b"),
        ("/v1/%C3%A9", "/v1/%C3%A9"),
        ("/v1/a;b=c,d:e@f!$&'()*+", "/v1/a;b=c,d:e@f!$&'()*+"),
        ('/v1?[]{}|^`\\<>"', "/v1"),
    ],
)
def test_a_path_is_sent_as_it_is_on_record(world: World, target: str, path: str) -> None:
    """The host gets the very target; on record is its path."""
    assert world.ask(world.request("GET", target)).status == 200
    assert [request.head.split(b" ")[1].decode() for request in world.host.arrived] == [target]
    assert world.service.uses == [(world.authority, "GET", path)]


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Proxy-Authorization: \r\n",
        b"Proxy-Authorization: Basic\r\n",
        b"Proxy-Authorization: Basic !!!\r\n",
        b"Proxy-Authorization: Basic \xff\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"no-colon") + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"x:") + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"x:a b") + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"x:\xff") + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"x:a\nb") + b"\r\n",
        b"Proxy-Authorization: Bearer\r\n",
        b"Proxy-Authorization: Bearer a b\r\n",
        b"Proxy-Authorization: Bearer " + b"a" * 9_000 + b"\r\n",
        b"Proxy-Authorization: Digest smt_session\r\n",
        b"Proxy-Authorization: smt_session\r\n",
        b"Authorization: Bearer smt_session\r\n",
    ],
)
def test_a_tunnel_needs_a_session(world: World, field: bytes) -> None:
    """Without the password of the proxy, or a bearer, CONNECT is 407, and says how."""
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:PORT", session=field))
        reply = client.reply()
        assert (reply.status, reply.code) == (407, "session_required")
        assert reply.values("proxy-authenticate") == ['Basic realm="session"']
    assert world.service.asked == []


@pytest.mark.parametrize("field", [b"Bearer smt_1", b"bearer smt_2", b"basic " + b64encode(b":smt_3")])
def test_schemes_are_in_any_case(world: World, field: bytes) -> None:
    """The session is a bearer, or the password of any user."""
    world.service.sessions |= {"smt_1", "smt_2", "smt_3"}
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:PORT", session=b"Proxy-Authorization: " + field + b"\r\n"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert world.service.asked[-1][1]["session"] in ("smt_1", "smt_2", "smt_3")


@pytest.mark.parametrize("more", [b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_connect_has_no_body(world: World, more: bytes) -> None:
    """A CONNECT with a body is refused: it would be read as the beginning of TLS."""
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:PORT", session=basic() + more))
        assert client.reply().code == "request_malformed"


def test_tls_begins_after_the_reply(world: World) -> None:
    """Bytes that arrive with CONNECT are refused: they would be read as if they had been encrypted."""
    with world.client() as client:
        client.send(_connect(world, f"{NAME}:PORT") + world.request())
        assert client.reply().code == "request_malformed"
    assert world.service.uses == []


def test_a_tunnel_has_no_tunnel(world: World) -> None:
    """CONNECT in a tunnel is refused."""
    with world.tunnel() as client:
        client.send(_connect(world, "evil.example:443", f"Host: {world.authority}"))
        assert client.reply().code == "request_malformed"


def test_an_old_connect_is_answered(world: World) -> None:
    """Python 3.11 asks in HTTP/1.0, without the field Host."""
    with world.client() as client:
        client.send(f"CONNECT {world.authority} HTTP/1.0\r\n".encode() + basic() + b"\r\n")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        client.secure(world)
        client.send(world.request())
        assert client.reply().status == 200


@pytest.mark.parametrize(
    "target", ["http://api.example.com/", "http://evil.example/", "http://169.254.169.254/latest"]
)
def test_plain_http_to_others_is_refused(world: World, target: str) -> None:
    """A value never goes to another machine unencrypted."""
    with world.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: {NAME}\r\n".encode() + basic() + b"\r\n")
        reply = client.reply()
        assert (reply.status, reply.code) == (403, "plain_http_refused")
    assert world.service.asked == []


@pytest.mark.parametrize(
    "target",
    ["/", "*", "https://api.example.com/", "ftp://localhost/", "http://", "http:///x", "http://a b/"],
)
def test_other_targets_of_the_proxy_are_refused(world: World, target: str) -> None:
    """Outside a tunnel, only a URL of this machine is a target."""
    with world.client() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: {NAME}\r\n".encode() + basic() + b"\r\n")
        assert client.reply().code in ("target_refused", "request_malformed")
    assert world.service.asked == []
