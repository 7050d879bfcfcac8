"""The broker between a client that speaks in bytes, a host that lies, and a stub of the service."""

import base64
import json
import re
import socket
import ssl
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.clients.broker import host as hosts
from tests.clients.broker import service as services
from tests.clients.broker.host import Host
from tests.clients.broker.service import BROKER_TOKEN, SESSION, Rule, StubService
from vault.clients.broker import addresses, proxy
from vault.clients.broker.commands import parts_of
from vault.clients.broker.connection import Parts
from vault.clients.broker.proxy import serving
from vault.clients.broker.stream import Stream
from vault.clients.broker.targets import Authority
from vault.clients.broker.wire import Wire
from vault.common.networks import Network

NAME = "api.example.com"
LOOPBACK = ip_network("127.0.0.0/8")

_SECONDS = 30
_BORDER = re.compile(rb"\r\n[0-9a-f]+\r\n")


def basic(session: str = SESSION) -> bytes:
    """Return the field that names *session*."""
    return b"Proxy-Authorization: Basic " + base64.b64encode(f"x:{session}".encode()) + b"\r\n"


def written(value: str) -> set[bytes]:
    """Return *value* as encoders write it, by other means than the broker's own."""
    found = {value.encode(), value.encode().lower() if value.islower() else value.encode()}
    for quoted in (
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote(value),
        urllib.parse.quote_plus(value),
    ):
        found |= {quoted.encode(), quoted.replace("%2F", "%2f").replace("%2B", "%2b").encode()}
    for text in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        json.dumps(value).replace("/", "\\/"),
    ):
        found.add(text[1:-1].encode())
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value.encode())
        # Without the characters that also depend on the neighbours.
        whole = encoded[(0, 2, 3)[before] :].rstrip(b"=")
        whole = whole[: (len(value.encode()) * 8 - (0, 4, 2)[before]) // 6]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_"), whole.replace(b"/", b"\\/")}
        found.add(urllib.parse.quote(whole, safe="").encode())
    return found


@dataclass
class Client:
    """A client's connection to the broker, in bytes."""

    connection: socket.socket

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.connection.sendall(data)

    def read(self, count: int = 65_536) -> bytes:
        """Return the next bytes; empty at the end."""
        try:
            return self.connection.recv(count)
        except (ConnectionError, ssl.SSLError):
            return b""

    def until(self, end: bytes) -> bytes:
        """Return what arrives until *end*, or until the connection ends."""
        found = b""
        while not found.endswith(end) and (data := self.read(1)):
            found += data
        return found

    def rest(self) -> bytes:
        """Return all that arrives until the connection ends."""
        return b"".join(iter(self.read, b""))

    def reply(self) -> "Reply":
        """Return the next reply."""
        head = self.until(b"\r\n\r\n")
        reply = Reply(head, b"")
        if b"transfer-encoding: chunked" in head.lower():
            body = b""
            while size := int(self.until(b"\r\n") or b"0", 16):
                body += self.exactly(size + 2)[:-2]
            self.until(b"\r\n")
            return Reply(head, body)
        length = int(reply.values("content-length")[0]) if reply.values("content-length") else 0
        return Reply(head, self.exactly(length))

    def exactly(self, count: int) -> bytes:
        """Return the next *count* bytes; fewer only at the end."""
        found = b""
        while len(found) < count and (data := self.read(count - len(found))):
            found += data
        return found

    def secure(self, world: "World", name: str = NAME) -> None:
        """Begin TLS."""
        trust = ssl.create_default_context(cadata=world.parts.authority.pem.decode())
        self.connection = trust.wrap_socket(self.connection, server_hostname=name)

    def leave(self) -> None:
        """Announce the end of TLS."""
        assert isinstance(self.connection, ssl.SSLSocket)
        with suppress(OSError):
            self.connection.unwrap()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


@dataclass(frozen=True)
class Reply:
    """A reply as it arrived."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """The status; 0 without a reply."""
        return int(self.head.split(b" ")[1]) if self.head else 0

    @property
    def code(self) -> str:
        """The code of the problem document; empty if it is none."""
        if b"application/problem+json" not in self.head:
            return ""
        return str(json.loads(self.body)["code"])

    def values(self, name: str) -> list[str]:
        """Return the values of the fields of this name."""
        return hosts.Arrived(self.head, b"").values(name)


@dataclass
class World:
    """All of it."""

    service: StubService
    host: Host
    parts: Parts
    address: tuple[str, int]
    #: The addresses of each host name.
    names: dict[str, Sequence[str]]
    #: The host with its port.
    authority: str
    #: What the broker wrote to each client before TLS, also if nobody read it.
    received: list[bytearray] = field(default_factory=list)

    def client(self) -> Client:
        """Return a new connection to the broker."""
        connection = socket.create_connection(self.address)
        connection.settimeout(_SECONDS)
        return Client(connection)

    def tunnel(self, session: str = SESSION) -> Client:
        """Return a connection with a tunnel to the host."""
        client = self.client()
        client.send(
            b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n" % ((self.authority.encode(),) * 2)
            + basic(session)
            + b"\r\n"
        )
        reply = client.until(b"\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 200 "), reply
        client.secure(self)
        return client

    def request(
        self, method: str = "GET", target: str = "/v1/charges", *fields: str, body: bytes = b""
    ) -> bytes:
        """Return a request for the host."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.authority}", *fields]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def ask(self, request: bytes) -> Reply:
        """Send *request* in a tunnel of its own, and return the reply."""
        with self.tunnel() as client:
            client.send(request)
            return client.reply()

    def rules_for(self, *names: str) -> None:
        """Give hosts of these names, at the port of the one that there is, its rule."""
        [rule] = self.service.rules
        self.names |= {name: ["127.0.0.1"] for name in names}
        self.service.rules = [replace(rule, hosts=tuple(f"{name}:{self.host.port}" for name in names))]
        self.parts.uses._asked.clear()

    def assert_kept(self) -> None:
        """Assert that each request that arrived is on record, and that nothing of a value came back."""
        sent = Counter((self.authority, *request.line) for request in self.host.arrived)
        assert sent <= Counter(self.service.uses)
        for received in self.received:
            # With the borders of chunks, and without.
            seen = received + _BORDER.sub(b"", received)
            for rule in self.service.rules:
                assert not [form for form in written(rule.value) if form in seen]
        for request in self.host.arrived:
            assert SESSION.encode() not in request.head
            assert BROKER_TOKEN.encode() not in request.head


