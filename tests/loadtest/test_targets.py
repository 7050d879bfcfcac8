"""The figures of a run next to their targets, and their way into the documents."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copy
from types import ModuleType
from typing import Any

import pytest

from tests.docs.documents import ROOT
from tests.loadtest.modules import LOADTEST, imported
from tests.support.system import missing, needs, unmeasured

OURS, OPENBAO, ORIGINAL = "secret-manager", "OpenBao", "original design"
OTHERS = (ORIGINAL, "original, modernized", OPENBAO, "ceiling")


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of the targets."""
    return imported("targets", monkeypatch)


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of comparisons."""
    return imported("comparison", monkeypatch)


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of documents."""
    return imported("documents", monkeypatch)


def block(comparison: ModuleType, *names: str, **ours: float) -> Any:
    """Return a block whose figures are 10, except for those of the first of the *names*."""
    other = comparison.Sample(10, 10, 10, 10, 10, 10, 0)
    samples = dict.fromkeys(names, other)
    return comparison.Block("load", samples | {names[0]: replace(other, **ours)})


@pytest.fixture
def measured(targets: ModuleType, comparison: ModuleType) -> Any:
    """Return the figures of a run that meets or misses most targets by a hair."""
    compared = (OURS, *OTHERS)
    return targets.Measured(
        create=block(comparison, *compared, a_second=22, cpu=25),
        fetch=block(comparison, *compared, a_second=24.9, cpu=22.1),
        lone_create=block(comparison, *compared, p50=8),
        lone_fetch=block(comparison, *compared, p50=10.1),
        batch=block(comparison, OURS, OPENBAO, a_second=1),
        workers=block(comparison, "pinned workers, 2", "pinned workers, 1", a_second=17.9, cpu=12.5),
        growth=block(comparison, "grown", OURS, a_second=9),
        start={f"{OURS}, batch": 9.9, f"{OURS}, one by one": 50, f"{OPENBAO}, one by one": 10},
        memory=dict.fromkeys(compared, 100.1),
    )


def test_each_figure_is_next_to_its_target(targets: ModuleType, measured: Any) -> None:
    """Rates, costs and times are divided as their rows say, and a limit itself meets the target."""
    cells = {row.cells for row in targets.rows(measured, secrets=5_000, entries=10_000)}
    assert cells == {
        ("create/s ÷ OpenBao", "2.20", "≥ 1.4", "yes"),
        ("fetch/s ÷ OpenBao", "2.49", "≥ 0.5", "yes"),
        ("create/s ÷ original design", "2.20", "≥ 2.2", "yes"),
        ("fetch/s ÷ original design", "2.49", "≥ 2.5", "no"),
        ("secrets/s in batches of 20 ÷ OpenBao's single reads", "2.00", "≥ 2", "yes"),
        ("CPU per create ÷ empty Flask application", "2.50", "≤ 2.5", "yes"),
        ("CPU per fetch ÷ empty Flask application", "2.21", "≤ 2.2", "no"),
        ("1 connection, p50 of a create ÷ original design", "0.80", "≤ 0.8", "yes"),
        ("1 connection, p50 of a fetch ÷ original design", "1.01", "≤ 1", "no"),
        ("20 secrets at an application's start, 1 connection: time ÷ OpenBao", "0.99", "< 1", "yes"),
        ("the same, one by one", "5.00", "–", "–"),  # noqa: RUF001 - dashes
        ("fetch/s of 2 pinned workers ÷ 1", "1.79", "≥ 1.8", "no"),
        ("the same, if only the workers' CPU time limited it", "1.60", "–", "–"),  # noqa: RUF001
        ("fetch/s at 5,000 secrets and 10,000 entries ÷ at 1,000", "0.90", "≥ 0.9", "yes"),
        ("memory in MiB (PSS)", "100.10", "≤ 100", "no"),
    }


