"""The life of a secret over HTTP, from its creation to its end."""

from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.lifecycle import (
    ALICE,
    CALLS,
    EVE,
    UNKNOWN_ID,
    Caller,
    b64,
    document,
    in_future,
    in_past,
    put,
    trail,
    unswept,
)
from tests.support.problems import without_id
from tests.support.rotation import Stored
from vault.common import clock
from vault.core.crypto import MasterKey


def test_all_options_together(anyone: Caller, stored: Stored) -> None:
    """A secret with every option is stored with all of them, and the reply contains only its ID."""
    anyone.become(ALICE)
    reply = anyone(
        "create",
        secret="YQ==",
        ttl_seconds=60,
        max_reads=3,
        name="billing/db-password",
        labels={"team": "billing", "env": "prod"},
    )
    assert list(reply) == ["secret_id"]
    found = document(stored, reply["secret_id"])
    assert found["labels"] == ["env=prod", "team=billing"]
    assert (found["name"], found["max_reads"]) == ("billing/db-password", 3)
    assert found["expires_at"] == found["purge_at"]
    assert in_future(seconds=30) < found["expires_at"] < in_future(seconds=61)
    assert "pending" not in found
    assert anyone.fetch(reply["secret_id"]) == "YQ=="


def test_without_options_a_document_keeps_its_original_form(anyone: Caller, stored: Stored) -> None:
    """The two original calls store what they always stored, so that older replicas can read it."""
    found = document(stored, anyone.create())
    assert set(found) == {"_id", "namespace", "version", "envelope", "key_id", "created_at"}
    assert found["envelope"][0] == 1


