"""Load on the sample shop: `shop_load.py HOST PORT CALLERS`, until SIGTERM; then its record as JSON.

Every order has its own connection, to one of the name's current addresses, and is not repeated: the record
shows what a client sees.
"""

import json
import random
import signal
import socket
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException

_TIMEOUT_SECONDS = 20


class Load:
    """Callers that order, and the outcomes."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.ending = False
        self.orders: list[int] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Order until stopped."""
        while not self.ending:
            try:
                self.orders.append(self._order())
            except (OSError, HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.01)

    def _order(self) -> int:
        _, _, addresses = socket.gethostbyname_ex(self._address[0])
        address = random.choice(addresses)  # noqa: S311 - not secret
        with closing(HTTPConnection(address, self._address[1], timeout=_TIMEOUT_SECONDS)) as connection:
            connection.request("POST", "/orders", headers={"Connection": "close"})
            with connection.getresponse() as reply:
                text = reply.read().decode()
        if reply.status != 200:
            raise HTTPException(f"{reply.status} {text}")
        return int(text)


def main() -> None:
    """Run, and print the record."""
    host, port, callers = sys.argv[1:]
    load = Load(host, int(port))
    threads = [threading.Thread(target=load.run) for _ in range(int(callers))]
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    load.ending = True
    for thread in threads:
        thread.join()
    print(json.dumps({"orders": load.orders, "failures": load.failures}), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
