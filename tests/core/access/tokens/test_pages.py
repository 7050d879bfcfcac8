"""Pages of tokens: filtered by MongoDB, in order of name."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from tests.support.access import age_token, make_token, revoke, services
from tests.support.rotation import Stored
from vault.common.errors import InvalidCursorError
from vault.common.paths import Paths
from vault.core.access.tokens import pages as token_pages
from vault.core.access.tokens.pages import CURSOR_PATTERN, TokenPages
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR, Principal, Scope

TEAM = Principal(name="boss", namespace="team", scopes=frozenset(Scope))


def pages(app: Flask, principal: Principal = OPERATOR, limit: int = 2, **filters: Any) -> list[list[str]]:
    """Return the names of all pages."""
    names, cursor = [], None
    while not names or cursor:
        one = TokenPages(principal, services(app).tokens._keys.find(), **filters)
        infos, cursor = one.page(cursor, limit)
        names.append([info.name for info in infos])
    return names


def test_pages_have_all_tokens_once_in_order_of_name(app: Flask) -> None:
    """Pages follow each other without a gap; a principal sees its namespace, an operator all of them."""
    for name in ("d", "a", "c", "e", "b"):
        make_token(app, name, role="reader", namespace="team")
        make_token(app, name, role="reader")
    assert pages(app, TEAM) == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(app, TEAM, limit=5) == [["a", "b", "c", "d", "e"]]
    assert pages(app, limit=4) == [["a", "b", "c", "d"], ["e", "a", "b", "c"], ["d", "e"]]


@pytest.fixture
def some(app: Flask) -> None:
    """Create tokens of every state, and used ones."""
    for name in ("active", "expired", "revoked", "unused"):
        make_token(app, name, role="reader", seconds=3_600 * 24 * 400 if name != "expired" else 60)
    for name in ("expired", "unused"):
        age_token(app, name, days=9)
    revoke(app, "revoked")


@pytest.mark.usefixtures("some")
def test_mongodb_applies_the_filters(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tokens that match a filter leave MongoDB, and no more than a page has: each seal takes time."""
    verified: list[str] = []
    of_stored = Token.of_stored
    monkeypatch.setattr(
        Token, "of_stored", lambda document: verified.append(document["name"]) or of_stored(document)
    )
    key = services(app).tokens._keys.find()
    week = timedelta(days=8)
    cases: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({}, ["active", "expired", "revoked", "unused"]),
        ({"state": "active"}, ["active", "unused"]),
        ({"state": "expired"}, ["expired"]),
        ({"state": "revoked"}, ["revoked"]),
        ({"unused_for": week}, ["unused"]),
        ({"unused_for": timedelta(days=10)}, []),
        ({"unused_for": week, "state": "expired"}, []),
    )
    for filters, expected in cases:
        verified.clear()
        assert [info.name for info in TokenPages(OPERATOR, key, **filters)] == verified == expected
    assert list(TokenPages(OPERATOR, key, state="altered")) == []
    verified.clear()
    TokenPages(OPERATOR, key).page(None, 2)
    assert verified == ["active", "expired"]


@pytest.mark.usefixtures("some")
def test_altered_tokens_are_found_by_their_state(app: Flask, stored: Stored) -> None:
    """The state `altered` lists the tokens that someone changed, and no filter by time hides them."""
    for name, change in (
        ("active", {"expires_at": datetime.now(UTC) - timedelta(days=1)}),
        ("expired", {"expires_at": "never"}),
    ):
        stored.tokens.update_one({"name": name}, {"$set": change})

    def states(state: str) -> list[str]:
        return [info.name for info in TokenPages(OPERATOR, services(app).tokens._keys.find(), state=state)]

    assert states("altered") == ["active", "expired"]
    assert states("active") == ["unused"]
    assert states("expired") == []


def test_a_name_that_cannot_be_one_ends_no_list(app: Flask, stored: Stored) -> None:
    """A document under a name that no token can have is left out: every cursor leads on."""
    for known in ("a", "b", "c"):
        make_token(app, known, role="reader")
    [second] = stored.tokens.find({"name": "b"})
    for name in (["y", "z"], "a\n", "a/b/c", "", 7, None, {"a": 1}, "x" * 70):
        stored.tokens.update_one({"_id": second["_id"]}, {"$set": {"name": name}})
        assert pages(app, limit=1) == [["a"], ["c"]], name
        assert len(list(TokenPages(OPERATOR, services(app).tokens._keys.find()))) == 3


PATHS = Paths.of(["billing/", "shared/db", "a.b/"])


def test_mongodb_selects_by_paths(app: Flask) -> None:
    """A principal with paths sees exactly the tokens whose paths are within its own."""
    cases: dict[tuple[str, ...], bool] = {
        ("billing/",): True,
        ("billing/eu/", "shared/db"): True,
        ("billing/eu/db",): True,
        (): False,
        ("billing",): False,
        ("shared/db2",): False,
        ("shared/db/x",): False,
        ("shared/",): False,
        ("a.b/c",): True,
        ("axb/c",): False,
        ("billing/", "other"): False,
    }
    for number, (paths, is_seen) in enumerate(cases.items()):
        make_token(app, f"t{number:02}", role="reader", namespace="team", paths=paths)
        assert PATHS.cover(Paths.of(paths)) is is_seen
    mine = Principal(name="boss", namespace="team", scopes=frozenset(Scope), paths=PATHS)
    assert pages(app, mine, limit=20) == [[f"t{n:02}" for n, is_seen in enumerate(cases.values()) if is_seen]]
    assert Token.raw().count_documents(token_pages._within(PATHS)) == sum(cases.values())


@given(st.from_regex(CURSOR_PATTERN, fullmatch=True))
def test_every_text_of_the_form_is_a_position(cursor: str) -> None:
    """Every text that the document calls a cursor is accepted, except with a trailing newline."""
    if cursor.endswith("\n"):
        with pytest.raises(InvalidCursorError):
            token_pages._position(cursor)
    else:
        assert token_pages._position(cursor) == cursor


# A list as a name, in another test, would have changed the index permanently.
@pytest.mark.new_database
def test_a_list_uses_the_index_of_its_namespace(app: Flask, stored: Stored) -> None:
    """MongoDB reads the tokens of one namespace in their order, without the names of removed ones."""
    for n in range(5):
        make_token(app, f"t{n}", role="reader", namespace="team")
        make_token(app, f"t{n}", role="reader", namespace="other")
    key = services(app).tokens._keys.find()
    name_only = {"name": "$name", "namespace": "$namespace", "pending": False}
    stored.tokens.update_one({"name": "team/t2"}, [{"$replaceWith": name_only}])
    for cursor in (None, "team/t0"):
        stored.command("profile", 2)
        TokenPages(TEAM, key).page(cursor, 2)
        stored.command("profile", 0)
        [query] = stored["system.profile"].find({"op": "query", "command.find": "tokens"})
        stored["system.profile"].drop()
        assert query["planSummary"] == "IXSCAN { namespace: 1, name: 1 }"
        assert (query["nreturned"], query.get("hasSortStage")) == (3, None)
