"""Rotation plans in the console."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.console.person import links
from tests.features.rotation.conftest import World
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.console import SignIn, create
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.common.errors import StorageUnavailableError
from vault.core.attempt import Action
from vault.features.rotation import run
from vault.features.rotation.documents import Rotation
from vault.features.rotation.sources.errors import SourceRefusedError

VALUE = json.dumps({"username": USERS[0], "password": FIRST_PASSWORD}).encode()
PLAN = {
    "name": "shop/db",
    "kind": "command",
    "admin": "shop/admin",
    "first_user": USERS[0],
    "second_user": USERS[1],
    "days": 7,
    "hours": 2,
}
#: Has all that a plan needs, and reads no trail.
DBA = ("rotation:manage", "secret:fetch", "secret:update", "secret:describe", "secret:list")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace all sources by one in this process."""
    found = Fake()
    found.passwords = dict.fromkeys(USERS, FIRST_PASSWORD)
    monkeypatch.setattr(run, "open_source", lambda *_, **__: found)
    return found


@pytest.fixture
def world(app: Flask, fake: Fake) -> World:  # noqa: ARG001 - replaces the source
    """Return the application with the secrets of a plan."""
    create(app, "shop/db", VALUE)
    create(app, "shop/admin", b"/bin/program")
    return World(app)


def described(page: Any) -> str:
    """Return the texts of a page in one line."""
    return " ".join(page.text.split())


def test_a_plan_is_created_run_paused_and_deleted(
    world: World, fake: Fake, stored: Stored, signed_in: SignIn
) -> None:
    """A person makes a plan and runs it; the pages show its state, those it waits for, and its runs."""
    person = signed_in()
    assert "Rotate its password" in person.get("secret", name="shop/db").text
    assert 'value="shop/db"' in person.get("rotations", name="shop/db").text
    assert "call me" not in person.get("rotations", name="call me\u202e").text
    reply = person.send("rotations/create", **PLAN)
    assert reply.json == {"message": "Created.", "location": "/console/rotation?name=shop/db"}
    page = described(person.get("rotation", name="shop/db"))
    for text in (
        "waiting",
        "Next run",
        "7d; a former password ends after 2h",
        USERS[1],
        "shop/admin",
        "No runs.",
    ):
        assert text in page
    person.reveal(str(stored.secrets.find_one({"name": "shop/db"})["_id"]))  # type: ignore[index]
    stored.audit_logs.delete_many({"action": {"$ne": "fetch"}})
    ran = person.submit("rotations/run", name="shop/db")
    assert ran.headers["Location"] == "/console/rotation?name=shop/db"
    value = world.fetch("shop/db")
    assert (value["username"], fake.passwords[USERS[1]]) == (USERS[1], value["password"])
    world.change("shop/db", next_at=datetime.now(UTC) - timedelta(days=1))
    world.runner.act()
    page = described(person.get("rotation", name="shop/db"))
    for text in ("published", f"the former password of <bdi>{USERS[0]}", "<bdi>alice</bdi>", "rotation_done"):
        assert text in page
    assert "Run now" not in page
    assert "1 holder<" in described(person.get("rotations"))
    assert person.submit("rotations/run", name="shop/db").status_code == 409
    secret = described(person.get("secret", name="shop/db"))
    for text in ("Rotation", "published", "Waits for", "Plan and runs"):
        assert text in secret
    for shown in (page, secret):
        assert value["password"] not in shown
        assert FIRST_PASSWORD not in shown
    person.submit("rotations/pause", name="shop/db")
    world.change("shop/db", step=None)
    page = described(person.get("rotation", name="shop/db"))
    assert "when someone runs it" in page
    assert ">Pause<" not in page
    deleted = person.submit("rotations/delete", name="shop/db")
    assert deleted.headers["Location"] == "/console/rotations"
    assert "No plans." in person.get("rotations").text
    assert person.get("rotation", name="shop/db").status_code == 404
    entries = [(entry["action"], entry["details"].get("via")) for entry in trail(stored)]
    for action in (Action.ROTATION_RUN, Action.ROTATION_PAUSE, Action.ROTATION_DELETE, Action.ROTATION_SHOW):
        assert (action, "console") in entries


@pytest.mark.usefixtures("world")
def test_a_failure_is_shown_with_its_remedy(fake: Fake, signed_in: SignIn) -> None:
    """The page of a failed run says why; those of the plan and of the secret also say what to do."""
    person = signed_in()
    person.send("rotations/create", **PLAN)

    def fail(name: str) -> None:
        if name == "set":
            raise SourceRefusedError("the server does not have the user")

    fake.hook = fail
    refused = person.submit("rotations/run", name="shop/db")
    assert (refused.status_code, "does not have the user" in refused.text) == (424, True)
    for page in (person.get("rotation", name="shop/db"), person.get("secret", name="shop/db")):
        for text in ("failing", "the server does not have the user", "Create both users."):
            assert text in page.text
    assert "step: set" in person.get("rotation", name="shop/db").text


