"""Exposure: who has got which value, by the entries of the trail."""

import random
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.features.exposure.exposure_model import SERVICES, Model, facts, used
from tests.support.access import services
from tests.support.dialect import DialectClient
from tests.support.features import requires, tables
from tests.support.lifecycle import BOB, EVE, Caller
from tests.support.rotation import Stored
from vault.common.errors import InvalidCursorError, StorageUnavailableError
from vault.common.paths import Paths
from vault.core.documents.guard import storage_errors
from vault.core.documents.indexes import PRINCIPAL_INDEX
from vault.core.principal import OPERATOR, Principal, Scope
from vault.features.exposure import exposure, lookup
from vault.features.exposure.knowledge import Exposure, Question, Use


def pages(
    caller: Principal = OPERATOR, *, limit: int = 1_000, **question: Any
) -> Iterator[exposure.ExposurePage]:
    """Yield all pages."""
    cursor = None
    while True:
        page = exposure.read(Question(**question), caller, cursor=cursor, limit=limit)
        assert len(page.exposures) <= limit
        assert len({(one.secret_id, one.version, one.principal) for one in page.uses}) <= limit
        yield page
        cursor = page.cursor
        if cursor is None:
            assert page.progress == 1
            return


def found(caller: Principal = OPERATOR, **asked: Any) -> Iterator[Exposure]:
    """Yield the exposures of all pages."""
    for page in pages(caller, **asked):
        yield from page.exposures


def uses(caller: Principal = OPERATOR, **asked: Any) -> Iterator[Use]:
    """Yield the uses of all pages."""
    for page in pages(caller, **asked):
        yield from page.uses


def rows(caller: Principal = OPERATOR, **question: Any) -> list[tuple[str | None, int, str]]:
    """Return the name, version and principal of each exposure, in the order of the names."""
    exposures = found(caller, **question)
    return sorted((one.name or "", one.version, one.principal) for one in exposures)


def require_answers(model: Model) -> None:
    """Assert that all answers equal those of *model*."""
    for stale in (False, True):
        expected, expected_uses = model.expected(stale=stale), model.expected_uses(stale=stale)
        for who in (*model.principals, "anonymous", "powerless", "none"):
            answers = facts(found(principal=who, stale=stale, limit=7))
            assert answers == {fact: how for fact, how in expected.items() if fact[0] == who}, who
            answered = used(uses(principal=who, stale=stale, limit=7))
            assert answered == {use: count for use, count in expected_uses.items() if use[0] == who}, who
        for secret_id in model.current:
            answers = facts(found(secret_id=secret_id, stale=stale, limit=3))
            assert answers == {fact: how for fact, how in expected.items() if fact[1] == secret_id}
            answered = used(uses(secret_id=secret_id, stale=stale, limit=3))
            assert answered == {use: count for use, count in expected_uses.items() if use[1] == secret_id}
        assert facts(found(address="127.0.0.1", stale=stale)) == expected
        assert used(uses(address="127.0.0.1", stale=stale)) == expected_uses
    delivered = {fact for service in SERVICES for fact in facts(found(service=service))}
    assert delivered == {fact for fact, (how, *_) in model.expected().items() if "delivery" in how}


@requires("dialect")
def test_answers_equal_those_of_a_model(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """By principal, secret, address and service: none is missing, and none is too many, on any page."""
    model = Model(app, count=5, secret_count=12, seed=1)
    model.run(150)
    require_answers(model)
    # As with many entries: pages end early.
    for name, value in (("STEP_ENTRIES", 3), ("MAX_STEPS", 2), ("SECRETS_AT_ONCE", 2), ("MAX_ENTRIES", 5)):
        monkeypatch.setattr(exposure, f"_{name}", value)
    for module in (exposure, lookup):
        monkeypatch.setattr(module, "_MAX_SECRETS", 4)
    require_answers(model)


@requires("dialect")
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5))
def test_answers_equal_those_of_a_large_model(app: Flask, seed: int) -> None:
    """As the shorter test, with 50 principals and 100 secrets."""
    model = Model(app, count=50, secret_count=100, seed=seed)
    model.run(5_000)
    require_answers(model)