@pytest.mark.parametrize("seconds", [1, 315_360_000])
def test_the_limits_of_the_expiry_are_accepted(
    anyone: Caller, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """A secret with an expiry from one second to ten years is readable immediately."""
    # The clock stands still, and ahead of the one by which MongoDB removes expired secrets.
    now = in_future(hours=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert anyone.fetch(anyone.create(ttl_seconds=seconds)) == b64(b"value")


def test_the_reads_of_a_limited_secret_are_counted(anyone: Caller, stored: Stored) -> None:
    """A secret reads as often as its limit allows, whatever the version, and is then 404 for every call."""
    secret_id = anyone.create(b"one", max_reads=3)
    anyone.update(secret_id, b"two")
    assert anyone.fetch(secret_id) == b64(b"two")
    assert anyone.fetch(secret_id, version=1) == b64(b"one")
    assert anyone("describe", secret_id=secret_id)["reads_left"] == 1
    assert anyone.fetch(secret_id) == b64(b"two")
    for action, more in CALLS.items():
        assert anyone.refused(action, secret_id=secret_id, **more) == 404
    found = document(stored, secret_id)
    assert (found["reads"], found["max_reads"]) == (3, 3)
    assert in_future(seconds=30) < found["purge_at"] < in_future(seconds=61)


def test_a_used_up_secret_is_removed_no_later_than_its_expiry(anyone: Caller, stored: Stored) -> None:
    """After its last read, a secret is kept briefly, but never beyond its expiry."""
    secret_id = anyone.create(max_reads=1, ttl_seconds=50)
    anyone.fetch(secret_id)
    found = document(stored, secret_id)
    assert found["purge_at"] == found["expires_at"]


def test_a_read_of_a_missing_version_is_not_counted(anyone: Caller, stored: Stored) -> None:
    """A version that does not exist is 404 and costs no read."""
    secret_id = anyone.create(max_reads=1)
    assert anyone.refused("fetch", secret_id=secret_id, version=7) == 404
    assert "reads" not in document(stored, secret_id)


def test_versions_stay_readable_by_their_number(anyone: Caller, stored: Stored) -> None:
    """An update adds a version; earlier ones read by number, and the newest reads by default."""
    secret_id = anyone.create(b"1", ttl_seconds=3_600, max_reads=100)
    before = document(stored, secret_id)
    for version in (2, 3, 4):
        reply = anyone("update", secret_id=secret_id, secret=b64(str(version).encode()))
        assert reply == {"secret_id": secret_id, "version": version}
    for version in (1, 2, 3, 4):
        assert anyone.fetch(secret_id, version=version) == b64(str(version).encode())
    assert anyone.fetch(secret_id) == b64(b"4")
    after = document(stored, secret_id)
    for name in ("namespace", "created_at", "expires_at", "max_reads", "purge_at"):
        assert after[name] == before[name]
    # Each version has its own key, so no two envelopes share a nonce either.
    assert [older["version"] for older in after["older"]] == [1, 2, 3]


@pytest.mark.parametrize("most", [1, 3])
def test_only_the_newest_versions_are_kept(environment: dict[str, str], stored: Stored, most: int) -> None:
    """A secret keeps as many versions as the setting says; older ones are removed from the database."""
    with (
        running_app({**environment, "MAX_VERSIONS": str(most)}) as app,
        pytest.MonkeyPatch.context() as patch,
    ):
        caller = Caller(app.test_client(), patch)
        secret_id = caller.create(b"1")
        caller.update(secret_id, *(str(version).encode() for version in range(2, 8)))
        kept = range(8 - most, 8)
        described = caller("describe", secret_id=secret_id)
        assert [version["version"] for version in described["versions"]] == list(reversed(kept))
        for version in range(1, 8):
            if version in kept:
                assert caller.fetch(secret_id, version=version) == b64(str(version).encode())
            else:
                assert caller.refused("fetch", secret_id=secret_id, version=version) == 404
        assert len(document(stored, secret_id)["older"]) == most - 1


def test_a_lower_limit_of_versions_takes_effect_with_the_next_update(
    anyone: Caller, environment: dict[str, str], stored: Stored
) -> None:
    """After the limit is lowered, the next update removes all versions beyond it."""
    secret_id = anyone.create(b"1")
    anyone.update(secret_id, *(b"more" for _ in range(8)))
    with running_app({**environment, "MAX_VERSIONS": "2"}) as app, pytest.MonkeyPatch.context() as patch:
        Caller(app.test_client(), patch).update(secret_id, b"10")
    assert [older["version"] for older in document(stored, secret_id)["older"]] == [9]


def test_an_update_with_another_expected_version_is_refused(anyone: Caller, stored: Stored) -> None:
    """With `expected_version`, an update of any other version is refused and changes nothing."""
    secret_id = anyone.create(b"one")
    for expected, status in ((2, 409), (2**31 - 1, 409), (1, 200), (1, 409), (2, 200)):
        before = document(stored, secret_id)
        body = {"secret_id": secret_id, "secret": "YQ==", "expected_version": expected}
        assert anyone.post("update", body).status_code == status
        assert (document(stored, secret_id) == before) == (status == 409)
    assert document(stored, secret_id)["version"] == 3


def test_the_largest_of_everything_fits_into_a_body(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest secret with the longest name and labels, in JSON's longest form, fits into a body."""
    name, labels = "ü" * 256, {f"{number:02}" + "ü" * 63: "\U0001f600" * 128 for number in range(64)}
    with running_app({**environment, "MAX_SECRET_BYTES": "1"}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        secret_id = caller.create(b"v", name=name, labels=labels, max_reads=1_000, ttl_seconds=315_360_000)
        described = caller("describe", secret_id=secret_id)
        assert (described["name"], described["labels"]) == (name, labels)
        assert len(caller("list", labels=labels)["secrets"]) == 1


def test_describe_returns_everything_except_the_value(anyone: Caller, stored: Stored) -> None:
    """A description contains all metadata of a secret and no value, and does not count as a read."""
    anyone.become(ALICE)
    secret_id = anyone.create(
        b"the value", name="a/b", labels={"k": "v=w", "empty": ""}, max_reads=5, ttl_seconds=60
    )
    anyone.update(secret_id, b"the value")
    described = anyone("describe", name="a/b")
    # Of a feature.
    assert described.pop("use_rules", []) == []
    found = document(stored, secret_id)
    times = {name: found[name] for name in ("created_at", "expires_at", "updated_at")}
    written = {
        name: time.isoformat(timespec="milliseconds").replace("+00:00", "Z") for name, time in times.items()
    }
    assert described == {
        "secret_id": secret_id,
        "name": "a/b",
        "labels": {"k": "v=w", "empty": ""},
        "version": 2,
        "versions": [
            {"version": 2, "created_at": written["updated_at"], "deleted_at": None},
            {"version": 1, "created_at": written["created_at"], "deleted_at": None},
        ],
        "purged_versions": [],
        "created_at": written["created_at"],
        "expires_at": written["expires_at"],
        "max_reads": 5,
        "reads_left": 5,
        "last_fetched_at": None,
        "recovery_days": 0,
    }
    anyone.fetch(secret_id)
    fetched = stored.audit_logs.find_one({"action": "fetch"})
    assert fetched is not None
    described = anyone("describe", secret_id=secret_id)
    assert described["reads_left"] == 4
    assert described["last_fetched_at"] == fetched["ts"].isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )


def test_a_refused_fetch_is_not_the_last_fetch(anyone: Caller) -> None:
    """The last fetch in a description is the last one that released the value."""
    secret_id = anyone.create()
    anyone.refused("fetch", secret_id=secret_id, version=9)
    assert anyone("describe", secret_id=secret_id)["last_fetched_at"] is None


def test_a_deleted_secret_is_removed_permanently(anyone: Caller, stored: Stored) -> None:
    """By default, a delete removes the secret with all versions from the database before it answers."""
    secret_id = anyone.create()
    anyone.update(secret_id, b"two")
    assert anyone("delete", secret_id=secret_id) == {"secret_id": secret_id, "restorable_until": None}
    assert stored.secrets.count_documents({}) == 0
    for action, more in CALLS.items():
        assert anyone.refused(action, secret_id=secret_id, **more) == 404


@pytest.mark.promise("names")
@pytest.mark.parametrize(
    ("action", "more"),
    [
        *CALLS.items(),
        *(("fetch", {"version": 9}), ("purge", {}), ("purge", {"version": 1})),
        ("update-metadata", {"ttl_seconds": 60}),
    ],
    ids=str,
)
def test_every_refusal_is_the_same_404(
    alice: Caller, stored: Stored, key: MasterKey, action: str, more: dict[str, Any]
) -> None:
    """A 404 does not reveal whether a secret never existed, is foreign, expired, deleted or used up.

    Nor does any call change, or bring back, a secret that is gone, or of which no one may know yet.
    """
    deleted = alice.create()
    alice("delete", secret_id=deleted)
    gone: list[dict[str, Any]] = [
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"name": "pending", "pending": True},
        {"deleted_at": in_past(days=8), "purge_at": in_past(seconds=1)},
        {"namespace": EVE.namespace},
        {"namespace": EVE.namespace, "deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)},
    ]
    if action != "restore" and (action, more) != ("purge", {}):
        gone.append({"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)})
    with unswept(stored):
        ids = [UNKNOWN_ID, deleted, *(put(stored, key, **fields) for fields in gone)]
        before = list(stored.secrets.find().sort("_id"))
        which = [*({"secret_id": one} for one in ids), {"name": "pending"}, {"name": "not/there"}]
        replies = [alice.post(action, {**one, **more}) for one in which]
        assert list(stored.secrets.find().sort("_id")) == before
    assert {reply.status_code for reply in replies} == {404}
    assert {without_id(reply) for reply in replies} == {without_id(replies[0])}
    names = sorted(set(replies[0].headers.keys()) - {"X-Request-ID"})
    assert len({tuple(reply.headers[name] for name in names) for reply in replies}) == 1


@pytest.mark.parametrize("action", CALLS)
def test_an_id_works_in_either_case_everywhere(anyone: Caller, stored: Stored, action: str) -> None:
    """An upper-case ID names the same secret in every call, and the trail has it in lower case."""
    secret_id = anyone.create()
    if action == "restore":
        fields = {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
        stored.secrets.update_one({"_id": secret_id}, {"$set": fields})
    anyone(action, secret_id=secret_id.upper(), **CALLS[action])
    assert trail(stored)[-1]["secret_id"] == secret_id
