"""A real Prometheus gets correct numbers from several workers, even if some of them end."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo.database import Database as MongoDatabase

from tests.server.test_gunicorn_conf import log_lines
from tests.support.features import tables
from tests.support.lifecycle import UNKNOWN_ID
from tests.support.prometheus import Prometheus
from tests.support.service import Reply, Service, children
from tests.support.waiting import wait_until
from tests.system.test_tls import make
from vault import __version__
from vault.clients.dev.mongod import free_port
from vault.toolkit.http.refusals import REFUSALS

pytestmark = pytest.mark.process

REQUESTS = 'secret_manager_requests_total{operation=~".+_secret|none"}'
SENT_MARK = "m4rk3d-by-the-test"


#: Answers to requests that leave no entry: unknown paths, and whatever is unavailable.
_WITHOUT_ENTRY = {("none", "404"), *((f"{name}_secret", "503") for name in ("create", "fetch", "describe"))}


class Traffic:
    """Requests of several kinds, with the number answered of each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answered: Counter[tuple[str, ...]] = Counter()
        self._addresses = count()

    def send(self, times: int) -> None:
        """Send each kind this many times, concurrently, each over its own connection."""
        post = self._service.post
        mark = {"User-Agent": SENT_MARK, "X-Request-ID": SENT_MARK, "X-Forwarded-For": "203.0.113.77"}
        named = {"name": SENT_MARK}

        def refused() -> Reply:
            # Each from another address: from one address, only the first few refusals have their own entry.
            other = f"198.51.100.{next(self._addresses)}"
            return post("/vault/secret/create/", {"secret": "YQ==", **named}, **{"X-Forwarded-For": other})

        kinds: dict[tuple[str, str], Callable[[], Reply]] = {
            ("create_secret", "200"): lambda: post("/vault/secret/create/", {"secret": "YSB2YWx1ZQ=="}),
            ("create_secret", "400"): lambda: post("/vault/secret/create/", {"secret": "?"}, **mark),
            ("create_secret", "401"): refused,
            ("fetch_secret", "404"): lambda: post("/vault/secret/fetch", {"secret_id": UNKNOWN_ID}),
            ("describe_secret", "422"): lambda: post("/vault/secret/describe", {SENT_MARK: 1}),
            ("none", "404"): lambda: self._service.get(f"/{SENT_MARK}"),
        }
        with ThreadPoolExecutor(16) as pool:
            sent = [pool.submit(self._send, *kind) for kind in kinds.items() for _ in range(times)]
        for request in sent:
            self.answered += request.result()

    @staticmethod
    def _send(kind: tuple[str, str], send: Callable[[], Reply]) -> Counter[tuple[str, ...]]:
        """Repeat a request while a stalled MongoDB makes it 503, and count the answers."""
        name, expected = kind
        answered: Counter[tuple[str, ...]] = Counter()
        while not answered[kind]:
            status = str(send().status)
            assert status in (expected, "503")
            answered[name, status] += 1
        return answered

    def expected(self) -> dict[tuple[str, ...], float]:
        """Return the expected samples."""
        return {kind: float(number) for kind, number in self.answered.items()}