def test_who_gets_a_value_from_a_feature_knows_it(app: Flask) -> None:
    """The one who stores or opens it is named, not the one who lets them."""
    for release in tables("release"):
        for name, known in release(app).items():
            assert {(one.principal, *one.how) for one in found(secret_name=name)} == known, name


def test_what_a_feature_wraps_is_its_maker_s(app: Flask) -> None:
    """A wrapped reply that no one has taken is found by the trail as that of who had it wrapped."""
    for wrap in tables("wrap"):
        accessor = wrap(app, OPERATOR)
        with storage_errors():
            assert lookup.wrapped_by({OPERATOR.name}, [accessor]) == {accessor: OPERATOR.name}
            assert lookup.wrapped_by({"alice"}, [accessor]) == {}


def test_a_name_is_that_of_the_current_secret(alice: Caller) -> None:
    """Only with `stale`, the secrets that had the name before are included; other namespaces never are."""
    first = alice.create(name="app/db")
    alice("delete", name="app/db")
    alice.create(name="app/db")
    alice.become(EVE).create(name="app/db")
    assert rows(secret_name="app/db") == [("app/db", 1, "alice")]
    assert rows(secret_name="app/db", namespace="elsewhere") == [("app/db", 1, "eve")]
    stale = [*found(secret_name="app/db", stale=True, limit=1)]
    assert sorted((one.secret_id == first, one.is_current) for one in stale) == [(False, True), (True, False)]
    assert rows(secret_name="none", stale=True) == rows(secret_id=str(UUID(int=0))) == []


@pytest.mark.promise("names")
def test_a_principal_with_paths_sees_only_those(alice: Caller) -> None:
    """Within its paths and its namespace, it gets every exposure, also by unwrapping, and no other."""
    alice.create(name="billing/db")
    other = alice.create(name="other")
    alice.create()
    alice.become(EVE).create(name="billing/db")
    limited = Principal(name="auditor", scopes=frozenset(Scope), paths=Paths.of(["billing/"]))
    assert rows(limited, principal="alice") == [("billing/db", 1, "alice")]
    assert rows(limited, secret_id=other) == rows(limited, principal="eve") == []
    assert rows(principal="eve") == [("billing/db", 1, "eve")]


@requires("dialect")
def test_a_token_is_known_by_its_name_and_its_accessor(app: Flask, client: FlaskClient) -> None:
    """Both lead to what its holder knows; unknown ones are known to know nothing."""
    vault = DialectClient.of(app, "ci", role="admin", namespace="team")
    vault("POST", "secret/data/db", {"data": {"a": 1}})
    accessor = vault("GET", "auth/token/lookup-self")["data"]["accessor"]
    for token in ("team/ci", accessor):
        assert rows(token=token) == [("db", 1, "team/ci")]
    assert rows(token="none") == rows(token="0" * 24) == []
    assert client


def test_all_criteria_count(alice: Caller) -> None:
    """A principal and a token together are what both say: another token's principal knows nothing."""
    alice.create(name="app/db")
    assert rows(principal="alice", token="alice") == [("app/db", 1, "alice")]
    assert rows(principal="alice", token="bob") == rows(principal="bob", token="alice") == []


@requires("dialect")
def test_a_secret_whose_create_has_expired_is_found(app: Flask, stored: Stored) -> None:
    """By an address, a wrapped read is enough to find who unwrapped, without an entry of the write."""
    vault = DialectClient.of(app, "ci", role="admin")
    vault("POST", "secret/data/app/db", {"data": {"a": 1}})
    stored.audit_logs.delete_many({"action": {"$in": ["create", "update"]}})
    token = vault("GET", "secret/data/app/db", X_Vault_Wrap_TTL="60")["wrap_info"]["token"]
    vault("POST", "sys/wrapping/unwrap", {"token": token})
    assert rows(address="127.0.0.1") == [("app/db", 1, "ci")]