def test_plans_that_need_a_person_come_first(world: World, stored: Stored, signed_in: SignIn) -> None:
    """Altered, drifting and failing plans precede those that wait, and those the ones that are paused."""
    person = signed_in("dba", scopes=DBA)
    now = datetime.now(UTC)
    changes: dict[str, dict[str, Any]] = {
        "late": {"next_at": now + timedelta(days=2)},
        "soon": {"next_at": now + timedelta(days=1)},
        "failing": {"failures": 1, "error": "no"},
        "paused": {"is_paused": True},
        "drifted": {"has_drifted": True, "error": "someone has changed it there"},
        "altered": {},
    }
    for name, change in changes.items():
        create(world.app, f"shop/{name}", VALUE.replace(b"app_a", name.encode()))
        users = {"first_user": name, "second_user": f"{name}_b"}
        assert person.send("rotations/create", **{**PLAN, **users, "name": f"shop/{name}"}).status_code == 200
        world.change(f"shop/{name}", **change)
    stored.rotations.update_one({"_id": "default/shop/altered"}, {"$set": {"every_seconds": 1}})
    shown = [link.partition("rotation?name=shop/")[2] for link in links(person.get("rotations"))]
    assert [name for name in shown if name] == ["altered", "drifted", "failing", "soon", "late", "paused"]
    page = person.get("rotation", name="shop/altered").text
    for text in ("Run now", ">Pause<", "Runs"):
        assert text not in page
    assert "Someone changed the plan in MongoDB" in page
    assert "Store the right password" in person.get("secret", name="shop/drifted").text


@pytest.mark.usefixtures("world")
def test_people_do_what_their_scopes_allow(signed_in: SignIn) -> None:
    """Without a scope there is no button for it, and its operation is refused; paths and namespaces hold."""
    signed_in().send("rotations/create", **PLAN)
    manager = signed_in("manager", scopes=("rotation:manage",))
    page = manager.get("rotation", name="shop/db").text
    for text in ("Run now", "New plan", "Runs", "/console/secret?"):
        assert text not in page + manager.get("rotations").text
    assert manager.submit("rotations/run", name="shop/db").status_code == 403
    assert manager.send("rotations/create", **PLAN).status_code == 403
    assert ">Pause<" in page
    describer = signed_in("describer", scopes=("secret:describe",))
    secret = describer.get("secret", name="shop/db").text
    assert "otation" not in secret
    assert describer.get("rotation", name="shop/db").status_code == 403
    limited = signed_in("limited", scopes=DBA, paths=("other/",))
    foreign = signed_in("foreign", role="admin", namespace="team")
    for person in (limited, foreign):
        assert "shop" not in person.get("rotations").text
        for reply in (
            person.get("rotation", name="shop/db"),
            person.submit("rotations/run", name="shop/db"),
            person.submit("rotations/pause", name="shop/db"),
            person.submit("rotations/delete", name="shop/db"),
        ):
            assert reply.status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a//b"},
        {"kind": "oracle"},
        {"admin": ""},
        {"first_user": ""},
        {"second_user": "a\nb"},
        {"days": 0},
        {"hours": 0},
        {"form": "other"},
    ],
)
def test_a_plan_with_invalid_fields_is_refused(signed_in: SignIn, fields: dict[str, object]) -> None:
    """A refusal names the field; pages and actions refuse names that no secret can have."""
    person = signed_in()
    reply = person.send("rotations/create", **PLAN | fields)
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json["errors"]] == [*fields]
    assert person.get("rotation", name="a//b").status_code == 400
    assert person.submit("rotations/run").status_code == 400


@pytest.mark.usefixtures("world")
def test_without_plans_the_page_of_a_secret_stays(signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """If plans cannot be read, the page of a secret says so, and offers no plan: there may be one."""
    person = signed_in()

    def fail(_plan_id: str) -> None:
        raise StorageUnavailableError("no")

    monkeypatch.setattr(Rotation, "with_id", fail)
    page = person.get("secret", name="shop/db")
    assert "Its rotation plan cannot be read" in page.text
    assert "Rotate its password" not in page.text


def test_the_plan_of_an_earlier_secret_is_not_shown_as_that_of_the_secret(
    world: World, stored: Stored, signed_in: SignIn
) -> None:
    """A plan stays with a purged secret: the page of another one of its name says that, and what to do."""
    person = signed_in()
    person.send("rotations/create", **PLAN)
    assert "Plan and runs" in person.get("secret", name="shop/db").text
    stored.secrets.delete_one({"name": "shop/db"})
    create(world.app, "shop/db", VALUE)
    page = described(person.get("secret", name="shop/db"))
    assert "of this name is for an earlier secret" in page
    for text in ("Plan and runs", "Next run", "Rotate its password"):
        assert text not in page
