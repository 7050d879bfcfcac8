"""Locust's scenarios run, and every reply is the expected one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.qa.loadtest.modules import imported
from tests.support.service import Service
from tests.support.system import missing, needs, unmeasured
from tests.support.waiting import wait_until
from vault.common.feature import features

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
#: The options of scenarios that end by themselves, except for the seconds of each stage.
STAGED = {
    "ramp": ("--most-users", "4", "--step-seconds"),
    "spike": ("--spike-users", "8", "--phase-seconds"),
}
STEADY = ("--users", "4", "--spawn-rate", "4", "--run-time", "100s")
ENOUGH = 20
"""The number of requests after which a steady scenario is ended, however long they took."""


@pytest.fixture
def locust() -> str:
    """Return the path of locust: installed next to the service, or separately in `loadtest/.venv`."""
    for folder in (Path(sys.executable).parent, ROOT / "loadtest/.venv/bin"):
        if (folder / "locust").exists():
            return str(folder / "locust")
    raise missing("needs locust: scripts/install.sh bench")


def counted(folder: Path) -> tuple[int, int]:
    """Return the numbers of requests and failures that locust has written down so far."""
    try:
        with (folder / "found_stats.csv").open() as table:
            total = next(row for row in csv.DictReader(table) if row["Name"] == "Aggregated")
    except (FileNotFoundError, StopIteration):
        return 0, 0
    return int(total["Request Count"]), int(total["Failure Count"])


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    """Return the rows of a table that locust has written down."""
    with (folder / f"found_{table}.csv").open() as lines:
        return list(csv.DictReader(lines))


def run(
    locust: str, scenario: str, service: Service, folder: Path, *options: str, token: str = ""
) -> tuple[int, int]:
    """Return the numbers of requests and failures of the scenario, which sends the *token*."""
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [
                locust,
                *("-f", str(ROOT / f"loadtest/scenarios/{scenario}.py"), "--headless"),
                *("--host", service.url, "--csv", "found", *options),
            ],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "SECRET_MANAGER_TOKEN": token},
            stdout=output,
            stderr=output,
        ) as load,
    ):
        try:
            if scenario not in STAGED:
                wait_until(lambda: load.poll() is not None or counted(folder)[0] > ENOUGH, pause=0.1)
                load.terminate()
            assert load.wait(120) == 0, log.read_text()
        finally:
            load.kill()
    return counted(folder)


@pytest.mark.parametrize("scenario", ["mix", "reads", "writes", "once"])
def test_a_scenario_runs_without_a_failure(
    locust: str, shared_service: Service, tmp_path: Path, scenario: str
) -> None:
    """Each scenario completes, and reads back what it stored."""
    requests, failures = run(locust, scenario, shared_service, tmp_path, *STEADY)
    assert requests > ENOUGH
    assert failures == 0


def test_a_secured_service_gets_the_token(locust: str, guarded: tuple[Service, str], tmp_path: Path) -> None:
    """With `SECRET_MANAGER_TOKEN`, no request is refused. No name in the tables has an ID or the token."""
    service, token = guarded
    requests, failures = run(locust, "once", service, tmp_path, *STEADY, token=token)
    assert requests > ENOUGH
    assert failures == 0
    assert {row["Name"] for row in rows(tmp_path, "stats")} == {
        "create",
        "fetch",
        "fetch (gone)",
        "Aggregated",
    }
    assert token not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_refusals_are_counted_by_operation(locust: str, guarded: tuple[Service, str], tmp_path: Path) -> None:
    """Requests that are refused for the same reason are one row, which has no ID of a request."""
    requests, failures = run(locust, "once", guarded[0], tmp_path, *STEADY, "--exit-code-on-error", "0")
    assert failures == requests > ENOUGH
    [row] = rows(tmp_path, "failures")
    assert row["Name"] == "create"
    assert "'401 credential_required'" in row["Error"]


@pytest.mark.parametrize("scenario", STAGED)
def test_a_scenario_in_stages_runs_without_a_failure(
    locust: str, shared_service: Service, tmp_path: Path, scenario: str
) -> None:
    """Each scenario goes through its stages, and reads back what it stored."""
    for seconds in ("1", "10"):
        requests, failures = run(locust, scenario, shared_service, tmp_path, *STAGED[scenario], seconds)
        assert failures == 0
        # On a busy machine, short stages can end before the first reply.
        if requests:
            break
    assert requests > 0


def test_the_load_can_come_from_several_processes(
    locust: str, shared_service: Service, tmp_path: Path
) -> None:
    """Two processes share a scenario, and their figures are combined."""
    requests, failures = run(locust, "mix", shared_service, tmp_path, *STEADY, "--processes", "2")
    assert requests > ENOUGH
    assert failures == 0


def bench(folder: Path, *options: str) -> list[str]:
    """Return the lines that `bench.py` prints in a round of a second."""
    needs("wrk")
    done = subprocess.run(
        [sys.executable, ROOT / "loadtest/bench.py", "--rounds", "1", "--seconds", "1", *options],
        cwd=folder,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_comparison_prints_its_table(tmp_path: Path) -> None:
    """`bench.py` puts real load on this service and on another one, and prints each ratio."""
    lines = bench(tmp_path, "--only", "ceiling")
    for name in ("secret-manager  ", "ceiling"):
        assert sum(line.startswith(f"  {name}") for line in lines) == 6


def test_the_same_load_on_openbao_prints_its_table(tmp_path: Path) -> None:
    """`bench.py --api vault` loads this service and OpenBao with the same calls, none of which fails."""
    if not Path(sys.executable).with_name("bao").exists():
        raise missing("needs OpenBao: scripts/install.sh test")
    lines = bench(tmp_path, "--api", "vault", "--connections", "1")
    blocks = [line for line in lines if line.endswith("errors")]
    assert len(blocks) == 5
    assert blocks[0].startswith("standard mix, ")
    for name, count in (("secret-manager  ", 6), ("OpenBao  ", 6), ("secret-manager, REST  ", 3)):
        assert sum(line.startswith(f"  {name}") for line in lines) == count


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


@pytest.mark.nightly
@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions can be counted from Python 3.12 on")
def test_a_feature_adds_next_to_nothing_to_requests_that_do_not_use_it(tmp_path: Path) -> None:
    """`features.py` has a row for each feature, and all of them together add few functions to a request."""
    done = subprocess.run(
        [sys.executable, ROOT / "loadtest/features.py", "--turns", "1"],
        cwd=tmp_path,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    functions = {name: [int(count) for count in counts.split(",")] for name, counts, _ in rows[2:]}
    assert functions.keys() >= {f"of that, {feature.name}" for feature in features()}
    assert functions["of that, nothing"] == [0, 0]
    assert all(count < 10 for count in functions["of that, all features"])
    assert all(count > 100 for count in functions["a request"])
