"""Cursors of lists, and levels of names."""

import gc
import re
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from bson import BSON
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from tests.support.access import services
from tests.support.lifecycle import ALICE, EVE, UNKNOWN_ID, in_future, in_past, trail
from tests.support.rotation import Stored
from vault.common import deadline
from vault.common.errors import TooManyKeysError
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.documents.expressions import ABOVE_ALL
from vault.core.documents.stored_secret import StoredSecret
from vault.core.principal import Principal
from vault.core.secrets import queries, selection
from vault.core.secrets import search as searching
from vault.core.secrets.requests import NewSecret, Reference
from vault.core.secrets.search import Search

ENOUGH = 10_000


@given(st.from_regex(selection.CURSOR_PATTERN, fullmatch=True))
def test_every_text_of_the_documented_form_is_a_position(cursor: str) -> None:
    """The document's pattern accepts only cursors that the service accepts, also with escapes of its own."""
    position = selection.position_at(cursor)
    assert selection.position_at(selection.cursor_of(*position)) == position
    BSON.encode({"position": position})


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=128))
def test_a_cursor_is_ascii_and_its_name_is_exact(name: str) -> None:
    """A cursor after a name in any script has the documented form, and is the position of that name."""
    cursor = selection.cursor_of(name, UNKNOWN_ID)
    assert re.fullmatch(selection.CURSOR_PATTERN, cursor)
    assert selection.position_at(cursor) == (name, UNKNOWN_ID)


def test_a_description_waits_without_the_value(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """While many descriptions wait for MongoDB, none of the values, up to a megabyte each, is in memory."""
    found, describer = services(app), Attempt(action=Action.DESCRIBE)
    secret_id = found.secrets.create(NewSecret(plaintext=b"v"), attempt=Attempt(action=Action.CREATE))
    held: list[bool] = []
    monkeypatch.setattr(
        queries,
        "_last_fetch",
        lambda _: held.append(
            any(type(one) is StoredSecret and one.id == secret_id for one in gc.get_objects())
        ),
    )
    assert found.queries.describe(Reference(secret_id=secret_id), attempt=describer)["version"] == 1
    assert held == [False]


def put_names(stored: Stored, *names: object, **fields: Any) -> None:
    """Store secrets with these *names*, which no test decrypts."""
    count = stored.secrets.count_documents({})
    stored.secrets.insert_many(
        [
            {"_id": f"{count + number:08}", "namespace": "default", "name": name, **fields}
            for number, name in enumerate(names)
        ]
    )


def put_unnamed(stored: Stored, count: int) -> None:
    stored.secrets.insert_many([{"_id": f"u{number}", "namespace": "default"} for number in range(count)])


def level(
    app: Flask, folder: str = "", *, after: str = "", limit: int = ENOUGH, principal: Principal = ALICE
) -> list[str]:
    """Return the keys below *folder*, found within a minute."""
    attempt = Attempt(action=Action.LIST, principal=principal)
    with deadline.replaced(60):
        return services(app).queries.level(folder, after=after, limit=limit, attempt=attempt)


def within(*paths: str) -> Principal:
    return replace(ALICE, paths=Paths.of(paths))


def begin_profile(stored: Stored) -> None:
    """Begin to keep MongoDB's queries."""
    stored.command("profile", 2)


def end_profile(stored: Stored) -> tuple[int, str]:
    """Return the number of index keys that queries of secrets have examined since, and their plans."""
    stored.command("profile", 0)
    # The service itself looks for the keys in use once a minute.
    conditions = {
        "planSummary": {"$exists": True, "$not": {"$regex": "key_id"}},
        "ns": stored.secrets.full_name,
    }
    found = list(stored["system.profile"].find(conditions))
    return sum(query["keysExamined"] for query in found), " ".join(query["planSummary"] for query in found)


def test_a_level_has_only_secrets_that_readers_may_know_of(app: Flask, stored: Stored) -> None:
    """Pending, deleted, expired and used-up secrets, those without a name and other namespaces are absent."""
    put_names(stored, "kept/a", expires_at=in_future(days=1), max_reads=2, reads=1)
    put_names(stored, "pending/a", pending=True)
    put_names(stored, "deleted/a", deleted_at=in_past(days=1), purge_at=in_future(days=1))
    put_names(stored, "expired/a", expires_at=in_past(days=1))
    put_names(stored, "used/a", max_reads=1, reads=1)
    put_names(stored, "foreign/a", namespace="elsewhere")
    put_unnamed(stored, 3)
    assert level(app) == ["kept/"]
    assert level(app, principal=EVE) == ["foreign/"]


@pytest.mark.promise("names")
def test_many_secrets_without_a_name_do_not_stop_a_level(app: Flask, stored: Stored) -> None:
    """The first level is found behind any number of secrets without a name, which are not read."""
    put_unnamed(stored, 2 * queries.AT_ONCE)
    assert level(app) == []
    put_names(stored, "a/b", "c")
    assert level(app) == ["a/", "c"]


def test_names_of_other_forms_end_a_level(app: Flask, stored: Stored) -> None:
    """Names that the service does not store, as an attacker can, are passed like others, and it ends."""
    put_names(stored, *(f"a/{ABOVE_ALL}{number}" for number in range(2 * queries.AT_ONCE)), "b", "", "/")
    put_names(stored, *([f"zz{number}"] for number in range(2 * queries.AT_ONCE)))
    assert {"a/", "b"} <= set(level(app))
    assert level(app, "a/") == []


@pytest.mark.parametrize("count", [queries.AT_ONCE, queries.AT_ONCE + 1])
def test_a_level_of_any_size_is_whole(app: Flask, stored: Stored, count: int) -> None:
    """A level has every key, however many documents are read at a time."""
    put_names(stored, *(f"a/k{number:04}" for number in range(count)), "a/z/1", "a/z/2", "b")
    assert level(app, "a/") == [*(f"k{number:04}" for number in range(count)), "z/"]


@given(
    names=st.sets(
        st.from_regex("[ab.\x7eé\U0003134a]{1,2}(/[ab-é\U0003134a]{1,2}){0,3}", fullmatch=True), max_size=25
    ),
    folder=st.sampled_from(["", "a/", "b/", "a/b/"]),
    limit=st.integers(1, 4),
    at_once=st.integers(1, 4),
)
def test_the_pages_of_a_level_have_each_key_once(
    names: set[str], folder: str, limit: int, at_once: int
) -> None:
    """Pages of any size, and reads of any size, have the keys of the whole level, in order."""
    below = sorted(name.removeprefix(folder) for name in names if name.startswith(folder) and name != folder)
    expected = list(dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in below))

    def find_page(_: Principal, *, after: searching.Position, limit: int, **__: Any) -> list[dict[str, str]]:
        found = [name for name in sorted(names) if name.startswith(folder) and name > after[0]]
        return [{"name": name} for name in found[:limit]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "find_page", find_page)
        patch.setattr(queries, "AT_ONCE", at_once)
        found: list[str] = []
        while page := list(islice(queries._keys(ALICE, folder, found[-1] if found else ""), limit)):
            found += page
    assert found == expected


