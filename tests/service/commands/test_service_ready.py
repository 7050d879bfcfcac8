"""`secret-manager ready`, the check for supervisors."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from tests.support.commands import Done, invoke
from tests.support.rotation import new_key, settings
from tests.support.service import Service
from tests.system.test_tls import make
from vault.clients.dev.mongod import free_port

UNREADY = b'{"errors": [{"field": "mongodb"}]}'


def ready(folder: Path, bind: str, *options: object, **environment: str) -> Done:
    variables = settings("mongodb://127.0.0.1:1", new_key()) | {"BIND": bind} | environment
    return invoke("ready", *options, environment=variables, folder=folder)


@contextmanager
def replying(live: int, ready: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address of a service with these replies to the two checks of its health."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/health/live": live, "/health/ready": ready}[self.path])
            self.end_headers()
            self.wfile.write(UNREADY)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_ready_service_is_reported(shared_service: Service, tmp_path: Path) -> None:
    """The command finds the service by the service's own settings, and prints its answer."""
    shared_service.wait_until("/health/ready")
    done = ready(tmp_path, f"0.0.0.0:{shared_service.port}")
    assert (done.returncode, json.loads(done.stdout)["status"], done.stderr) == (0, "ok", "")


def test_after_its_start_a_service_needs_only_to_reply(tmp_path: Path) -> None:
    """With a start marker, the service must be ready once; later only a missing reply is a failure."""
    marker = tmp_path / "started"
    options = ("--start-marker", marker)
    with replying(200, 503) as starting:
        done = ready(tmp_path, starting, *options)
        assert (done.returncode, done.stdout, marker.exists()) == (1, f"{UNREADY.decode()}\n", False)
    with replying(200, 200) as started:
        assert (ready(tmp_path, started, *options).returncode, marker.exists()) == (0, True)
    with replying(200, 503) as without_mongodb:
        assert ready(tmp_path, without_mongodb, *options).returncode == 0
        assert ready(tmp_path, without_mongodb).returncode == 1


def test_a_missing_service_is_one_line(tmp_path: Path) -> None:
    """If nothing listens, the command names the address it tried."""
    address = f"127.0.0.1:{free_port()}"
    marker = tmp_path / "started"
    marker.touch()
    done = ready(tmp_path, address, "--start-marker", marker)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error: no reply from {address}: ")
    assert done.stderr.endswith("Hint: start the service, and set BIND as it has it\n")


def test_it_uses_tls_if_the_service_does(tmp_path: Path) -> None:
    """With TLS the command uses it too, and shows the service's certificate if clients need one."""
    authority = make(tmp_path, "authority")
    pair = make(tmp_path, "server", authority)
    tls = {"TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    for more in ({}, {"TLS_CLIENT_CA": str(authority.certificate)}):
        context.verify_mode = ssl.CERT_REQUIRED if more else ssl.CERT_NONE
        with replying(200, 200, context) as address:
            assert ready(tmp_path, address, **tls, **more).returncode == 0
