"""`secret-manager audit report`: its forms, and its entry."""

import json
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.audit_commands import Trail
from tests.support.rotation import Stored
from vault import cli
from vault.common.feature import Feature, Section
from vault.core.parts import Parts
from vault.features.exposure import report_content


def report(trail: Trail, *arguments: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(cli.commands, ["audit", "report", *arguments], env=trail.environment)


def test_a_report_is_a_few_lines(trail: Trail) -> None:
    """Without options, the report is a short summary of the last 30 days, with the verdict on the trail."""
    done = trail.run("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 100
    # Long lines continue below their text.
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines() if not line.startswith(" "))
    assert list(lines) == [
        *("period", "requests", "principals", "secrets read", "refused, failed"),
        *("trail", "secrets", "tokens", "keys", "last backup"),
    ]
    assert lines["requests"].split()[:2] == ["180:", "90"]
    assert ", the busiest: " in lines["principals"]
    assert lines["trail"].strip() == "enabled, 181 entries in 4 streams: intact"
    assert lines["keys"].strip() == "1 master key, 0 pending rewraps"
    assert lines["last backup"].strip() == "none in this period"


@dataclass
class _Pumped:
    """The content of an invented section."""

    litres: int

    @property
    def line(self) -> str:
        """The content in one line; empty without any."""
        return f"{self.litres} litres" if self.litres else ""


def pumped(_parts: Parts, since: datetime, until: datetime) -> _Pumped:
    """Return the content of a period: a litre a day."""
    return _Pumped((until - since).days)


def test_features_add_sections_to_a_report(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section is a line of the text, if there is something to say, and a member of the data."""
    section = Section("pumped", "trail", "pumped.html", f"{__name__}:pumped")
    pump = Feature(name="pump", sections=(section,))
    monkeypatch.setattr(report_content, "features", lambda: (pump, Feature(name="brake")))
    assert "\npumped: " in report(trail, "--no-verify", "--since", "7d").stdout
    assert "pumped" not in report(trail, "--no-verify", "--since", "7h").stdout
    data = json.loads(report(trail, "--no-verify", "--since", "7d", "--json").stdout)
    assert data["pumped"] == {"litres": 7}


def test_a_report_has_the_last_backup(trail: Trail, stored: Stored) -> None:
    """The text, the data and the page have the newest backup, even before many other operations."""
    now = datetime.now(UTC)
    entry = {"status": "success", "principal": "operator", "stream": "a"}
    backup = {"action": "backup", "ts": now - timedelta(hours=2), "seq": 0, **entry}
    others = [
        {"action": "rewrap_start", "ts": now - timedelta(hours=1), "seq": number, **entry}
        for number in range(1, 20)
    ]
    stored.audit_logs.insert_many([backup, *others])
    time = f"{backup['ts']:%Y-%m-%dT%H:%M}"
    text = report(trail, "--no-verify").stdout.splitlines()[-1]
    assert text.split()[2].startswith(time)
    assert text.endswith(", success")
    data = json.loads(report(trail, "--no-verify", "--json").stdout)["activity"]["last_backup"]
    assert (data["action"], data["time"][:16]) == ("backup", time)
    assert f"Last backup: {backup['ts']:%Y-%m-%d %H:%M}" in report(trail, "--no-verify", "--html", "-").stdout


@pytest.mark.promise(3)
def test_a_report_is_on_record(trail: Trail, stored: Stored) -> None:
    """A report leaves an entry with its period, and whether it verifies, before it reads anything."""
    assert report(trail, "--since", "1w", "--no-verify").exit_code == 0
    [entry] = stored.audit_logs.find({"action": "audit_report"})
    assert (entry["principal"], entry["status"]) == ("operator", "success")
    assert entry["details"].keys() == {"since", "verify"}
    assert entry["details"]["verify"] is False


def test_a_report_is_data(trail: Trail) -> None:
    """With --json, the report is one object with the same figures."""
    done = report(trail, "--json", "--no-verify")
    found = json.loads(done.stdout)
    assert found["activity"]["counts"] == {"reads": 90, "uses": 0, "other": 45, "refused": 45, "failed": 0}
    assert found["trail"]["verification"] is None
    assert (found["pending_rewraps"], found["keys"][0]["role"]) == (0, "primary")
    assert len(found["trail"]["heads"]) == found["trail"]["streams"] == 4


def test_a_report_is_a_page(trail: Trail, tmp_path: Path) -> None:
    """With --html, the page is in a private file, which replaces an earlier one, or on standard output."""
    page = tmp_path / "report.html"
    for _ in range(2):
        done = report(trail, "--html", str(page), "--no-verify")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout == f"report in {page}, {page.stat().st_size:,} bytes\n"
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    data = json.loads(report(trail, "--html", str(page), "--no-verify", "--json").stdout)
    assert data == {"file": str(page), "bytes": page.stat().st_size}
    shown = report(trail, "--html", "-", "--no-verify").stdout
    assert shown.startswith("<!DOCTYPE html>")
    assert shown.endswith("</html>")


def test_tampering_is_the_first_thing_in_a_report(trail: Trail, stored: Stored) -> None:
    """Findings of the verification are counted, and the first of them listed."""
    stored.audit_logs.update_many({"seq": {"$gt": 0}}, {"$set": {"principal": "mallory"}})
    verified = json.loads(report(trail, "--json").stdout)["trail"]["verification"]
    assert verified["kind"] == "TAMPERING"
    assert verified["finding_count"] > len(verified["findings"]) == 20
    assert "NOT what the service wrote" in report(trail).stdout
    assert stored.audit_logs.count_documents({"action": "audit_tampering"}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--html", "-", "--json"), "both are for standard output"),
        (("--html", "nowhere/report.html"), "its folder does not exist"),
        (("--html", "/dev/null"), "is not a regular file"),
        (("--since", "soon"), "such as 30d"),
    ],
)
def test_wrong_options_are_refused(
    trail: Trail, stored: Stored, arguments: tuple[str, ...], message: str
) -> None:
    """An impossible option is refused before anything is read or recorded."""
    done = report(trail, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert stored.audit_logs.count_documents({"action": "audit_report"}) == 0