@pytest.mark.promise(2)
@pytest.mark.long
def test_prometheus_gets_exact_counts(
    environment: dict[str, str], stored: MongoDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """No request of 2 workers is missing or counted twice, even after a SIGKILL and a reload."""
    bind = f"127.0.0.1:{free_port()}"
    settings = {
        **environment,
        "METRICS_BIND": bind,
        "TRUSTED_PROXIES": "127.0.0.1",
        "TMPDIR": str(tmp_path),
    }
    with (
        Service(settings, measured=True, folder=tmp_path) as service,
        Prometheus([bind], folder=tmp_path) as prometheus,
    ):
        assert service.process is not None
        master = service.process.pid
        workers = service.workers()
        traffic = Traffic(service)

        def agrees() -> None:
            prometheus.wait_until(REQUESTS, traffic.expected(), by=("operation", "status"))

        traffic.send(5)
        agrees()
        killed = min(workers)
        os.kill(int(killed), signal.SIGKILL)
        wait_until(lambda: killed not in children(master) and len(children(master)) == 2)
        agrees()
        traffic.send(5)
        agrees()
        before = service.workers()
        os.kill(master, signal.SIGHUP)
        wait_until(lambda: len(children(master)) == 2 and not children(master) & before)
        agrees()
        traffic.send(5)
        agrees()

        def several_took_part() -> bool:
            traffic.send(5)
            return len({line["pid"] for line in log_lines(service) if line["message"] == "request"}) > 2

        # Otherwise the test proves nothing.
        wait_until(several_took_part)
        agrees()
        entries = stored.audit_logs.count_documents({})
        closed = stored.audit_logs.count_documents({"action": "stream_closed"})
        expected = sum(number for kind, number in traffic.answered.items() if kind not in _WITHOUT_ENTRY)
        # MongoDB may have stored the entry of a request that was answered before it was durable.
        unavailable = sum(number for (_, status), number in traffic.answered.items() if status == "503")
        assert expected <= entries - closed <= expected + unavailable
        prometheus.wait_until(
            "secret_manager_audit_entries_total",
            {("written",): entries, ("failed",): 0},
            by=("outcome",),
        )
        prometheus.wait_until("sum(secret_manager_ready)", {(): 6}, by=())
        prometheus.wait_until("up", {(): 1}, by=())
        assert service.get("/metrics").status == 404
        only_our_words(prometheus.label_values(), bind)
        [folder] = tmp_path.glob("secret-manager-metrics-*")
        assert folder.exists()
        assert service.stop() == 0
    assert not folder.exists()


def only_our_words(labels: dict[str, set[str]], bind: str) -> None:
    """Check that every label value is one of the service's own, not sent by a client or stored."""
    assert {"__name__", "instance", "job"} < labels.keys()
    words = {
        "operation": {"create_secret", "fetch_secret", "describe_secret", "health_live", "none"},
        "status": {"200", "400", "401", "404", "422", "503"},
        "reason": {
            *REFUSALS,
            *("does_not_verify", "unknown_key", "address", "full", "evicted"),
        },
        "outcome": {"written", "failed", "succeeded", "done", "drift"},
        "queue": {"reads", "writes", "entries", "changes", "names"},
        "check": {"mongodb", "restore", "keys", "auth", "audit", "clock"},
        "version": {__version__},
        "role": {"primary"},
        "instance": {bind},
        "job": {"secret-manager"},
    }
    for name, values in ((name, values) for own in tables("LABELS") for name, values in own.items()):
        if name in words:
            words[name] |= values
        else:
            assert labels.pop(name, set()) <= values, name
    for name, values in words.items():
        assert labels.pop(name) <= values, name
    [key_id] = labels.pop("key_id")
    assert len(key_id) == 16
    assert all(command.isalpha() for command in labels.pop("command"))
    assert all(float(bound) > 0 for bound in labels.pop("le"))
    assert labels.keys() == {"__name__"}


def test_the_metrics_use_the_service_s_tls(environment: dict[str, str], tmp_path: Path) -> None:
    """With TLS, the metrics address uses it too and accepts the same clients as the service.

    A folder set in the library's variable for another program is not removed on exit.
    """
    theirs = tmp_path / "theirs" / "counter_1.db"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    authority = make(tmp_path, "authority")
    server, client = (make(tmp_path, name, authority) for name in ("server", "client"))
    bind = f"127.0.0.1:{free_port()}"
    settings = {
        **environment,
        "METRICS_BIND": bind,
        "TLS_CERT": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(authority.certificate),
        "PROMETHEUS_MULTIPROC_DIR": str(theirs.parent),
    }
    service = Service(settings, measured=True, folder=tmp_path)
    service.start()

    def ask(cert: tuple[str, str] | None) -> str:
        url = f"https://{bind}/metrics"
        return requests.get(url, verify=str(authority.certificate), cert=cert, timeout=60).text

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(bind.partition(":")[2]))) == 0

    try:
        wait_until(listens)
        assert "secret_manager_build_info" in ask((str(client.certificate), str(client.key)))
        try:
            refused = ask(None)
        except requests.ConnectionError:
            refused = ""
        assert not refused
    finally:
        assert service.stop() == 0
    assert theirs.read_bytes() == b"theirs"
    assert {line["level"] for line in log_lines(service)} <= {"info", "warning"}
