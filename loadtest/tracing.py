"""Measure what tracing costs a fetch: `python loadtest/tracing.py [SECONDS]`. Needs `wrk`.

Runs three services of two workers each on one MongoDB of its own: without tracing, with a hundredth of the
requests traced, and with all of them. Loads one after the other, turn by turn, while something takes the
spans and throws them away. The ratios are medians over the turns' own ratios.
"""

import os
import subprocess
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from statistics import median

from access import Measured

from vault.cli.mongod import Mongod, free_port

_ROUNDS = 5
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
    """Print the rate and the CPU time of a fetch, without tracing and with it, and how they compare."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    port = free_port()
    sink = subprocess.Popen([sys.executable, "-c", _SINK, str(port)])
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "db") as mongod:
        folder = Path(name)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "MONGO_URI": mongod.uri,
            "MASTER_KEY": b64encode(os.urandom(32)).decode(),
        }
        traced = {**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        some = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        services = [
            Measured("off", environment, folder, ""),
            Measured("1 %", {**traced, **some}, folder, ""),
            Measured("all", traced, folder, ""),
        ]
        try:
            for number in range(_ROUNDS + 1):
                for service in services if number % 2 else reversed(services):
                    service.take_turn(seconds if number else 2)
        finally:
            for service in services:
                service.stop()
            sink.terminate()
            sink.wait(60)
    off = services[0].turns[1:]  # The first turn was to warm up.
    for service in services:
        turns = service.turns[1:]
        rate = median(turn.rate / other.rate for turn, other in zip(turns, off, strict=True))
        cpu = median(turn.microseconds / other.microseconds for turn, other in zip(turns, off, strict=True))
        print(f"{service.name:4}", *(f"{turn.rate:.0f}/s {turn.microseconds:.0f} µs" for turn in turns))
        print(f"     {rate:.1%} of the rate, {cpu:.1%} of the CPU time")


if __name__ == "__main__":
    main()
