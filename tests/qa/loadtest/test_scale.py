"""Larger deployments and databases: the fill, the shares of processors, and the tables."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
from pymongo import MongoClient

from tests.qa.loadtest.modules import LOADTEST, imported
from tests.support.rotation import connected
from tests.support.system import needs, unmeasured
from vault.core.crypto import Keyring
from vault.core.documents.audit import AuditEntry
from vault.core.documents.stored_secret import StoredSecret
from vault.core.trail.streams.stream import entry_id_fits

KEY = bytes(range(32))


def filled(uri: str, monkeypatch: pytest.MonkeyPatch, secrets: int, entries: int) -> list[str]:
    growth = imported("scale", monkeypatch)
    with connected(uri):
        return list(growth.fill(uri, KEY, secrets, entries))


def test_a_fill_stores_secrets_that_decrypt_under_the_real_indexes(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each secret of the fill is one that the service can read, and each fill returns some of all IDs."""
    first = filled(mongo_uri, monkeypatch, 20, 0)
    both = filled(mongo_uri, monkeypatch, 10, 0)
    assert len(first) == 20
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        found = list(database.secrets.find())
        assert "namespace_1_name_1" in database.secrets.index_information()
        assert database.audit_logs.estimated_document_count() == 0
    values = Counter(StoredSecret(document).decrypt(Keyring.of(KEY, ())) for document in found)
    assert [*values.values()] == [30]
    # MongoDB draws the sample at random, and may draw one twice.
    assert {*both} <= {document["_id"] for document in found}


def test_filled_entries_are_like_those_of_the_service(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries have the fields, types and identifiers of real ones; each secret gets its part of them."""
    ids = filled(mongo_uri, monkeypatch, 4, 40)
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        entries = list(client.get_default_database().audit_logs.find())
    assert Counter(entry["secret_id"] for entry in entries) == dict.fromkeys(ids, 10)
    assert all(entry_id_fits(entry) for entry in entries)
    assert {entry["seq"] for entry in entries} == {*range(40)}
    # One of each commit is signed.
    assert sum("signature" in entry for entry in entries) == 5
    assert {name for entry in entries for name in entry} <= {"_id", *AuditEntry._fields}
    assert len({entry["hash"] for entry in entries}) == 40


@pytest.mark.process
def test_processes_keep_to_their_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts in the block is pinned; afterwards, this thread has its processors again."""
    fleet = imported("fleet", monkeypatch)
    before = os.sched_getaffinity(0)
    with fleet.pinned({min(before)}):
        asked = "import os; print(*os.sched_getaffinity(0))"
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(min(before))]
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("unified", "limits"),
    [
        (True, {"cpu.max": "2000 10000"}),
        (False, {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "2000"}),
    ],
    ids=["version 2", "version 1"],
)
def test_a_share_is_the_limit_of_a_control_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unified: bool, limits: dict[str, str]
) -> None:
    """Either version of control groups gets the limit in its own form."""
    fleet = imported("fleet", monkeypatch)
    monkeypatch.setattr(fleet, "_UNIFIED", tmp_path)
    monkeypatch.setattr(fleet, "_CPU", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n" if unified else "hugetlb\n")
    with fleet.limited(0.2) as group:
        assert {path.name: path.read_text() for path in group.iterdir()} == limits
        for path in group.iterdir():
            path.unlink()
    assert not group.exists()


def test_without_control_groups_a_share_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message says what to do; without a limit, no control group is needed."""
    fleet = imported("fleet", monkeypatch)
    for name in ("_UNIFIED", "_CPU"):
        monkeypatch.setattr(fleet, name, tmp_path / "missing")
    with pytest.raises(click.ClickException, match="--share 0"), fleet.limited(0.2):
        raise AssertionError("it started")
    with fleet.limited(0) as group:
        assert group is None


def test_a_database_grows_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together, the steps are exactly what was asked for, and entries grow in proportion."""
    additions = imported("scale", monkeypatch).additions
    assert list(additions(2_500_000, 25_000_000, 1_000_000)) == [
        (1_000_000, 10_000_000),
        (1_000_000, 10_000_000),
        (500_000, 5_000_000),
    ]
    assert list(additions(100, 1_000, 1_000_000)) == [(100, 1_000)]


def test_a_grown_database_is_compared_with_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a load has the rate, and the CPU time of the service and of MongoDB, each with its ratio."""
    scale, comparison = imported("scale", monkeypatch), imported("comparison", monkeypatch)
    samples = {
        scale.SecretManager.name: comparison.Sample(400.0, 1.0, 2.0, 3.0, 0.5, 0.25, 0.0),
        scale.Grown.name: comparison.Sample(300.0, 4.0, 8.0, 9.0, 1.0, 0.75, 0.0),
    }
    step = scale.Step(10, 100, 1, 1, 1, 1, 1.0, 1.0, {"fetch": comparison.Block("", samples)})
    assert list(scale.speed_rows(step)) == [
        ("10", "100", "fetch", "300", "0.75", "4.0", "8", "1.00", "2.00", "0.75", "3.00")
    ]


@pytest.mark.process
def test_a_short_run_prints_all_tables(tmp_path: Path) -> None:
    """`scale.py` loads real replicas on a real replica set, grows a database, and no request fails."""
    needs("wrk")
    done = subprocess.run(
        [
            *(sys.executable, str(LOADTEST / "scale.py"), "--share", "0", "--members", "3", "--rounds", "1"),
            *("--seconds", "1", "--secrets", "300", "--entries", "3000", "--step", "200"),
            *("--data", str(tmp_path)),
        ],
        cwd=tmp_path,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| 3 | ") for line in lines) == 10
    # Two tables after each of two steps.
    assert sum(line.startswith("| secrets | entries | ") for line in lines) == 4
    assert [*tmp_path.iterdir()] == []
