"""`Host` and `Expect`, with clients that send them in every way; test_grammar.py has the grammar."""

import socket
from base64 import b64encode

import pytest

from tests.support.service import Service

CREATE, FETCH = "/vault/secret/create/", "/vault/secret/fetch"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b'{"secret": "YQ=="}'
LIVE = b"GET /health/live HTTP/1.1\r\n"


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60)


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Return the service that these tests share with others."""
    return shared_service


@pytest.mark.promise("network")
@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"Host: a", b"Host: a"],
        [b"Host: a b"],
        [b"Host: a/b"],
        [b"Host: user@a"],
        [b"Host: a:80:80"],
        [b"Host: a:x"],
        [b"Host: [::1"],
        [b"Host: \xc3\xbc"],
    ],
    ids=lambda hosts: b" ".join(hosts).decode("latin-1") or "none",
)
def test_a_request_without_one_valid_host_is_400(service: Service, hosts: list[bytes]) -> None:
    """HTTP/1.1 requires exactly one valid `Host`: others in a chain could route by another one."""
    with connect(service) as client:
        client.sendall(b"\r\n".join([LIVE.strip(), *hosts, b"", b""]))
        assert client.recv(13) == b"HTTP/1.1 400 "


@pytest.mark.parametrize(
    "head",
    [
        LIVE.replace(b"1.1", b"1.0"),
        *(
            LIVE + b"Host: " + host + b"\r\n"
            for host in (b"", b"a_b.c:8000", b"[::1]:80", b"[fe80::1%25eth0]")
        ),
    ],
    ids=["HTTP/1.0", "empty", "name and port", "IPv6", "IPv6 with a zone"],
)
def test_a_request_with_a_valid_host_is_answered(service: Service, head: bytes) -> None:
    """HTTP/1.0 needs no `Host`; names, addresses and an empty value are valid."""
    with connect(service) as client:
        client.sendall(head + b"\r\n")
        assert client.recv(13)[8:] == b" 200 "


def post(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Expect: 100-continue", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


JSON, LENGTH = "Content-Type: application/json", f"Content-Length: {len(BODY)}"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_asked_for_once(service: Service, chunked: bool) -> None:
    """A client that waits for `100 Continue` gets it, then the reply, and can use the connection again."""
    framing = "Transfer-Encoding: chunked" if chunked else LENGTH
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    with connect(service) as client:
        for _ in range(2):
            client.sendall(post(CREATE, JSON, framing))
            assert client.recv(65_536) == CONTINUE
            client.sendall(sent[:7])
            client.sendall(sent[7:])
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_a_body_that_has_arrived_is_not_asked_for(service: Service) -> None:
    """A small body that comes with its headers, or an empty one, needs no `100 Continue`."""
    with connect(service) as client:
        client.sendall(post(CREATE, JSON, LENGTH) + BODY)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        client.sendall(post(CREATE, JSON, "Content-Length: 0"))
        assert client.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_a_client_of_http_1_0_is_not_asked(service: Service) -> None:
    """`Expect` has no meaning in HTTP/1.0."""
    with connect(service) as client:
        client.sendall(post(CREATE, JSON, LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0"))
        client.sendall(BODY)
        assert client.recv(65_536).startswith(b"HTTP/1.0 200 OK")


@pytest.mark.promise("network")
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (CREATE, ["Content-Type: text/plain", LENGTH], 415),
        (CREATE, [JSON, "Content-Encoding: gzip", LENGTH], 415),
        (CREATE, [JSON, "Content-Length: 100000000"], 413),
        (CREATE, [JSON, LENGTH, "Authorization: Bearer wrong"], 401),
        ("/vault/secret/list", [JSON, LENGTH], 401),
        ("/nothing", [JSON, LENGTH], 404),
        ("/health/live", [JSON, LENGTH], 405),
    ],
)
def test_a_hopeless_request_is_refused_before_its_body(
    service: Service, path: str, headers: list[str], status: int
) -> None:
    """If its headers condemn a request, the reply is the refusal, not `100 Continue`, and the last one."""
    with connect(service) as client:
        client.sendall(post(path, *headers))
        refused = client.makefile("rb").read()
    assert refused.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in refused
    assert refused.count(b"HTTP/1.1 ") == 1


@pytest.mark.promise("network")
def test_what_follows_a_refused_expectation_is_no_request(service: Service) -> None:
    """Bytes that a refused client sends after all are discarded, not answered as another request."""
    with connect(service) as client:
        client.sendall(post("/nothing", JSON, "Content-Length: 1000"))
        client.sendall(LIVE + b"Host: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        said = client.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 404 ")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_body_is_asked_for_only_with_a_credential(guarded: tuple[Service, str]) -> None:
    """Without a credential the refusal comes first; with one, the client is asked for its body."""
    service, token = guarded
    with connect(service) as client:
        client.sendall(post(FETCH, JSON, LENGTH))
        assert client.recv(13) == b"HTTP/1.1 401 "
    large = b'{"secret": "%s"}' % b64encode(bytes(40_000))
    with connect(service) as client:
        client.sendall(post(CREATE, JSON, f"Content-Length: {len(large)}", f"Authorization: Bearer {token}"))
        assert client.recv(65_536) == CONTINUE
        client.sendall(large)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("expectation", ["200-ok", "100-continue, other", "", "100"])
def test_an_unknown_expectation_is_417(service: Service, expectation: str) -> None:
    """The service meets no other expectation, and says so."""
    with connect(service) as client:
        client.sendall(LIVE + f"Host: x\r\nExpect: {expectation}\r\n\r\n".encode())
        assert client.recv(13) == b"HTTP/1.1 417 "
