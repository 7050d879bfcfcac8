"""Measure the cost of tracing per fetch: `python loadtest/tracing.py [SECONDS [PART]]`. Requires `wrk`.

Compares a service without tracing and one that traces a PART of the requests (default: 1, all), as
`loadtest/access.py` does for tokens. A local collector discards the spans.
"""

import subprocess
import sys

from ab_compare import Measured, compare, place

from vault.cli.dev.mongod import free_port

_SINK = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
"""


def main() -> None:
    """Print the rate and the CPU time per fetch, with and without tracing, and the ratios."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    part = sys.argv[2] if len(sys.argv) > 2 else "1"
    port = free_port()
    tracing = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": part,
    }
    sink = subprocess.Popen([sys.executable, "-c", _SINK, str(port)])
    try:
        with place() as (folder, environment):
            services = [
                Measured("without", environment, folder),
                Measured("with", {**environment, **tracing}, folder),
            ]
            compare(services, seconds=seconds, what=f"with tracing of {part}")
    finally:
        sink.terminate()
        sink.wait(60)


if __name__ == "__main__":
    main()
