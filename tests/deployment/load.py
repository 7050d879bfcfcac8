"""Load: `load.py HOST PORT CALLERS [TOKEN_FILE]`, until SIGTERM; then its record as JSON.

Runs in the service's own image, which has only Python. Every request has its own connection, to one of the
name's current addresses, and is not repeated: the record shows what a client sees.
"""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from base64 import b64encode
from http.client import HTTPConnection, HTTPException
from pathlib import Path

_SECONDS = 20
_RECENT = 50
_STEP_SECONDS = 0.1


class Load:
    """Callers that create secrets and fetch them back, and the outcomes."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = (host, port)
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self.ending = False
        #: Acknowledged: values by ID, and the request IDs of all answers with 200.
        self.secrets: dict[str, str] = {}
        self.requests: list[str] = []
        #: Failures: time, duration and reason.
        self.failures: list[tuple[float, float, str]] = []
        #: Seconds for which this machine had no time for this process.
        self.stalled = 0.0

    def run(self) -> None:
        """Call until stopped."""
        mine: list[str] = []
        while not self.ending:
            if not mine or random.random() < 0.5:  # noqa: S311 - not secret
                secret = b64encode(os.urandom(24)).decode()
                reply = self._call("create/", {"secret": secret})
                if reply:
                    self.secrets[reply["secret_id"]] = secret
                    mine = [*mine[-_RECENT:], reply["secret_id"]]
            else:
                secret_id = random.choice(mine)  # noqa: S311 - as above
                reply = self._call("fetch", {"secret_id": secret_id})
                if reply and reply["secret"] != self.secrets[secret_id]:
                    self.failures.append((time.time(), 0, "another value"))

    def measure_stalls(self) -> None:
        """Measure until stopped."""
        while not self.ending:
            before = time.monotonic()
            time.sleep(_STEP_SECONDS)
            self.stalled += time.monotonic() - before - _STEP_SECONDS

    def _call(self, call: str, body: object) -> dict[str, str] | None:
        request_id = os.urandom(8).hex()
        started = time.time()
        try:
            _, _, addresses = socket.gethostbyname_ex(self._address[0])
            address = random.choice(addresses)  # noqa: S311 - as above
            connection = HTTPConnection(address, self._address[1], timeout=_SECONDS)
            headers = {**self._headers, "X-Request-ID": request_id, "Connection": "close"}
            connection.request("POST", f"/vault/secret/{call}", json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
            connection.close()
        except (OSError, HTTPException) as error:
            self.failures.append((started, time.time() - started, f"{type(error).__name__}: {error}"))
            time.sleep(0.05)
            return None
        if reply.status == 200:
            self.requests.append(request_id)
            return dict(json.loads(text))
        self.failures.append((started, time.time() - started, f"{reply.status}"))
        time.sleep(0.05)
        return None


def main() -> None:
    """Run, and print the record."""
    host, port, callers, *token_file = sys.argv[1:]
    load = Load(host, int(port), Path(token_file[0]).read_text().strip() if token_file else "")
    threads = [threading.Thread(target=load.run) for _ in range(int(callers))]
    threads.append(threading.Thread(target=load.measure_stalls))
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    load.ending = True
    for thread in threads:
        thread.join()
    names = ("secrets", "requests", "failures", "stalled")
    print(json.dumps({name: vars(load)[name] for name in names}), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