@contextmanager
def new_world(
    *,
    name: str | None = NAME,
    trusted: bool = True,
    networks: Sequence[Network] = (LOOPBACK,),
    opened: Sequence[Authority] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[World]:
    """Run everything while the block runs; the host has a certificate for *name*."""
    with ExitStack() as running, pytest.MonkeyPatch.context() as patch:
        service = running.enter_context(services.running(StubService()))
        host = running.enter_context(hosts.running(Host(), name))
        token_file = Path(running.enter_context(TemporaryDirectory())) / "token"
        token_file.write_text(BROKER_TOKEN)
        names: dict[str, Sequence[str]] = {NAME: ["127.0.0.1"]}

        async def resolved(authority: Authority) -> list[str]:
            found = names.get(authority.host)
            if found is None:
                raise OSError
            return [*found]

        received: list[bytearray] = []

        class Recorded(Stream):
            def __init__(self, wire: Wire) -> None:
                super().__init__(wire)
                self._sent = bytearray()
                received.append(self._sent)

            async def send(self, data: bytes | None) -> None:
                self._sent += data or b""
                await super().send(data)

        patch.setattr(addresses, "_resolved", resolved)
        patch.setattr(proxy, "Stream", Recorded)
        parts = parts_of(
            service.url,
            token_file,
            ca_cert=None,
            upstream_ca=None,
            opened=opened,
            networks=networks,
        )
        if trusted:
            parts.trust.load_verify_locations(cadata=host.authority.pem.decode())
        address = running.enter_context(serving(parts, ("127.0.0.1", 0), tls))
        service.rules = [Rule("billing/stripe", (f"{NAME}:{host.port}",))]
        world = World(service, host, parts, address, names, f"{NAME}:{host.port}", received)
        yield world
        world.assert_kept()
