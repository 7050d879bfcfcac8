"""The operators' commands for webhooks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.features.webhooks.receiver import receiver
from tests.support.commands import Done, invoke
from tests.support.rotation import Stored, new_key, settings

Run = Callable[..., Done]


@pytest.fixture
def run(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the function that runs a command, with time for a receiver on a busy machine."""
    monkeypatch.setattr("vault.features.webhooks.endpoint.TIMEOUT_SECONDS", 60)
    environment = settings(mongo_uri, new_key()) | {"WEBHOOK_NETWORKS": "127.0.0.0/8"}

    def command(*arguments: str) -> Done:
        return invoke("webhooks", *arguments, environment=environment, folder=tmp_path)

    return command


def good(done: Done) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_webhook_is_created_tested_replayed_and_deleted(run: Run, stored: Stored) -> None:
    """Operators manage webhooks of every namespace; the secret is printed once."""
    with receiver() as hook:
        options = ("--event", "secret.updated", "--path", "billing/", "--namespace", "team-a")
        created, secret = good(run("create", hook.url, *options)).splitlines()
        webhook_id, hook.secret = created.removeprefix("created: "), secret.removeprefix("secret: ")
        assert good(run("test", webhook_id)) == f"delivered: {webhook_id}\n"
        hook.answer = lambda _: 500
        failed = run("test", webhook_id)
        assert (failed.returncode, failed.stdout) == (1, "not delivered: it answers with status 500\n")
    [found] = [json.loads(line) for line in good(run("list", "--json")).splitlines()]
    assert (found["namespace"], found["paths"], found["state"]) == ("team-a", ["billing/"], "active")
    shown = good(run("list"))
    assert webhook_id in shown
    assert hook.secret not in shown
    assert json.loads(good(run("replay", webhook_id, "--from", "12h", "--json")))["webhook_id"] == webhook_id
    assert stored.webhooks.find_one({})["progress"]["since"]
    assert good(run("delete", webhook_id)) == f"deleted: {webhook_id}\n"
    missing = run("delete", webhook_id)
    assert missing.returncode == 3
    assert "secret-manager webhooks list" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("create", "ftp://a.example/", "--event", "secret.updated"), "https://"),
        (("create", "https://a.example/", "--event", "secret.read"), "secret.updated"),
        (("delete", "x"), "16 hexadecimal digits"),
        (("replay", "0" * 16, "--from", "soon"), "2026-11-24"),
    ],
    ids=["url", "event", "id", "time"],
)
def test_invalid_arguments_are_refused(run: Run, arguments: tuple[str, ...], text: str) -> None:
    """An invalid argument is refused with the form that it must have."""
    refused = run(*arguments)
    assert refused.returncode == 2
    assert text in refused.stderr


def test_an_internal_address_is_refused(run: Run) -> None:
    """An address that is not allowed is refused, with the setting that allows it."""
    refused = run("create", "https://10.0.0.1/", "--event", "secret.updated")
    assert refused.returncode == 1
    assert "WEBHOOK_NETWORKS" in refused.stderr
