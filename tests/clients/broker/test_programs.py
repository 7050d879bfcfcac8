"""Programs as they are: each gets an answer of an API, and never the value."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from tests.clients.broker import service as services
from tests.clients.broker.service import BROKER_TOKEN, SESSION, VALUE, Rule, StubService
from tests.clients.broker.world import new_world
from tests.support.access import tokens
from tests.support.commands import run_command
from tests.support.lifecycle import b64
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.broker.authority import CertificateAuthority

pytestmark = pytest.mark.process

_URLLIB = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1] + "/v1/charges", data=b"x" * 100_000)
print(urllib.request.urlopen(request).read().decode())
"""
_REQUESTS = """
import sys, requests
with requests.Session() as session:
    for _ in range(3):
        reply = session.post(sys.argv[1] + "/v1/charges", data=b"x" * 100_000)
print(reply.text)
"""
_EVENTS = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "/events") as reply:
    print([line.decode() for line in reply if line.strip()])
"""
_NODE = """
const reply = await fetch(process.argv[1] + "/v1/charges", {method: "POST", body: "x".repeat(100000)});
console.log(await reply.text());
"""


class _Api(BaseHTTPRequestHandler):
    """An API that sends back what it gets, streams, and has a repository."""

    protocol_version = "HTTP/1.1"
    root: Path
    refused: list[str]

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {VALUE}":
            self.refused.append(self.path)
            self._send(401, b"who are you?")
        elif self.path == "/events":
            self._stream()
        elif (file := self.root / self.path.partition("?")[0].lstrip("/")).is_file():
            self._send(200, file.read_bytes())
        elif self.path == "/v1/charges":
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            echo = {"fields": dict(self.headers), "length": len(body)}
            self._send(200, json.dumps(echo).encode())
        else:
            self._send(404, b"no such page")

    do_POST = do_GET  # noqa: N815 - the name that the base class calls

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            event = f"data: {number} {self.headers['Authorization']}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _api(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Serve the API on loopback as `localhost`; `authority.pem` in *folder* is trusted for it."""
    authority = CertificateAuthority()
    (folder / "authority.pem").write_bytes(authority.pem)
    refused: list[str] = []
    handler = type("Handler", (_Api,), {"root": folder / "site", "refused": refused})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = authority.context("localhost").wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        try:
            yield server.server_port, refused
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with both tokens, and a repository of git."""
    (tmp_path / "token").write_text(BROKER_TOKEN)
    (tmp_path / "session").write_text(SESSION)
    (tmp_path / "site").mkdir()
    return tmp_path


def _run_with(folder: Path, url: str, port: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run *command* with a broker of the service at *url*; `URL` in it is the API's at this *port*."""
    return run_command(
        *("broker", "run", "--token-file", "token", "--session-token-file", "session"),
        *("--upstream-ca", "authority.pem", "--allow-network", "127.0.0.0/8", "--"),
        *(word.replace("URL", f"https://localhost:{port}") for word in command),
        environment={"HOME": str(folder), "SECRET_MANAGER_URL": url},
        folder=folder,
    )


def _run(folder: Path, *command: str) -> tuple[str, StubService]:
    """Run *command* with a broker; `URL` in it is the API's. Return its output, and the service."""
    with _api(folder) as (port, refused), services.running(StubService()) as service:
        service.rules = [Rule("api", (f"localhost:{port}",))]
        done = _run_with(folder, service.url, port, *command)
        assert done.returncode == 0, done
        assert refused == []
    for text in (done.stdout, done.stderr):
        assert VALUE not in text
    return done.stdout, service


def _assert_charged(output: str, service: StubService, count: int = 1) -> None:
    echo = json.loads(output.splitlines()[-1])
    fields = {name.lower(): value for name, value in echo["fields"].items()}
    assert fields["authorization"] == "Bearer [secret]"
    assert not {"proxy-authorization", "proxy-connection"} & fields.keys()
    assert [(method, path) for _, method, path in service.uses] == [("POST", "/v1/charges")] * count
    assert echo["length"] == 100_000


