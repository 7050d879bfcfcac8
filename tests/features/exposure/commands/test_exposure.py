"""`secret-manager exposure`: its forms, and its entry."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from tests.features.exposure.uses import record_use
from tests.support.access import make_token
from tests.support.lifecycle import BOB, UNKNOWN_ID, Caller
from tests.support.rotation import Stored
from vault import cli
from vault.common.timestamps import moment
from vault.features.exposure import exposure as exposures
from vault.features.exposure.commands import exposure as command
from vault.features.exposure.exposure import ExposurePage


@pytest.fixture
def secret_id(alice: Caller) -> str:
    """Return the ID of a secret that alice wrote twice, and bob fetched for a task and otherwise."""
    secret_id = alice.create(name="app/db")
    alice.update(secret_id, b"new")
    alice.become(BOB).fetch(secret_id)
    alice("fetch", name="app/db", delivery={"service": "shop_api", "task_id": "task"})
    return secret_id


def run(environment: dict[str, str], *arguments: str) -> Any:
    return CliRunner().invoke(cli.commands, ["exposure", *arguments], env=environment)


@pytest.mark.promise(3)
def test_exposures_are_lines(environment: dict[str, str], stored: Stored, secret_id: str) -> None:
    """Each exposure is a line; notes say how far the answer goes, and an entry what was asked."""
    done = run(environment, "app/db", "--stale")
    assert done.exit_code == 0
    headings, *lines = done.stdout.splitlines()
    assert headings.split() == ["secret", "version", "principal", "how", "count", "first", "last"]
    found = [line.split()[:6] for line in lines]
    assert found[0] == ["app/db", "1", "(stale)", "alice", "write", "1"]
    assert found[1][:5] == ["app/db", "2", "alice", "write", "1"]
    assert found[2] == ["app/db", "2", "bob", "delivery", "fetch", "(shop_api)"]
    notes = done.stderr.splitlines()[-2:]
    assert notes[0].startswith("3 exposures, complete until 20")
    assert notes[1].startswith("The trail cannot know: values that readers passed on")
    assert max(map(len, [headings, *lines])) <= 110
    assert run(environment, secret_id, "--principal", "bob").exit_code == 0
    entry = stored.audit_logs.find_one({"action": "audit_exposure", "details": {"criteria": ["principal"]}})
    assert entry
    assert (entry["principal"], entry["secret_id"]) == ("operator", secret_id)


@pytest.mark.promise(3)
def test_uses_are_apart(environment: dict[str, str], tmp_path: Path, secret_id: str) -> None:
    """Who used a value through a broker is in lines of their own, certified too, and knows nothing."""
    for _ in range(2):
        record_use("agent-7", secret_id, "app/db", version=2)
    path = tmp_path / "certificate"
    for options in ((), ("--certificate", str(path))):
        done = run(environment, "app/db", *options)
        assert done.exit_code == 0
        *_, broker, headings, used = done.stdout.splitlines()
        assert broker.split()[:5] == ["app/db", "2", "gate", "broker", "2"]
        assert headings.split() == ["secret", "version", "used", "by", "host", "count", "first", "last"]
        assert used.split()[:5] == ["app/db", "2", "agent-7", "api.example.com", "2"]
        assert "3 exposures, 1 use, complete until 20" in done.stderr
    done = run(environment, "--principal", "agent-7", "--json", "-q")
    [one] = map(json.loads, done.stdout.splitlines())
    assert (one["host"], one["count"], "how" in one) == ("api.example.com", 2, False)
    assert run(environment, "--principal", "gate", "--json", "-q").stdout.count("broker") == 1


def test_pages_and_json(environment: dict[str, str], secret_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--json`, each exposure of each page is one object."""
    monkeypatch.setattr(command, "MAX_LIMIT", 1)
    for arguments in (
        ("app/db",),
        (secret_id.upper(),),
        ("--service", "shop_api", "--address", "127.0.0.1", "app/db"),
    ):
        done = run(environment, *arguments, "--json", "-q")
        assert (done.exit_code, done.stderr) == (0, "")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(one["principal"], one["version"]) for one in found][-1] == ("bob", 2)
        assert {one["secret_id"] for one in found} == {secret_id}
        assert found[-1]["last_entry"]["seq"] >= 0
    assert run(environment, "app/db", "--namespace", "other", "--json", "-q").stdout == ""


