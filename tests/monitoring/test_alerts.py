"""The alert rules: promtool accepts them, and each is shown to fire, and to keep quiet."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.documents import anchors, table
from tests.system import needs

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "monitoring/alerts.yml"
TESTS = Path(__file__).with_name("alerts.test.yml")
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run promtool and return what it printed."""
    command = [needs("promtool", package="prometheus"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", ALERTS), ("check", "config", ROOT / "monitoring/prometheus.yml")],
    ids=["rules", "configuration"],
)
def test_prometheus_accepts_what_it_is_given(arguments: tuple[object, ...]) -> None:
    """Rules and configuration are as Prometheus wants them, without a warning."""
    checked = promtool(*arguments)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_alerts_fire_when_they_should() -> None:
    """Over made-up histories exactly the alerts fire that should, and only as long as they should."""
    tested = promtool("test", "rules", TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_among_those_that_are_shown_to_fire() -> None:
    """No rule is without a history in which it fires; in the first history none does."""
    fired = set(re.findall(r'alertname(?:="|: )(\w+)', TESTS.read_text()))
    assert fired == {rule["alert"] for rule in RULES}


def test_a_broken_rule_would_be_noticed(tmp_path: Path) -> None:
    """With a rule that never fires the histories do not pass: the check can fail."""
    broken = ALERTS.read_text().replace('outcome="failed"}[5m])) > 0', 'outcome="failed"}[5m])) > 9')
    assert broken != ALERTS.read_text()
    (tmp_path / "alerts.yml").write_text(broken)
    tests = TESTS.read_text().replace("../../monitoring/alerts.yml", "alerts.yml")
    (tmp_path / "alerts.test.yml").write_text(tests)
    assert promtool("test", "rules", tmp_path / "alerts.test.yml").returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """Each has one of two severities, a sentence on what is wrong, one on what to do, and leads to more."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"[^.].{10,100}[^.]\.", rule["annotations"]["summary"])
    assert len(rule["annotations"]["description"]) > 100
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(document)


def test_the_alerts_are_explained() -> None:
    """The table of alerts has each of them, with its severity, and none else."""
    rows = table("docs/operations.md", "Dashboard and alerts")
    told = {name: severity for names, severity, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