def test_curl(folder: Path) -> None:
    """Curl posts, and sees the API's answer."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    (folder / "body").write_bytes(bytes(100_000))
    _assert_charged(*_run(folder, "curl", "-sS", "--fail", "--data-binary", "@body", "URL/v1/charges"))


def test_a_proxy_with_tls() -> None:
    """The proxy itself can be reached with TLS, in which the tunnel has its own."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    own = CertificateAuthority()
    with new_world(tls=own.context("localhost")) as world, TemporaryDirectory() as folder:
        for name, authority in (("own", own), ("broker", world.parts.authority)):
            (Path(folder) / name).write_bytes(authority.pem)
        done = subprocess.run(
            [
                *("curl", "-sS", "--fail", "--proxy", f"https://x:{SESSION}@localhost:{world.address[1]}"),
                *("--proxy-cacert", "own", "--cacert", "broker"),
                *(f"https://{world.authority}/v1/charges", f"https://{world.authority}/v1/refunds"),
            ],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"okok"), done
        assert len(world.host.arrived) == 2


def test_urllib(folder: Path) -> None:
    """Python's urllib posts, and sees the API's answer."""
    _assert_charged(*_run(folder, sys.executable, "-c", _URLLIB, "URL"))


def test_requests(folder: Path) -> None:
    """Requests posts three times over one connection, and sees the API's answers."""
    _assert_charged(*_run(folder, sys.executable, "-c", _REQUESTS, "URL"), count=3)


def test_events(folder: Path) -> None:
    """A client of events sees them all."""
    output, _ = _run(folder, sys.executable, "-c", _EVENTS, "URL")
    assert output.count("Bearer [secret]") == 3


def test_git(folder: Path) -> None:
    """Git clones over HTTPS."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    site = folder / "site"
    for command in (
        "init -q -b main work",
        "-C work -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first",
        f"clone -q --bare work {site}/a.git",
        f"-C {site}/a.git update-server-info",
    ):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    _, service = _run(folder, "git", "clone", "-q", "URL/a.git", "copy")
    assert (folder / "copy" / ".git" / "HEAD").exists()
    assert {method for _, method, _ in service.uses} == {"GET"}
    assert service.uses[0][2] == "/a.git/info/refs"


def _node_has_proxies() -> bool:
    node = shutil.which("node")
    if not node:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, version.strip("v\n").split("."))) >= (22, 21)


def test_node(folder: Path) -> None:
    """Node's fetch posts, and sees the API's answer."""
    if not _node_has_proxies():
        pytest.skip("needs Node.js 22.21 or newer")
    _assert_charged(*_run(folder, "node", "--input-type=module", "-e", _NODE, "URL"))


@pytest.mark.promise(3)
def test_the_service_itself(environment: dict[str, str], folder: Path) -> None:
    """With the service, a use has one entry, of the session; without a rule or a session there is none."""
    settings = {**environment, "AUTH_ENABLED": "true"}
    with Service(settings, measured=True, folder=folder) as service, _api(folder) as (port, refused):
        service.wait_until_started()

        def token(name: str, *options: str) -> str:
            return tokens(settings, folder, "create", "--name", name, *options, "--quiet")

        def run() -> int:
            url = f"http://127.0.0.1:{service.port}"
            # Its traceback would look like the broker's.
            program = f"import sys\nsys.excepthook = lambda *_: None\n{_URLLIB}"
            done = _run_with(folder, url, port, sys.executable, "-c", program, "URL")
            assert VALUE not in done.stdout + done.stderr
            return done.returncode

        admin = {"Authorization": f"Bearer {token('admin', '--role', 'admin')}"}
        (folder / "token").write_text(token("broker", "--scope", "secret:broker"))
        (folder / "session").write_text(token("agent", "--scope", "secret:use"))
        rule = {"hosts": [f"localhost:{port}"], "methods": ["POST"], "paths": ["/v1/charges"]}
        rule |= {"header": "Authorization", "format": "Bearer {}"}
        new = {"secret": b64(VALUE.encode()), "name": "billing/api"}
        assert service.post("/vault/secret/create", new, **admin).status == 200
        assert run()
        ruled = {"name": "billing/api", "use_rules": [rule]}
        assert service.post("/vault/secret/update-metadata", ruled, **admin).status == 200
        assert not run()
        tokens(settings, folder, "revoke", "agent")
        wait_until(run)
        query = {"action": "use", "status": "success"}
        entries = service.post("/vault/audit/query", query, **admin).body["entries"]
        found = {(one["principal"], one["details"]["via_broker"]) for one in entries}
        assert found == {("agent", "broker")}
    assert refused == []
