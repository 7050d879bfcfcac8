"""A real Prometheus that scrapes the tests' services."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.support.system import needs
from vault.clients.dev.mongod import free_port

_CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: secret-manager
    static_configs: [{{targets: {targets}}}]
"""


class Prometheus:
    """Debian's Prometheus, scraping *targets* each second into *folder*."""

    def __init__(self, targets: Sequence[str], *, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._targets = list(targets)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(_CONFIGURATION.format(targets=self._targets))
        command = [
            needs("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(120)

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the current result of *query*: labels as `metric`; `value`, a time and a number as text."""
        try:
            reply = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=60)
        except requests.ConnectionError:
            return []  # It has just been started.
        result: list[dict[str, Any]] = reply.json()["data"]["result"] if reply.ok else []
        return result

    def label_values(self) -> dict[str, set[str]]:
        """Return every label of the service's own metrics, with all its values so far."""
        selector = {"match[]": '{__name__=~"secret_manager_.+"}'}
        series = requests.get(f"{self.url}/api/v1/series", params=selector, timeout=60).json()["data"]
        found: dict[str, set[str]] = {}
        for labels in series:
            for name, value in labels.items():
                found.setdefault(name, set()).add(value)
        return found

    def wait_until(self, query: str, expected: dict[tuple[str, ...], float], *, by: Sequence[str]) -> None:
        """Return once *query* returns *expected*, by the values of the labels *by*; fail after a minute."""
        deadline = time.monotonic() + 60
        found: dict[tuple[str, ...], float] = {}
        while found != expected:
            assert time.monotonic() < deadline, f"{query} returns {found}, not {expected}"
            time.sleep(0.2)
            found = {
                tuple(line["metric"].get(name, "") for name in by): float(line["value"][1])
                for line in self.query(query)
            }