def test_a_service_without_a_reply_meets_no_target(
    targets: ModuleType, comparison: ModuleType, measured: Any
) -> None:
    """A ratio to nothing is not a number, and its target counts as missed."""
    silent = comparison.Sample(0, 0, 0, 0, 0, 0, 5)
    create = comparison.Block("create", {**measured.create.samples, OPENBAO: silent})
    [row, *_] = targets.rows(replace(measured, create=create), secrets=1, entries=1)
    assert row.cells == ("create/s ÷ OpenBao", "nan", "≥ 1.4", "no")
    assert comparison.failed([measured.create, create])
    assert not comparison.failed(measured.blocks)


def test_each_load_is_compared_with_each_service(comparison: ModuleType) -> None:
    """A row has this service's figures and their ratios; a load that it did not reach has dashes."""
    reached = block(comparison, OURS, OPENBAO, a_second=2_500, p99=1)
    ended = block(comparison, OPENBAO)
    _, _, first, second = comparison.markdown([reached, ended]).splitlines()
    assert first == "| load | OpenBao | 2,500 (250.00) | 1.00 (0.10) | 10.0 (1.00) |"
    assert second == "| load | OpenBao | – | – | – |"  # noqa: RUF001 - dashes


@pytest.mark.parametrize(
    ("document", "name"),
    [("README.md", "performance"), *(("docs/performance.md", name) for name in ("targets", "rest", "vault"))],
)
def test_a_table_replaces_the_one_before(
    documents: ModuleType, tmp_path: Path, document: str, name: str
) -> None:
    """Each document has the place of its table, and the text around it stays."""
    path = Path(copy(ROOT / document, tmp_path))
    before = path.read_text()
    for text in ("first", "second"):
        documents.write(path, name, text)
    after = path.read_text()
    assert f"<!-- {name}: begin -->\nsecond\n<!-- {name}: end -->\n" in after
    assert "first\n<!-- " not in after
    start = before.index(f"<!-- {name}: begin")
    end = before.index(f"<!-- {name}: end")
    assert after.startswith(before[:start])
    assert after.endswith(before[end:])


def test_a_document_without_a_place_is_an_error(documents: ModuleType, tmp_path: Path) -> None:
    """Without the markers, nothing is written."""
    path = tmp_path / "performance.md"
    path.write_text("text\n")
    with pytest.raises(ValueError, match="unpack"):
        documents.write(path, "targets", "table")
    assert path.read_text() == "text\n"


@pytest.mark.parametrize(
    ("function", "result", "message"),
    [("shutil.which", None, "install Debian's package wrk"), ("os.geteuid", 1000, "run this as root")],
)
def test_what_is_missing_is_said_before_a_run(
    monkeypatch: pytest.MonkeyPatch, function: str, result: int | None, message: str
) -> None:
    """Without wrk, or as a user who could not read the memory's use, nothing starts."""
    stage = imported("stage", monkeypatch)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(function, lambda *_: result)
    with pytest.raises(SystemExit, match=message), stage.stage():
        raise AssertionError("it started")


@pytest.mark.process
@pytest.mark.nightly
def test_a_run_writes_its_figures_into_the_documents(tmp_path: Path) -> None:
    """`targets.py --write` measures each target, and updates the tables and the picture of a checkout."""
    needs("wrk")
    if not find_spec("matplotlib"):
        raise missing("needs the packages of scripts/install.sh bench")
    (tmp_path / "docs").mkdir()
    for document in ("README.md", "docs/performance.md"):
        copy(ROOT / document, tmp_path / document)
    done = subprocess.run(
        [
            *(sys.executable, str(LOADTEST / "targets.py"), "--rounds", "1", "--seconds", "1"),
            *("--secrets", "100", "--entries", "1000", "--write", str(tmp_path)),
        ],
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| fetch/s at 100 secrets and 1,000 entries ÷ at 1,000 | " in done.stdout
    page = (tmp_path / "docs/performance.md").read_text()
    assert done.stdout.rpartition("| figure |")[2] in page
    assert "| create, connections: 32 | OpenBao | " in page
    assert "](docs/performance.svg)" in (tmp_path / "README.md").read_text()
    assert "requests per second" in (tmp_path / "docs/performance.svg").read_text()