def test_a_level_has_names_in_any_script(app: Flask, stored: Stored) -> None:
    """Names above ASCII, up to the last characters of Unicode, are in lists, levels and their pages."""
    last = "\U0003134a"
    names = sorted(["a", "a/", "a /x", "aé", "aé/b", f"a{last}", f"a{last}/é", f"{last}/{last}", "é", "日本"])
    put_names(stored, *names)
    keys = list(dict.fromkeys(first + slash for first, slash, _ in (name.partition("/") for name in names)))
    assert level(app) == keys
    for number, key in enumerate(keys):
        assert level(app, after=key) == keys[number + 1 :]
    assert level(app, f"{last}/") == [last]
    assert level(app, f"a{last}/") == ["é"]


def test_a_level_seeks_past_large_folders(app: Flask, stored: Stored) -> None:
    """A level is found by an index, and of a large folder only few keys are examined."""
    # Names in lists, which other tests store, change how MongoDB uses an index from then on.
    stored.secrets.drop()
    services(app).guard._database.build_indexes()
    put_unnamed(stored, 1_000)
    for folder in ("big", "top/big"):
        put_names(stored, *(f"{folder}/{number:05}" for number in range(3_000)))
    put_names(stored, "first", "top/last/x", "zz")
    begin_profile(stored)
    assert level(app) == ["big/", "first", "top/", "zz"]
    assert level(app, "top/") == ["big/", "last/"]
    assert level(app, "top/", principal=within("top/", "other/", "zz")) == ["big/", "last/"]
    assert level(app, "top/", after="big/", limit=1) == ["last/"]
    keys, plans = end_profile(stored)
    assert keys < 3_000
    assert "IXSCAN" in plans
    assert "COLLSCAN" not in plans


