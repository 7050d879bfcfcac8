"""The alert rules: promtool accepts them, and each fires and stays silent as specified."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.documents import anchors, table
from tests.support.system import needs

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/monitoring/alerts.yml"
TESTS = Path(__file__).with_name("alerts.test.yml")
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run promtool and return its output."""
    command = [needs("promtool", package="prometheus"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", ALERTS), ("check", "config", ROOT / "deploy/monitoring/prometheus.yml")],
    ids=["rules", "configuration"],
)
def test_prometheus_accepts_rules_and_configuration(arguments: tuple[object, ...]) -> None:
    """Prometheus accepts the rules and its configuration without a warning."""
    checked = promtool(*arguments)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


@pytest.mark.process
@pytest.mark.long
def test_alerts_fire_when_they_should() -> None:
    """In synthetic histories exactly the expected alerts fire, and only for the expected time."""
    tested = promtool("test", "rules", TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_history_in_which_it_fires() -> None:
    """Each rule fires in some history, and none fires in the first."""
    fired = set(re.findall(r'alertname(?:="|: )(\w+)', TESTS.read_text()))
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.process
def test_a_broken_rule_is_noticed(tmp_path: Path) -> None:
    """A history fails with a rule that never fires, so the check can fail."""
    broken = ALERTS.read_text().replace('outcome="failed"}[5m])) > 0', 'outcome="failed"}[5m])) > 9')
    assert broken != ALERTS.read_text()
    (tmp_path / "alerts.yml").write_text(broken)
    tests = yaml.safe_load(TESTS.read_text())
    about = 'secret_manager_audit_entries_total{outcome="failed"'
    histories = [history for history in tests["tests"] if about in str(history)][1:]
    tests |= {"rule_files": ["alerts.yml"], "tests": histories}
    (tmp_path / "alerts.test.yml").write_text(yaml.safe_dump(tests))
    assert promtool("test", "rules", tmp_path / "alerts.test.yml").returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_severity_problem_and_remedy(rule: dict[str, Any]) -> None:
    """Each has one of two severities, a sentence on the problem, one on the remedy, and a link."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"[^.].{10,100}[^.]\.", rule["annotations"]["summary"])
    assert len(rule["annotations"]["description"]) > 100
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(document)


def test_the_alerts_are_explained() -> None:
    """The table of alerts has each of them with its severity, and no other."""
    rows = table("docs/monitoring.md", "Dashboard and alerts")
    documented = {name: severity for severity, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert documented == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
