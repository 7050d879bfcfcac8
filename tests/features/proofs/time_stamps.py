"""An RFC 3161 authority: `openssl ts` behind a small HTTP server."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

_CONFIGURATION = """
[tsa]
default_tsa = authority
[authority]
serial = {0}/serial
signer_cert = {0}/tsa.pem
signer_key = {0}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def _openssl(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *arguments], cwd=folder, input=stdin, capture_output=True, check=True
    ).stdout


class Authority:
    """An authority with its own CA, in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: The path of its CA.
        self.ca = str(folder / "ca.pem")
        self.url = ""
        #: Makes another reply of the real one: its status, its content, and its headers.
        self.tamper: Callable[[bytes], tuple[int, bytes, dict[str, str]]] = lambda reply: (200, reply, {})
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        ca = ("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
        _openssl(folder, *ca, "-subj", "/CN=ca")
        _openssl(folder, "req", *new, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
        (folder / "extensions").write_text("extendedKeyUsage=critical,timeStamping\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "extensions", "-days", "2")
        _openssl(folder, "x509", "-req", "-in", "tsa.csr", *signed, "-out", "tsa.pem")
        (folder / "serial").write_text("01")
        (folder / "configuration").write_text(_CONFIGURATION.format(folder))

    def reply(self, query: bytes) -> bytes:
        """Return the time stamp for *query*."""
        (self._folder / "query").write_bytes(query)
        configuration = ("-config", "configuration", "-queryfile", "query", "-out", "reply")
        _openssl(self._folder, "ts", "-reply", *configuration)
        return (self._folder / "reply").read_bytes()


@contextmanager
def authority(folder: Path) -> Iterator[Authority]:
    """Run an authority in the new *folder*."""
    folder.mkdir()
    found = Authority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            status, content, headers = found.tamper(found.reply(query))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        found.url = f"tsa+http://127.0.0.1:{server.server_port}"
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
