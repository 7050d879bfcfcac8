"""Measure the cost of metrics per fetch: `python loadtest/metrics.py [SECONDS]`. Requires `wrk`.

Compares a service with metrics and one without, as `loadtest/access.py` does for tokens. Scrapes the metrics
throughout, more often than Prometheus would.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import requests
from ab_compare import Measured, compare, place

from vault.cli.dev.mongod import free_port

#: Seconds between two scrapes.
_INTERVAL = 5


@contextmanager
def scraped(bind: str) -> Iterator[None]:
    """Scrape the metrics while the block runs."""
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
    """Print the rate and the CPU time per fetch, with and without metrics, and the ratios."""
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
