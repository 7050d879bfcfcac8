"""Former passwords, with a source in this process: they close once no one can hold them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.access import services
from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.documents import Secret
from vault.core.documents.lease import Lease
from vault.core.principal import ROLES, Principal
from vault.features.rotation import holders
from vault.features.rotation.documents import Rotation
from vault.features.rotation.errors import RotationFailedError
from vault.features.rotation.run import Run
from vault.features.rotation.sources.errors import SourceRefusedError

A, B = USERS


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def planned(world: World, fake: Fake) -> World:
    """Return an application with a plan, whose former passwords stay open for a day."""
    assert fake.passwords
    world.plan("command", "/bin/program")
    return world


@pytest.fixture
def put_clock_ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that puts MongoDB's clock, as runs see it, ahead by a number of minutes."""
    take = Lease._take

    def put_ahead(minutes: int) -> None:
        def later(lease: Lease, *arguments: Any, **options: Any) -> bool:
            is_taken = take(lease, *arguments, **options)
            lease.taken_at += timedelta(minutes=minutes)
            return is_taken

        monkeypatch.setattr(Lease, "_take", later)

    return put_ahead


def end_grace_period(world: World) -> None:
    """End the grace period, and make the runner act."""
    world.change(close_at=datetime.now(UTC))
    world.act()


@pytest.mark.parametrize("value", ["x", [1], 1e300, 2**62, None])
def test_an_altered_plan_does_not_stop_others(world: World, fake: Fake, value: Any) -> None:
    """A period of another type or size, which only an attacker stores, has no effect on other plans."""
    world.plan("command", "/bin/program")
    world.store("db2", json.dumps({"username": "other_a", "password": fake.passwords[A]}))
    world.create(kind="command", name="db2", users=("other_a", "other_b"))
    Rotation.raw().update_one({"_id": "default/db2"}, {"$set": {"every_seconds": value}})
    world.act()
    assert world.show().version == 2
    assert world.show("db2").state == "altered"


def test_a_drifted_password_leaves_the_former_one_open(planned: World, fake: Fake) -> None:
    """If the published password does not open the source, the only one that does is not closed."""
    planned.run()
    published = fake.passwords[B]
    fake.passwords[B] = "by hand"
    end_grace_period(planned)
    assert (planned.show().state, planned.show().open_user) == ("drifted", A)
    assert fake.passwords[A] == FIRST_PASSWORD
    fake.passwords[B] = published
    assert planned.act().step is None
    assert fake.passwords[A] != FIRST_PASSWORD


def test_a_value_that_is_stored_again_keeps_its_holders(
    planned: World, put_clock_ahead: Callable[[int], None]
) -> None:
    """Those who read the former password before the rotation that someone undid still hold it."""
    value = planned.fetch_as(7)
    put_clock_ahead(30)
    planned.run()
    planned.write("db", json.dumps(value))
    end_grace_period(planned)
    end_grace_period(planned)
    put_clock_ahead(60)
    planned.run()
    assert "app-7" in planned.act().holders


def test_readers_before_the_record_of_a_publication_are_holders(
    planned: World, put_clock_ahead: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process ends after it has published, and the next one puts that on record much later."""

    def kill(_run: Run) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_finish", kill)
        with pytest.raises(Killed):
            planned.runner.run_now("default/db", "alice")
    # A killed process keeps its lease on the secret for 30 s.
    Secret.raw().update_many({}, {"$unset": {"lease": ""}})
    planned.fetch_as(7)
    put_clock_ahead(30)
    planned.runner.act()
    end_grace_period(planned)
    assert planned.show().step is None
    put_clock_ahead(60)
    planned.run()
    assert "app-7" in planned.act().holders


def test_a_search_that_takes_too_long_finds_unknown_holders(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many reads, the former password still ends with the grace period; drivers get a refusal."""
    planned.run()
    monkeypatch.setattr(holders, "MAX_SEARCH_SECONDS", 1e-6)
    plan = planned.act()
    assert (plan.state, plan.holders) == ("published", ("(unknown)",))
    assert plan.next_at
    assert plan.next_at > datetime.now(UTC)
    driver = Principal(name="driver", scopes=ROLES["driver"])
    with pytest.raises(StorageUnavailableError):
        planned.rotations.tasks.waiting(attempt=Attempt(action=Action.ROTATION_WAITING, principal=driver))
    end_grace_period(planned)
    assert planned.show().step is None
    assert fake.passwords[A] != FIRST_PASSWORD
    assert planned.entries(Action.ROTATION_STEP)[-1]["holders"] == ["(unknown)"]


def test_without_a_trail_holders_are_unknown(environment: dict[str, str], fake: Fake) -> None:
    """Without entries, everyone may still use the former password until the grace period ends.

    What a run before this one has published is unknown as well, and it is continued.
    """

    def refuse(name: str) -> None:
        if name == "set":
            raise SourceRefusedError("refused")

    with rotation_app(environment, AUDIT_ENABLED="false") as app:
        services(app).startup.attempt()
        world = World(app)
        world.plan("command", "/bin/program")
        fake.hook = refuse
        with pytest.raises(RotationFailedError, match="at the step set"):
            world.run()
        fake.hook = lambda _: None
        assert world.run() == 2
        plan = world.act()
        assert (plan.state, plan.holders) == ("published", ("(unknown)",))
        assert fake.passwords[A] == FIRST_PASSWORD
        end_grace_period(world)
        assert world.show().step is None


def test_a_retention_shorter_than_a_period_hides_holders(
    environment: dict[str, str], fake: Fake, put_clock_ahead: Callable[[int], None]
) -> None:
    """Entries of readers may be gone, if reads since the publication of the former value are too old."""
    assert fake.passwords
    with rotation_app(environment, AUDIT_TTL_DAYS="1") as app:
        services(app).startup.attempt()
        world = World(app)
        world.plan("command", "/bin/program", grace_seconds=10 * 86_400)
        world.run()
        assert world.act().holders == ("operator", "(unknown)")
        end_grace_period(world)
        world.run()
        assert world.act().holders == ("operator",)
        put_clock_ahead(2 * 24 * 60)
        assert world.act().holders == ("operator", "(unknown)")


@pytest.mark.parametrize("action", [Action.AUDIT_DISABLED, Action.AUDIT_ENABLED, Action.BACKUP_RESTORE])
def test_a_gap_in_the_trail_hides_holders(planned: World, action: Action) -> None:
    """No entry says who read the former value while auditing was off, or after a backup that was restored."""
    planned.run()
    assert planned.act().holders == ("operator",)
    planned.attempt(action).finish(Status.SUCCESS)
    assert planned.act().holders == ("operator", "(unknown)")