@pytest.mark.promise(3)
def test_many_services_hide_nothing(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that names any number of services cannot make an answer too large."""
    monkeypatch.setattr(exposure, "MAX_SERVICES", 2)
    secret_id = alice.create(name="app/db")
    alice.fetch(secret_id)
    for service in ("c", "a", "b", "a"):
        alice("fetch", secret_id=secret_id, delivery={"service": service, "task_id": "task"})
    [one] = found(secret_id=secret_id)
    assert (one.how, one.services, one.count) == (["delivery", "fetch", "write"], ["a", "b"], 6)


@pytest.mark.promise("names")
@pytest.mark.parametrize("bounds", [{"STEP_ENTRIES": 2, "MAX_STEPS": 2}, {"MAX_ENTRIES": 0}], ids=str)
def test_a_cursor_shows_no_other_secret(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int]
) -> None:
    """An ID can be the right to read, so cursors have no ID of a secret outside the caller's paths."""
    for name, value in bounds.items():
        monkeypatch.setattr(exposure, f"_{name}", value)
    others = [alice.create(name=f"other/{number}") for number in range(12)]
    mine = [alice.create(name=f"billing/{number}") for number in range(2)]
    limited = Principal(name="auditor", scopes=frozenset(Scope), paths=Paths.of(["billing/"]))
    cursor, shown, seen = None, [], ""
    while not seen or cursor:
        page = exposure.read(Question(principal="alice"), limited, cursor=cursor, limit=9)
        cursor = page.cursor
        shown += [one.secret_id for one in page.exposures]
        seen += urlsafe_b64decode(cursor or "").decode() + "."
    assert shown == sorted(mine)
    assert not [one for one in others if one in seen]


def test_since_leaves_out_earlier_entries(alice: Caller) -> None:
    """`since` counts only entries from then on."""
    secret_id = alice.create(name="app/db")
    [written] = found(secret_id=secret_id)
    alice.become(BOB).fetch(secret_id)
    later = written.last_at + timedelta(milliseconds=1)
    assert rows(secret_id=secret_id, since=written.first_at) == [("app/db", 1, "alice"), ("app/db", 1, "bob")]
    assert rows(secret_id=secret_id, since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert {one.principal for one in found(secret_id=secret_id, since=later)} <= {"bob"}


def test_an_import_is_known_to_its_operator(app: Flask, stored: Stored, alice: Caller) -> None:
    """The operator of an import has got all of its versions."""
    secret_id = alice.create(name="app/db")
    imported = {"$set": {"principal": "operator", "details.versions": [1, 2], "details.imported_from": "v"}}
    stored.audit_logs.update_one({"action": "create"}, imported)
    assert rows(principal="operator") == [("app/db", 1, "operator")]
    assert rows(secret_id=secret_id, stale=True) == [("app/db", 1, "operator"), ("app/db", 2, "operator")]
    assert services(app)


@pytest.mark.parametrize(
    "change",
    [
        {"details": [{"name": "a"}]},
        {"details": {"version": "1"}},
        {"details": {"versions": [{"a": 1}, "b"]}},
        {"details.name": ["app/db"], "details.delivery": {"service": ["x"]}},
        {"ts": [datetime(2026, 11, 1, tzinfo=UTC)]},
        {"seq": "1"},
        {"hash": 5, "stream": None},
        {"secret_id": ["x", "{}"]},
        {"principal": ["bob"]},
        {"principal": None},
    ],
    ids=str,
)
def test_an_altered_entry_hides_no_other(alice: Caller, stored: Stored, change: dict[str, Any]) -> None:
    """An attacker who stores other types in an entry changes no answer about other entries."""
    secret_id = alice.create(name="app/db")
    alice.become(BOB).fetch(secret_id)
    if isinstance(change.get("secret_id"), list):
        change = {"secret_id": ["x", secret_id]}
    stored.audit_logs.update_one({"principal": "bob"}, {"$set": change})
    for question in ({"principal": "alice"}, {"secret_id": secret_id}, {"secret_name": "app/db"}):
        assert ("app/db", 1, "alice") in rows(**question, stale=True)
    assert ("app/db", 1, "alice") in rows(address="127.0.0.1", stale=True)
    assert list(found(principal="bob", stale=True)) is not None


@pytest.mark.parametrize(
    "change",
    [
        *({"version": version} for version in ("x", {"$gt": 0}, None, [1], 2**40, -1, float("nan"))),
        *({name: odd} for name in ("states", "purged", "expires_at", "deleted_at") for odd in ("x", [7], {})),
        *({name: odd} for name in ("max_reads", "reads", "namespace", "labels") for odd in ("x", [7], {})),
    ],
    ids=str,
)
def test_an_altered_secret_hides_no_other(alice: Caller, stored: Stored, change: dict[str, Any]) -> None:
    """An attacker who stores other types in a secret changes no answer about other secrets."""
    altered = alice.create(name="app/altered")
    alice.create(name="app/db")
    stored.secrets.update_one({"_id": altered}, {"$set": change})
    for stale in (False, True):
        assert ("app/db", 1, "alice") in rows(principal="alice", stale=stale)
        assert rows(secret_id=altered, stale=stale) is not None
        assert rows(secret_name="app/altered", stale=stale) is not None


@pytest.mark.own_app
def test_secrets_with_other_ids_are_no_obstacle(stored: Stored, alice: Caller) -> None:
    """An ID that is not one, in the way of a page, changes neither the order nor the progress."""
    secret_id = alice.create(name="app/db")
    entry = stored.audit_logs.find_one({"secret_id": secret_id})
    assert entry
    del entry["_id"]
    long = ["é" * 2_100 + str(number) for number in range(250)]
    for number, other in enumerate(("", "zz", "~", *long)):
        stored.audit_logs.insert_one({**entry, "secret_id": other, "seq": 100 + number})
    pages = [exposure.read(Question(principal="alice", stale=True), OPERATOR, cursor=None, limit=1)]
    while pages[-1].cursor:
        question = Question(principal="alice", stale=True)
        pages.append(exposure.read(question, OPERATOR, cursor=pages[-1].cursor, limit=1))
    shown = [one.secret_id for page in pages for one in page.exposures]
    assert secret_id in shown
    assert shown == sorted(set(shown))
    assert all(page.progress >= 0 for page in pages)


@pytest.mark.parametrize(
    "cursor",
    [
        "a",
        "W10=",
        "eyJhIjoxfQ==",
        "WyJhIiwgLTEsICJiIl0=",
        "WyJhIiwgdHJ1ZSwgImIiXQ==",
        "WyJcdWQ4MDAiLCAxLCAiYiJd",
    ],
)
def test_another_cursor_is_refused(database: object, cursor: str) -> None:
    """A text that is not the cursor of a page is refused."""
    with pytest.raises(InvalidCursorError):
        exposure.read(Question(principal="a"), OPERATOR, cursor=cursor, limit=1)
    assert database


# In others, an index may be slow because a list was once in it.
@pytest.mark.new_database
def test_a_page_examines_little_of_a_large_trail(
    stored: Stored, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page about a principal examines few entries; without its index, the answer is the same."""
    secret_id = alice.create(name="app/db")
    template = stored.audit_logs.find_one({"secret_id": secret_id})
    assert template
    del template["_id"], template["details"]
    rnd = random.Random(1)  # noqa: S311 - not for secrets
    ids = [str(UUID(int=rnd.getrandbits(128), version=4)) for _ in range(400)]
    stored.audit_logs.insert_many(
        {
            **template,
            "action": "fetch",
            "principal": f"principal-{number % 5}",
            "secret_id": ids[number // 5 % len(ids)],
            "stream": "2-other",
            "seq": number,
        }
        for number in range(20_000)
    )
    stored.command("profile", 2)
    page = exposure.read(Question(principal="principal-0", stale=True), OPERATOR, cursor=None, limit=100)
    stored.command("profile", 0)
    profile = [one for one in stored.system.profile.find() if "docsExamined" in one]
    stored.system.profile.drop()
    assert len(page.exposures) == 100
    assert page.cursor
    stored.audit_logs.drop_index(PRINCIPAL_INDEX)
    again = exposure.read(Question(principal="principal-0", stale=True), OPERATOR, cursor=None, limit=100)
    assert (again.exposures, again.cursor) == (page.exposures, page.cursor)
    monkeypatch.setattr(exposure, "_BAD_HINT", -1)
    with pytest.raises(StorageUnavailableError):
        exposure.read(Question(principal="principal-0"), OPERATOR, cursor=None, limit=100)
    # 10 entries of each secret; the last steps and queries go on for a bit.
    assert 1_000 <= sum(one["docsExamined"] for one in profile) <= 6_000
