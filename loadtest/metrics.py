"""Measure what the metrics cost a fetch: `python loadtest/metrics.py [SECONDS]`. Needs `wrk`.

As `loadtest/access.py` does for a token, with a service that measures and one that does not. The one that
does is asked for its metrics all along, more often than Prometheus would.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import requests
from ab_compare import Measured, compare, place

from vault.cli.mongod import free_port

#: Seconds between two scrapes.
_INTERVAL = 5


@contextmanager
def scraped(bind: str) -> Iterator[None]:
    """Ask for the metrics while the block runs."""
    ended = Event()

    def scrape() -> None:
        while not ended.wait(_INTERVAL):
            requests.get(f"http://{bind}/metrics", timeout=30).raise_for_status()

    scraper = Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        ended.set()
        scraper.join()


def main() -> None:
    """Print the rate and the CPU time of a fetch, with metrics and without, and how they compare."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    bind = f"127.0.0.1:{free_port()}"
    with (
        place() as (folder, environment),
        Measured("without", environment, folder) as without,
        Measured("with", {**environment, "METRICS_BIND": bind}, folder) as measuring,
        scraped(bind),
    ):
        compare((without, measuring), seconds=seconds, what="with metrics")


if __name__ == "__main__":
    main()
