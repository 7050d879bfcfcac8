"""Endpoints of webhooks: signed requests, to checked addresses only."""

import socket
import ssl
from base64 import b64decode
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.features.webhooks.receiver import receiver
from tests.system.test_tls import make
from tests.toolkit.client.peers import peer, reply
from vault.clients.dev.mongod import free_port
from vault.features.webhooks.endpoint import Endpoint, UndeliveredError, shown_secret, signed_headers

SECRET = bytes(range(32))
LOCAL = (ip_network("127.0.0.0/8"),)


def test_a_signature_is_that_of_the_specification() -> None:
    """The signature equals the example of Standard Webhooks."""
    secret = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', secret, timestamp=1614265330
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert shown_secret(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All endpoints of a process share the trusted certificates: reading them holds up all requests."""
    contexts = []
    create = ssl.create_default_context

    def created(**options: Any) -> ssl.SSLContext:
        contexts.append(create(**options))
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", created)
    monkeypatch.setenv("SSL_CERT_FILE", "another")
    for _ in range(3):
        with pytest.raises(UndeliveredError):
            Endpoint(f"https://127.0.0.1:{free_port()}/", SECRET, LOCAL).send("evt_1", b"{}")
    assert len(contexts) == 1


def test_an_event_arrives_with_its_signature() -> None:
    """The receiver gets the body as it was signed, and the secret is in no text about the endpoint."""
    with receiver() as running:
        running.secret = shown_secret(SECRET)
        endpoint = Endpoint(running.url, SECRET, LOCAL)
        endpoint.send("evt_1", b'{"type":"a"}')
        assert running.events == [("evt_1", {"type": "a"})]
        assert str(SECRET) not in repr(endpoint)
        with pytest.raises(UndeliveredError, match="it answers with status 401"):
            Endpoint(running.url, b"another", LOCAL).send("evt_1", b"{}")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(500, ""), "it answers with status 500"),
        (reply(302, "", "Location: http://127.0.0.1:1/"), "it answers with status 302"),
        (reply(200, "x" * 65_537), "sends a reply of more than 65536 bytes"),
        (b"nonsense\r\n\r\n", "breaks off its reply"),
    ],
    ids=["status", "redirect", "large", "nonsense"],
)
def test_another_answer_is_a_failure(answer: bytes, error: str) -> None:
    """Only a small reply with a status of success accepts an event; a redirect is not followed."""
    with peer(answer) as running, pytest.raises(UndeliveredError, match=f"^{error}$"):
        Endpoint(running.url, SECRET, LOCAL).send("evt_1", b"{}")


def test_a_host_without_an_allowed_address_is_not_connected_to() -> None:
    """The addresses are checked at each request, whatever was allowed when the webhook was created."""
    for url, error in [
        ("http://127.0.0.1:1/", "no address to which"),
        ("https://no-such-host.invalid/", "its host has no address"),
    ]:
        with pytest.raises(UndeliveredError, match=error):
            Endpoint(url, SECRET, ()).send("evt_1", b"{}")


def test_the_checked_address_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is looked up once, so it cannot lead elsewhere after the check; a second address is tried."""
    with receiver() as running:
        port = int(running.url.rpartition(":")[2].partition("/")[0])
        asked, really_look_up = [], socket.getaddrinfo

        def look_up(host: str, *arguments: Any, **options: Any) -> Any:
            if host != "hooks.example":
                return really_look_up(host, *arguments, **options)
            asked.append(host)
            return [
                found
                for address in ("127.9.9.9", "127.0.0.1")
                for found in really_look_up(address, port, type=socket.SOCK_STREAM)
            ]

        with monkeypatch.context() as patch:
            patch.setattr("vault.features.webhooks.destination.socket.getaddrinfo", look_up)
            Endpoint(f"http://hooks.example:{port}/", SECRET, LOCAL).send("evt_1", b"{}")
        assert (asked, running.requests) == (["hooks.example"], 1)

    with peer(b"nonsense\r\n\r\n", reply(200, "")) as broken, monkeypatch.context() as patch:
        port = int(broken.url.rpartition(":")[2])
        patch.setattr("vault.features.webhooks.destination.unmapped", lambda _: f"127.0.0.{next(numbers)}")
        numbers = iter((1, 2, 3))
        patch.setattr("vault.features.webhooks.destination.socket.getaddrinfo", look_up)
        with pytest.raises(UndeliveredError):
            Endpoint(f"http://hooks.example:{port}/", SECRET, LOCAL).send("evt_1", b"{}")
    # It may have accepted the event.
    assert len(broken.requests) == 1


def test_the_certificate_must_be_that_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to a checked address still needs a certificate for the name in the URL."""
    pair = make(tmp_path, "for 127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
    with receiver(tls=tls) as running:
        Endpoint(running.url, SECRET, LOCAL).send("evt_1", b"{}")
        monkeypatch.setattr("vault.features.webhooks.endpoint.addresses", lambda *_: ["127.0.0.1"])
        named = Endpoint(running.url.replace("127.0.0.1", "hooks.example"), SECRET, LOCAL)
        with pytest.raises(UndeliveredError, match="has a certificate that is not trusted"):
            named.send("evt_1", b"{}")
        assert running.requests == 1
