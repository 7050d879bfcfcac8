"""Runs of the shell scripts, and servers with known replies for them."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(
    script: str,
    *arguments: str,
    url: str = "",
    stdin: bytes = b"",
    before: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run *script*; *before* runs in its process, before it starts."""
    return subprocess.run(
        [SCRIPTS / script, *arguments],
        env={"PATH": os.environ["PATH"], "VAULT_URL": url, **environment},
        input=stdin,
        capture_output=True,
        check=False,
        preexec_fn=before,
    )


@contextmanager
def answering(
    answer: Callable[[bytes], tuple[int, bytes]], headers: list[Message] | None = None
) -> Iterator[str]:
    """Yield the URL of a server that makes the status and body of its replies from the request's body.

    It appends the headers of each request to *headers*.
    """
    requests = [] if headers is None else headers

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(self.headers)
            status, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def path_with_curl(folder: Path, first: str) -> str:
    """Return a PATH on which curl runs the shell command *first* before its request."""
    real = next(found for part in os.environ["PATH"].split(":") if (found := Path(part, "curl")).exists())
    wrapper = folder / "curl"
    wrapper.write_text(f'#!/bin/sh\n{first}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def recording_path(folder: Path, recording: Path) -> str:
    """Return a PATH on which curl writes each process's command line to *recording*, one per line."""
    lines = "for line in /proc/[0-9]*/cmdline; do cat $line; echo; done"
    return path_with_curl(folder, f"{lines} >{recording} 2>&1")
