"""The operators' commands for rotation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.access import services
from tests.support.commands import Done, invoke
from tests.support.rotation import new_key, settings
from vault.features.rotation import run as runs

Run = Callable[..., Done]


@pytest.fixture
def run(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the function that runs a command; the secrets of a plan exist."""
    environment = settings(mongo_uri, new_key())
    with rotation_app(environment) as app:
        services(app).startup.attempt()
        world = World(app)
        world.store("db", json.dumps({"username": USERS[0], "password": FIRST_PASSWORD}))
        world.store("db-admin", "/bin/program")
    fake = Fake()
    fake.passwords = dict.fromkeys(USERS, FIRST_PASSWORD)
    monkeypatch.setattr(runs, "open_source", lambda *_, **__: fake)

    def command(*arguments: str) -> Done:
        return invoke("rotation", *arguments, environment=environment, folder=tmp_path)

    return command


def good(done: Done) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_plan_is_created_run_shown_paused_and_deleted(run: Run) -> None:
    """Operators manage plans of every namespace; `run` waits for the publication."""
    users = ("--user", USERS[0], "--user", USERS[1])
    new = ("db", "--kind", "command", "--admin", "db-admin", *users, "--every", "30d", "--grace", "1h")
    assert good(run("create", *new)).startswith("created: db\n")
    assert good(run("run", "db")) == "published: version 2 of db\n"
    shown = json.loads(good(run("show", "db", "--json")))
    assert (shown["every_seconds"], shown["grace_seconds"], shown["open_user"]) == (
        2_592_000,
        3_600,
        USERS[0],
    )
    assert f"users: {USERS[0]}, {USERS[1]}" in good(run("show", "db"))
    assert "published" in good(run("list"))
    assert good(run("pause", "db")) == "paused: db\n"
    again = run("run", "db")
    assert again.returncode == 1
    assert "still open" in again.stderr
    assert good(run("delete", "db")) == "deleted: db\n"
    missing = run("delete", "db", "--namespace", "team-a")
    assert missing.returncode == 3
    assert "secret-manager rotation list" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("show", "/"), "the name of a secret"),
        (
            ("create", "db", "--kind", "command", "--admin", "a", "--user", "\u202e", "--every", "1d"),
            "a user",
        ),
        (("create", "db", "--kind", "oracle"), "postgresql"),
    ],
)
def test_an_invalid_argument_is_refused(
    arguments: tuple[str, ...], text: str, mongo_uri: str, tmp_path: Path
) -> None:
    """Before anything is done, with the form."""
    done = invoke("rotation", *arguments, environment=settings(mongo_uri, new_key()), folder=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