@pytest.mark.promise("names")
def test_a_level_has_only_names_within_the_paths(app: Flask, stored: Stored) -> None:
    """A principal that is limited to paths lists these, and the folders that lead to them."""
    put_names(stored, "billing/a", "billing/b/c", "private/z", "shared/x", "shared/y")
    principal = within("billing/", "shared/x")
    found = {
        folder: level(app, folder, principal=principal) for folder in ("", "billing/", "shared/", "private/")
    }
    assert found == {"": ["billing/", "shared/"], "billing/": ["a", "b/"], "shared/": ["x"], "private/": []}


def test_a_level_has_one_entry(app: Flask, stored: Stored) -> None:
    """The entry of a level names the folder, and the first level needs no name."""
    level(app, "billing/")
    level(app)
    entry = {"action": "list", "status": "success", "principal": "alice"}
    named = {"name": "billing/", "namespace": "default"}
    assert trail(stored) == [{**entry, "details": named}, entry]


def test_a_level_of_too_many_keys_is_refused(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of more than the maximum are refused, unless a limit keeps them below it."""
    monkeypatch.setattr(queries, "MAX_PAGE_BYTES", 2 * (10 + queries._KEY_BYTES))
    put_names(stored, *(f"{number:010}" for number in range(3)))
    with pytest.raises(TooManyKeysError):
        level(app)
    assert level(app, limit=2) == [f"{number:010}" for number in range(2)]


def search(
    app: Flask, query: str, *, folder: str = "", limit: int = ENOUGH, principal: Principal = ALICE
) -> list[list[str | None]]:
    """Return the names that a search finds, page by page."""
    pages: list[list[str | None]] = []
    cursor = None
    while cursor or not pages:
        attempt = Attempt(action=Action.LIST, principal=principal)
        found, cursor = services(app).queries.search(
            Search(text=query, folder=folder), cursor=cursor, limit=limit, attempt=attempt
        )
        pages.append([secret["name"] for secret in found])
    return pages


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PASS", ["billing/db-password", "eu/Passwort"]),
        ("émile", ["eu/ÉMILE"]),
        ("e\u0301mile", ["eu/ÉMILE"]),
        ("a.b", ["eu/a.b"]),
        (".*", []),
        ("team=Bill", ["billing/db-password"]),
        ("g/d", ["billing/db-password"]),
        ("", [None, "billing/db-password", "eu/Passwort", "eu/a-b", "eu/a.b", "eu/ÉMILE"]),
    ],
)
def test_a_search_is_literal_and_ignores_case(
    app: Flask, stored: Stored, query: str, found: list[str | None]
) -> None:
    """A search finds a text anywhere in names and labels, in any case; no character of it is special."""
    put_unnamed(stored, 1)
    put_names(stored, "billing/db-password", labels=["team=billing"])
    put_names(stored, "eu/Passwort", "eu/a-b", "eu/a.b", "eu/ÉMILE", labels=["team=x"])
    stored.secrets.insert_one({"_id": "other", "namespace": "elsewhere", "name": "password"})
    assert search(app, query) == [found]


@pytest.mark.promise("names")
def test_a_search_is_limited_to_the_paths_and_the_folder(app: Flask, stored: Stored) -> None:
    """A search finds only secrets that the principal reaches, and of these only those in the folder."""
    put_names(stored, "a/key", "b/key", "b/c/key", "d/key")
    assert search(app, "key", principal=within("b/", "d/key")) == [["b/c/key", "b/key", "d/key"]]
    assert search(app, "key", principal=within("b/", "d/key"), folder="b/c/") == [["b/c/key"]]


def test_a_search_takes_a_limited_time(app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends at its limit, or when its time is over; all pages together have each match once."""
    monkeypatch.setattr(searching, "_AT_FIRST", 4)
    monkeypatch.setattr(searching, "_AT_ONCE", 4)
    names = [None, None, None, *(f"{number:02}" for number in range(10))]
    stored.secrets.insert_many(
        [
            {"_id": str(UUID(int=number)), "namespace": "default", **({"name": name} if name else {})}
            for number, name in enumerate(names)
        ]
    )
    stored.secrets.update_many({"name": {"$in": ["01", "02"]}}, {"$set": {"deleted_at": in_past(hours=1)}})
    assert search(app, "0") == [[f"{number:02}" for number in (0, *range(3, 10))]]
    assert search(app, "0", limit=4) == [["00", "03", "04", "05"], ["06", "07", "08", "09"]]
    assert search(app, "9") == [["09"]]
    monkeypatch.setattr(searching, "MAX_SECONDS", 0)
    # At first, three without a name, and 00. The deleted ones count only for the end of a window.
    assert search(app, "0") == [["00"], ["03", "04"], ["05", "06", "07", "08"], ["09"]]
    assert search(app, "9") == [[], [], [], ["09"]]
    assert search(app, "0", limit=2) == [["00"], ["03", "04"], ["05", "06"], ["07", "08"], ["09"]]


def test_a_search_for_unused_secrets_takes_a_limited_time(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each secret asks the trail, so the time can be over within a window; the next page goes on there."""
    names = [f"{number:02}" for number in range(9)]
    stored.secrets.insert_many(
        [
            {
                "_id": str(UUID(int=int(name))),
                "namespace": "default",
                "name": name,
                "created_at": in_past(hours=9),
            }
            for name in names
        ]
    )
    unused = Search(unused_for=timedelta(hours=1))
    monkeypatch.setattr(searching, "MAX_SECONDS", 0)
    pages: list[list[str]] = []
    cursor = None
    while cursor or not pages:
        found, cursor = services(app).queries.search(
            unused, cursor=cursor, limit=ENOUGH, attempt=Attempt(action=Action.LIST, principal=ALICE)
        )
        pages.append([secret["name"] for secret in found])
    assert pages == [*([name] for name in names), []]


def test_a_search_takes_smaller_steps_if_they_are_slow(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of secrets that are read at once depends on how long that takes, and deleted ones count."""
    put_names(stored, *(f"{number:04}" for number in range(1_000)), deleted_at=in_past(hours=1))
    monkeypatch.setattr(searching, "_AT_ONCE", 200)
    seconds = iter([*(0.01,) * 3, *(0.2,) * 5])
    counts: list[int] = []
    now = 0.0
    end_of_window = searching._end_of_window

    def step(reached: dict[str, Any], count: int) -> searching.Position | None:
        nonlocal now
        counts.append(count)
        now += next(seconds)
        return end_of_window(reached, count)

    monkeypatch.setattr(searching, "monotonic", lambda: now)
    monkeypatch.setattr(searching, "_end_of_window", step)
    attempt = Attempt(action=Action.LIST, principal=ALICE)
    found, cursor = services(app).queries.search(Search(text="0"), cursor=None, limit=9, attempt=attempt)
    assert (found, bool(cursor)) == ([], True)
    assert counts == [100, 200, 200, 200, 100, 50, 25, 12]


def test_secrets_that_change_during_a_search_are_found_once(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If secrets are removed meanwhile, each of the others is found once."""
    monkeypatch.setattr(searching, "_AT_FIRST", 4)
    monkeypatch.setattr(searching, "_AT_ONCE", 4)
    put_names(stored, *(f"{number:02}" for number in range(10)))
    end_of_window = searching._end_of_window

    def remove_first(reached: dict[str, Any], count: int) -> searching.Position | None:
        end = end_of_window(reached, count)
        stored.secrets.delete_one({"name": "00"})
        return end

    monkeypatch.setattr(searching, "_end_of_window", remove_first)
    assert search(app, "0") == [[f"{number:02}" for number in range(1, 10)]]


def test_a_search_reads_an_index_and_is_on_record(app: Flask, stored: Stored) -> None:
    """A search sorts nothing, and its entry does not have the text, which can be a value."""
    put_names(stored, *(f"{number:04}" for number in range(searching._AT_FIRST - 1)))
    stored["system.profile"].drop()
    begin_profile(stored)
    assert search(app, "0007") == [["0007"]]
    _, plans = end_profile(stored)
    assert plans.count("IXSCAN") == 2
    assert "COLLSCAN" not in plans
    assert not stored["system.profile"].count_documents({"hasSortStage": True})
    assert trail(stored) == [{"action": "list", "status": "success", "principal": "alice"}]
