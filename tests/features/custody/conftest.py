"""Real providers: SoftHSM 2, a TPM emulator, OpenBao's transit engine; and a server of any behaviour."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.openbao import OpenBao
from tests.support.system import missing, needs
from tests.support.waiting import wait_until

PIN = "1234"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
#: The port of the default TCTI for emulators.
_TPM_PORT = 2321

_MAKE_KEYS = f"""
import pkcs11
from pkcs11 import Attribute, KeyType
token = pkcs11.lib({str(MODULE)!r}).get_token(token_label="sm")
with token.open(rw=True, user_pin={PIN!r}) as session:
    kept = {{Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True}}
    session.generate_key(KeyType.AES, 256, label="kek-1", id=b"1", store=True, template=kept)
    session.generate_keypair(KeyType.RSA, 2048, label="rsa", store=True)
    for _ in range(2):
        session.generate_key(KeyType.AES, 256, label="twins", store=True, template=kept)
"""


def make_token(folder: Path) -> dict[str, str]:
    """Make a token in *folder*/tokens whose keys cannot be extracted, and return its settings."""
    if not MODULE.exists():
        raise missing("needs SoftHSM (Debian package: softhsm2)")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    environment = os.environ | {"SOFTHSM2_CONF": str(configuration)}
    options = ("--init-token", "--free", "--label", "sm", "--so-pin", "12345678", "--pin", PIN)
    subprocess.run(["softhsm2-util", *options], env=environment, check=True, stdout=subprocess.DEVNULL)
    # In a process of its own: the module leaves errors behind in OpenSSL.
    subprocess.run([sys.executable, "-c", _MAKE_KEYS], env=environment, check=True)
    return {"SOFTHSM2_CONF": str(configuration), "PKCS11_MODULE": str(MODULE), "PKCS11_PIN": PIN}


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the settings of a token."""
    return make_token(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def hsm(softhsm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of `softhsm`, whose configuration is in the environment."""
    monkeypatch.setenv("SOFTHSM2_CONF", softhsm["SOFTHSM2_CONF"])
    return {name: value for name, value in softhsm.items() if name.startswith("PKCS11")}


class Emulator:
    """A TPM emulator where the default TCTI finds it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch on the TPM, with the keys that it had before, and with fresh PCRs."""
        ports = (f"type=tcp,port={_TPM_PORT}", f"type=tcp,port={_TPM_PORT + 1}")
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder}", "--server", ports[0]]
        command += ["--ctrl", ports[1], "--flags", "not-need-init,startup-clear"]
        self._process = subprocess.Popen(command)
        # Not a connection: the emulator ends after its first client. Earlier ones may still be in the table.
        listening = [b":%04X 00000000:0000 0A " % port for port in (_TPM_PORT, _TPM_PORT + 1)]
        wait_until(lambda: all(row in Path("/proc/net/tcp").read_bytes() for row in listening))

    def stop(self) -> None:
        """Switch off the TPM."""
        assert self._process
        self._process.kill()
        self._process.wait()


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Emulator]:
    """Run a TPM emulator; one at a time on this machine."""
    needs("swtpm")
    try:
        import_module("vault.features.custody.tpm")
    except ImportError:
        raise missing("needs tpm2-pytss (requirements/tpm2.txt, with libtss2-dev and gcc)") from None
    (tmp_path / "tpm").mkdir()
    emulator = Emulator(tmp_path / "tpm")
    with (Path(tempfile.gettempdir()) / "secret-manager-tests-tpm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        emulator.start()
        try:
            yield emulator
        finally:
            emulator.stop()


@dataclass(frozen=True)
class TransitEngine:
    """A transit engine with a derived key `sm`."""

    bao: OpenBao
    kek: str
    #: A token that may only decrypt.
    reader: str

    def settings(self, token: str) -> dict[str, str]:
        """Return the settings of a provider with the token of this name, or with another token."""
        return {"TRANSIT_TOKEN": self.bao.tokens.get(token, token)}


def make_engine(openbao: OpenBao) -> TransitEngine:
    """Make the transit engine of *openbao*."""
    for path, body in {
        "sys/mounts/transit": {"type": "transit"},
        "transit/keys/sm": {"type": "aes256-gcm96", "derived": True},
        "sys/policies/acl/replica": {
            "policy": 'path "transit/decrypt/sm" { capabilities = ["update"] }',
        },
    }.items():
        assert openbao.ask("PUT", path, body).status < 300
    body = {"policies": ["replica"], "no_parent": True, "no_default_policy": True}
    reader = openbao.ask("POST", "auth/token/create", body).body["auth"]["client_token"]
    return TransitEngine(openbao, f"{openbao.url}/v1/transit/keys/sm", reader)


@pytest.fixture(scope="session")
def transit(openbao: OpenBao) -> TransitEngine:
    """Return the transit engine of a real OpenBao."""
    return make_engine(openbao)


@dataclass
class Request:
    """A request that `Stub` got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stub:
    """An HTTP server; *answer* returns the status, the headers and the body, or its parts, of each reply."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], tuple[int, dict[str, str], Any]] = lambda _: (200, {}, {})


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Run a server of any behaviour on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
            running.requests.append(request)
            status, headers, body = running.answer(request)
            content = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
            parts = iter([content]) if isinstance(content, bytes) else content
            size = {"Content-Length": str(len(content))} if isinstance(content, bytes) else {}
            self.send_response(status)
            for name, value in (size | headers).items():
                self.send_header(name, value)
            self.end_headers()
            # The client can end a reply that takes too long.
            with suppress(ConnectionError):
                for part in parts:
                    self.wfile.write(part)

        do_GET = do_POST = do_PUT = _reply  # noqa: N815 - the names of the library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Stub(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        server.shutdown()
        thread.join(30)


@pytest.fixture
def closed_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
