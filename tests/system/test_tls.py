"""TLS in the server itself, tested with real handshakes."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.conftest import running_app
from tests.support.databases import new_database
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process

FETCH = "/vault/secret/fetch"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files and as objects."""

    certificate: Path
    key: Path
    made: Any
    private: Any


def make(folder: Path, name: str, authority: Pair | None = None, private: Any = None) -> Pair:
    """Create a certificate for 127.0.0.1, signed by *authority* or self-signed."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.made.subject if authority else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                (authority.private if authority else private).public_key()
            ),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                **{
                    **dict.fromkeys(("content_commitment", "data_encipherment"), False),
                    "key_encipherment": isinstance(private, rsa.RSAPrivateKey),
                    **dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False),
                    "digital_signature": True,
                    "crl_sign": False,
                    "key_cert_sign": authority is None,
                }
            ),
            critical=True,
        )
        .sign(authority.private if authority else private, SHA256())
    )
    certificate = folder / f"{name}.crt"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    return Pair(certificate, write_key(folder / f"{name}.key", private, NoEncryption()), made, private)


def write_key(file: Path, private: Any, encryption: KeySerializationEncryption) -> Path:
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the certificates."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Pair:
    """Return a certificate authority."""
    return make(folder, "authority")


@pytest.fixture(scope="module")
def server(folder: Path, authority: Pair) -> Pair:
    """Return the server's certificate."""
    return make(folder, "server", authority, private=rsa.generate_private_key(65_537, 2_048))


@pytest.fixture(scope="module")
def settings(mongod: Mongod, master_key: str, server: Pair) -> Iterator[dict[str, str]]:
    """Return the settings of a service with TLS."""
    with new_database(mongod) as uri:
        files = {"TLS_CERT": str(server.certificate), "TLS_KEY": str(server.key)}
        yield {"MASTER_KEY": master_key, "MONGO_URI": uri, "WEB_CONCURRENCY": "1", **files}


@pytest.fixture(scope="module")
def service(settings: dict[str, str], folder: Path) -> Iterator[Service]:
    """Run a service with TLS."""
    yield from run(settings, folder)


def run(settings: dict[str, str], folder: Path) -> Iterator[Service]:
    service = Service(settings, measured=True, folder=folder)
    service.start()
    try:
        wait_until(lambda: answers(service.port))
        service.wait_until_started()
        yield service
    finally:
        service.stop()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(service: Service, authority: Pair, client: Pair | None = None) -> requests.Response:
    return requests.post(
        f"https://127.0.0.1:{service.port}{FETCH}",
        json={},
        verify=str(authority.certificate),
        cert=(str(client.certificate), str(client.key)) if client else None,
        timeout=60,
    )


def test_the_server_supports_tls(service: Service, authority: Pair) -> None:
    """A client that trusts the authority is answered over TLS; an untrusting one and plain HTTP are not."""
    assert ask(service, authority).status_code == 422
    with pytest.raises(requests.exceptions.SSLError):
        requests.post(f"https://127.0.0.1:{service.port}{FETCH}", json={}, timeout=60)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(service.url + FETCH, json={}, timeout=60)


@pytest.mark.promise("network")
def test_browsers_are_made_to_use_tls(service: Service, authority: Pair, settings: dict[str, str]) -> None:
    """Over TLS, each reply has an HSTS header; without TLS here, none has."""
    assert ask(service, authority).headers["Strict-Transport-Security"] == "max-age=31536000"
    plain = {name: value for name, value in settings.items() if not name.startswith("TLS_")}
    with running_app(plain) as app:
        assert "Strict-Transport-Security" not in app.test_client().get("/docs").headers


@pytest.mark.promise("network")
def test_old_versions_of_tls_are_refused(service: Service) -> None:
    """Versions below TLS 1.2 are refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", service.port)) as connection, pytest.raises(ssl.SSLError):
        context.wrap_socket(connection)


@pytest.mark.promise("network")
def test_client_certificates_are_required_if_an_authority_is_set(
    settings: dict[str, str], tmp_path: Path, authority: Pair
) -> None:
    """With `TLS_CLIENT_CA`, only clients with a certificate of that authority are answered."""
    other = make(tmp_path, "other")
    known, unknown = make(tmp_path, "known", authority), make(tmp_path, "unknown", other)
    for service in run({**settings, "TLS_CLIENT_CA": str(authority.certificate)}, tmp_path):
        assert ask(service, authority, known).status_code == 422
        for client in (None, unknown):
            with pytest.raises(requests.exceptions.ConnectionError):
                ask(service, authority, client)
        assert all(json.loads(line) for line in service.log.read_text().splitlines())


def offer(service: Service, ciphers: str) -> str | None:
    """Return the TLS 1.2 cipher that the service selects from those offered, or None."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        try:
            with context.wrap_socket(connection) as secure:
                return str((secure.cipher() or [""])[0])
        except ssl.SSLError:
            return None


@pytest.mark.promise("network")
def test_only_ciphers_with_forward_secrecy_are_accepted(service: Service) -> None:
    """A client that offers only RSA key exchange, finite-field Diffie-Hellman or CBC is refused."""
    for refused in ("kRSA@SECLEVEL=0", "kDHE@SECLEVEL=0", "ECDHE+AES:!AESGCM:!AESCCM@SECLEVEL=0"):
        assert offer(service, refused) is None, refused
    for taken in ("ECDHE+AESGCM", "ECDHE+CHACHA20"):
        assert str(offer(service, taken)).startswith("ECDHE-RSA-"), taken


@pytest.mark.promise("network")
@pytest.mark.nightly
def test_unfinished_handshakes_are_limited_and_block_no_one(settings: dict[str, str], tmp_path: Path) -> None:
    """Handshakes that do not begin or end count against their address, end after a time, and block no one."""
    few = {"MAX_CONNECTIONS_PER_ADDRESS": "3"}

    def connect(source: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", service.port), timeout=60, source_address=(source, 0))

    for service in run({**settings, **few}, tmp_path):
        with ExitStack() as held:
            silent = held.enter_context(connect("127.0.1.2"))
            halting = [held.enter_context(connect("127.0.1.1")) for _ in range(3)]
            for connection in halting:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")
            with connect("127.0.1.1") as refused:
                assert refused.recv(1) == b""
            # Those before it are still in their handshakes.
            halting[2].setblocking(False)
            with pytest.raises(BlockingIOError):
                halting[2].recv(1)
            assert offer(service, "ECDHE+AESGCM")
            said = b"x"
            # A byte each second never exceeds a timeout for a single byte.
            for _ in range(30):
                time.sleep(1)
                try:
                    halting[0].sendall(b"\x00")
                except OSError:
                    said = b""
                    break
            assert said == b""
            assert silent.recv(1) == halting[1].recv(1) == b""