@pytest.mark.usefixtures("secret_id")
def test_an_answer_is_complete_until_its_first_page(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that arrive while further pages are read can be missing from earlier ones."""
    pages: list[ExposurePage] = []
    read = exposures.read

    def kept(*arguments: Any, **options: Any) -> ExposurePage:
        page = read(*arguments, **options)
        pages.append(replace(page, complete_until=page.complete_until + timedelta(hours=len(pages))))
        return pages[-1]

    monkeypatch.setattr(exposures, "read", kept)
    monkeypatch.setattr(command, "MAX_LIMIT", 1)
    done = run(environment, "app/db", "--stale")
    assert len(pages) == 3
    assert f"3 exposures, complete until {moment(pages[0].complete_until)}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--principal", "alcie"), "The trail has no entry of this principal"),
        (("--principal", "alcie", "--certificate", "alcie.json"), "The trail has no entry of this principal"),
        (("app/db", "--principal", "operator"), ""),
    ],
    ids=str,
)
@pytest.mark.usefixtures("secret_id")
def test_a_misspelled_question_is_noted(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    """An empty answer about an unknown principal says so: it proves nothing about the intended one."""
    monkeypatch.chdir(tmp_path)
    done = run(environment, *arguments)
    assert done.exit_code == 0
    notes = done.stderr.splitlines()
    assert notes[0].startswith("0 exposures")
    assert (len(notes), notes[1].startswith(said)) == (3 if said else 2, True)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("app/bd",), "add --stale"),
        (("app/bd", "--stale"), ""),
        (("app/bd", "--certificate", "x.json"), "add --stale"),
        ((UNKNOWN_ID,), "add --stale"),
        ((UNKNOWN_ID, "--stale"), ""),
        (("--token", "alcie"), "its name in the trail"),
        (("--token", "0" * 24), "its name in the trail"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("secret_id")
def test_a_question_about_nothing_is_refused(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, hint: str
) -> None:
    """A secret or a token that does not exist is exit code 3, as everywhere, and no empty answer."""
    monkeypatch.chdir(tmp_path)
    done = run(environment, *arguments, "--json")
    assert (done.exit_code, done.stdout) == (3, "")
    error = done.stderr.splitlines()[-1]
    assert (error.startswith("error: no "), hint in error, "Hint" in error) == (True, True, bool(hint))


def test_an_empty_answer_about_what_exists_is_one(
    app: Flask, environment: dict[str, str], stored: Stored, secret_id: str
) -> None:
    """No one knows a secret that is gone, or got anything with a token that was not used: exit code 0."""
    make_token(app, "idle", role="reader")
    assert run(environment, "--token", "idle").exit_code == 0
    assert run(environment, secret_id, "--principal", "eve").exit_code == 0
    stored.secrets.delete_many({})
    assert run(environment, secret_id, "--stale", "--principal", "eve").exit_code == 0
    assert run(environment, secret_id).exit_code == 3


@pytest.mark.promise(3)
@pytest.mark.usefixtures("secret_id")
def test_a_certificate_verifies_without_the_database(
    environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """The trail and its export prove a certificate; without its last entries, an export does not."""

    def audit(*arguments: object) -> Any:
        return CliRunner().invoke(cli.commands, ["audit", *map(str, arguments)], env=environment)

    file, trail, pem = tmp_path / "certificate", tmp_path / "trail", tmp_path / "pem"
    plain = run(environment, "app/db")
    done = run(environment, "app/db", "--certificate", str(file))
    assert (done.exit_code, done.stdout) == (0, plain.stdout)
    assert f"certified in {file}" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    pem.write_text(audit("public-key").stdout)
    assert json.loads(file.read_text())["public_key"] == pem.read_text()
    trail.write_text(audit("export").stdout)
    offline = ("--file", trail, "--public-key", pem)
    for source in ((), offline):
        done = audit("verify", "--certificate", file, *source)
        assert done.exit_code == 0
        assert done.stdout.endswith("certificate: 2 proved, 0 unproved, 0 past retention, 1 stale: intact\n")
        secret = '"secret": {"name": "app/db", "namespace": "default"}, "stale": false, "complete_until": "20'
        assert f"The certificate answers: {{{secret}" in done.stderr
    lines = trail.read_text().splitlines(keepends=True)
    trail.write_text("".join(line for line in lines if '"delivery"' not in line))
    done = audit("verify", "--certificate", file, *offline, "--json")
    assert done.exit_code == 1
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["certificate"]["unproved"] == 1
    assert result["question"]["secret"] == {"name": "app/db", "namespace": "default"}
    stored.audit_logs.delete_one({"details.delivery": {"$exists": True}})
    done = run(environment, "app/db", "--certificate", str(tmp_path / "other"))
    assert (done.exit_code, done.stdout, (tmp_path / "other").exists()) == (1, "", False)
    assert stored.audit_logs.find_one({"action": "audit_tampering"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Add SECRET, --principal, --token, --address, --service or --node."),
        (("--address", "localhost"), "must be an IP address"),
        (("--principal", "a", "--since", "never"), "must be a time"),
        (("a//b",), "must be an ID, or a name"),
    ],
    ids=str,
)
def test_invalid_questions_are_refused(arguments: tuple[str, ...], message: str) -> None:
    """A question without a criterion, or with an invalid one, is a usage error that says why."""
    done = run({}, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
