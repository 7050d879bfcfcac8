"""The dashboard and the alerts, with a real Prometheus that scrapes real replicas under load.

With the environment `DASHBOARD=docs/dashboard.png DASHBOARD_SECONDS=180` the tests draw the result, which
needs the packages of `scripts/install.sh bench`.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from monitoring.panels import Times, ask, panels, queries
from tests.monitoring.load import SETTINGS, MixedLoad, spoil
from tests.support.commands import command_environment
from tests.support.databases import new_database
from tests.support.prometheus import Prometheus
from tests.support.rotation import fill, new_key, settings
from tests.support.service import Service
from vault.cli.dev.mongod import Mongod, free_port

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("DASHBOARD_SECONDS", "10"))


@dataclass(frozen=True)
class Observed:
    """A Prometheus, and the time of its observed load."""

    prometheus: Prometheus
    times: Times


@pytest.fixture(scope="module")
def observed(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Run two replicas of 4 workers in the middle of a rotation under load, with Prometheus."""
    folder = tmp_path_factory.mktemp("observed")
    old, new = new_key(), new_key()
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    rules = [ROOT / "monitoring/alerts.yml"]
    with (
        new_database(mongod) as uri,
        MongoClient[Any](uri) as client,
        Prometheus(addresses, folder=folder, rules=rules) as prometheus,
    ):
        stored = client.get_default_database()
        fill(stored, old, 300)
        environment = {**settings(uri, new, old), **SETTINGS}
        first, second = (
            Service({**environment, "METRICS_BIND": address}, folder=folder) for address in addresses
        )
        with first, second:
            for replica in (first, second):
                replica.wait_until_started()
            spoilt = spoil(stored, first)
            load = MixedLoad([first, second])
            start = time.time()
            for part in range(4):
                load.run(SECONDS / 4)
                assert first.fetch(spoilt).status == 500
                if part == 1:
                    rewrap(environment, folder)
            # The last requests are scraped too.
            time.sleep(3)
            yield Observed(prometheus, Times(start, time.time(), step=max(1, SECONDS // 120), scrape=1))


def rewrap(environment: dict[str, str], folder: Path) -> None:
    """Put all secrets under the primary key, like an operator; one of them fails."""
    command = [sys.executable, "-m", "vault.cli", "keys", "rewrap"]
    whole = command_environment(environment)
    subprocess.run(command, cwd=folder, env=whole, check=False, capture_output=True, timeout=600)


def test_every_query_of_the_dashboard_returns_data(observed: Observed) -> None:
    """No panel is empty: each query has points within the load."""
    asked = {
        f"{panel['title']}: {query}": ask(observed.prometheus.url, query, observed.times)
        for panel in panels()
        for query, _ in queries(panel, observed.times)
    }
    assert len(asked) > 20
    empty = [query for query, series in asked.items() if not any(points for _, points in series)]
    assert empty == []
    if picture := os.environ.get("DASHBOARD"):
        times = (str(number) for number in (observed.times.start, observed.times.end))
        command = [sys.executable, "-m", "monitoring.draw", observed.prometheus.url, *times, picture]
        subprocess.run(command, cwd=ROOT, check=True)


def test_the_rules_work_and_the_incident_is_reported(observed: Observed) -> None:
    """Prometheus evaluates every rule, and the one problem, an altered value, is the only alert."""
    url = f"{observed.prometheus.url}/api/v1/rules"
    [group] = requests.get(url, timeout=60).json()["data"]["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    known = observed.prometheus.label_values()["__name__"]
    assert set(re.findall(r"secret_manager_\w+", " ".join(rule["query"] for rule in group["rules"]))) <= known
    firing = [rule for rule in group["rules"] if rule["state"] == "firing"]
    assert [rule["name"] for rule in firing] == ["DoesNotVerify"]
    [alert] = firing[0]["alerts"]
    assert alert["labels"]["severity"] == "critical"
    assert "restore those secrets from a backup" in alert["annotations"]["description"]
