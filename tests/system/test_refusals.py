"""Repeatedly refused clients: every refusal is recorded, and the record stays small."""

import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bson import encode

from tests.support.commands import run_command
from tests.support.rotation import Stored
from tests.support.service import Service
from vault.core.trail.refusal_counter import MAX_SINGLE_OF_KIND

pytestmark = pytest.mark.process

REFUSED = 1_200
_CONNECTIONS = 8
#: Requests that are sent before their replies are read.
_PIPELINED = 50

#: Minutes that the test may take on a busy machine.
_MINUTES = 20


def refuse(service: Service, credential: str) -> Counter[str]:
    """Send this connection's share of refused requests and return the count of each status."""
    body = b"{}"
    request = (
        f"POST /vault/audit/query HTTP/1.1\r\nHost: vault\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nUser-Agent: {'x' * 4_000}\r\n{credential}\r\n"
    ).encode() + body
    answered: Counter[str] = Counter()
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        for _ in range(REFUSED // _CONNECTIONS // _PIPELINED):
            connection.sendall(request * _PIPELINED)
            replies = b""
            while (ended := replies.count(b'"detail"')) < _PIPELINED:
                more = connection.recv(1 << 20)
                assert more, f"{ended} replies, then the end"
                replies += more
            answered.update(re.findall(r"HTTP/1\.1 (\d+)", replies.decode()))
            # The end of the last body.
            while not replies.endswith(b"}\n"):
                more = connection.recv(1 << 20)
                assert more, "an end within a reply"
                replies += more
    return answered


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("status", "credential", "settings"),
    [
        ("401", "", {"AUTH_ENABLED": "true"}),
        ("429", "Authorization: Bearer x\r\n", {"FAILED_AUTH_LIMIT": "1/day"}),
    ],
    ids=["401", "429"],
)
def test_refusals_are_on_record_and_the_record_stays_small(
    environment: dict[str, str],
    stored: Stored,
    tmp_path: Path,
    status: str,
    credential: str,
    settings: dict[str, str],
) -> None:
    """1,200 refused requests leave a few entries, whose counts add up to 1,200, and the trail verifies."""
    settings = {**environment, **settings, "WEB_CONCURRENCY": "1"}
    with Service(settings, patient=True, folder=tmp_path) as service:
        service.wait_until_started()
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            answered = sum(
                pool.map(lambda _: refuse(service, credential), range(_CONNECTIONS)), Counter[str]()
            )
        # Before the limit is reached, the first few of the 429s are 401. On a busy machine, writing an
        # entry may time out: that is 503, and the entry may or may not exist.
        assert answered[status] > 0.99 * REFUSED
    entries = list(stored.audit_logs.find({"status": "denied"}))
    recorded = sum(entry["details"].get("count", 1) for entry in entries)
    assert REFUSED - answered["503"] <= recorded <= REFUSED
    assert len(entries) < _MINUTES * (MAX_SINGLE_OF_KIND + 1)
    assert sum(len(encode(entry)) for entry in entries) < 200_000
    assert len(Counter(entry["action"] for entry in entries)) == 1
    done = run_command("audit", "verify", environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stdout
