"""Load: `load.py HOST PORT CALLERS [TOKEN_FILE]`, until SIGTERM; then its record as JSON.

Callers create, update and fetch secrets; with a token, they also write and read them as clients of Vault do.

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
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

_SECONDS = 20
_RECENT = 50
_STEP_SECONDS = 0.1


class Load:
    """Callers that store secrets and fetch them back, and the outcomes."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = (host, port)
        self._headers = {"Content-Type": "application/json"}
        self._has_token = bool(token)
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
            self._headers["X-Vault-Token"] = token
        #: Of the names of this load.
        self._prefix = f"load/{os.urandom(8).hex()}"
        self.ending = False
        #: Acknowledged values by ID, those that can be stored by path, and the request IDs of all successes.
        self.secrets: dict[str, str] = {}
        self.kv: dict[str, list[str]] = {}
        self.requests: list[str] = []
        #: Failures: time, duration and reason.
        self.failures: list[tuple[float, float, str]] = []
        #: Seconds for which this machine had no time for this process.
        self.stalled = 0.0

    def run(self, number: int) -> None:
        """Call until stopped."""
        mine: list[str] = []
        written = 0
        while not self.ending:
            chance = random.random()  # noqa: S311 - not secret
            if self._has_token and chance < 0.3:
                written = self._kv(f"{self._prefix}/{number}", written)
            elif not mine or chance < 0.6:
                secret = b64encode(os.urandom(24)).decode()
                reply = self._call("/vault/secret/create/", {"secret": secret})
                if reply:
                    self.secrets[reply["secret_id"]] = secret
                    mine = [*mine[-_RECENT:], reply["secret_id"]]
            elif chance < 0.7:
                self._update(mine)
            else:
                secret_id = random.choice(mine)  # noqa: S311 - as above
                reply = self._call("/vault/secret/fetch", {"secret_id": secret_id})
                if reply and reply["secret"] != self.secrets[secret_id]:
                    self.failures.append((time.time(), 0, "another value"))

    def _update(self, mine: list[str]) -> None:
        """Update one of *mine*. If that fails, either value is right: it is left alone from then on."""
        secret_id = mine.pop(random.randrange(len(mine)))  # noqa: S311 - not secret
        secret = b64encode(os.urandom(24)).decode()
        del self.secrets[secret_id]
        if self._call("/vault/secret/update", {"secret_id": secret_id, "secret": secret}):
            self.secrets[secret_id] = secret
            mine.append(secret_id)

    def _kv(self, path: str, written: int) -> int:
        """Read the value at *path*, or write its next version; return the number of its versions."""
        if written and random.random() < 0.5:  # noqa: S311 - not secret
            reply = self._call(f"/v1/secret/data/{path}")
            if reply and reply["data"]["data"]["value"] not in self.kv[path]:
                self.failures.append((time.time(), 0, "another value by Vault's API"))
            return written
        value = b64encode(os.urandom(24)).decode()
        reply = self._call(f"/v1/secret/data/{path}", {"data": {"value": value}, "options": {"cas": written}})
        if reply:
            self.kv[path] = [value]
            return written + 1
        if reply is None and written:
            self.kv[path].append(value)
        return written

    def measure_stalls(self) -> None:
        """Measure until stopped."""
        while not self.ending:
            before = time.monotonic()
            time.sleep(_STEP_SECONDS)
            self.stalled += time.monotonic() - before - _STEP_SECONDS

    def _call(self, path: str, body: object = None) -> dict[str, Any] | None:
        """Return the reply: empty if the call was invalid, None if its effect is unknown."""
        request_id = os.urandom(8).hex()
        started = time.time()
        try:
            _, _, addresses = socket.gethostbyname_ex(self._address[0])
            address = random.choice(addresses)  # noqa: S311 - as above
            connection = HTTPConnection(address, self._address[1], timeout=_SECONDS)
            headers = {**self._headers, "X-Request-ID": request_id, "Connection": "close"}
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                connection.request("POST", path, json.dumps(body), headers)
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
        self.failures.append((started, time.time() - started, f"{reply.status} {path}"))
        time.sleep(0.05)
        return {} if reply.status == HTTPStatus.BAD_REQUEST else None


def main() -> None:
    """Run, and print the record."""
    host, port, callers, *token_file = sys.argv[1:]
    load = Load(host, int(port), Path(token_file[0]).read_text().strip() if token_file else "")
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(int(callers))]
    threads.append(threading.Thread(target=load.measure_stalls))
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    load.ending = True
    for thread in threads:
        thread.join()
    names = ("secrets", "kv", "requests", "failures", "stalled")
    print(json.dumps({name: vars(load)[name] for name in names}), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
