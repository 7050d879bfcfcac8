"""The audit trail over HTTP."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, ObjectId
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.support.access import make_token
from tests.support.problems import fields_of
from vault.service.api.audit import AuditQuery

QUERY = "/vault/audit/query"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def auditor(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return an authenticated client and a trail of three anonymous creates and one anonymous fetch."""
    ids = [client.post("/vault/secret/create", json={"secret": "YQ=="}).json["secret_id"] for _ in range(3)]
    client.post("/vault/secret/fetch", json={"secret_id": ids[0]})
    token = make_token(app, "auditor", role="auditor")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def query(client: FlaskClient, **body: Any) -> dict[str, Any]:
    reply = client.post(QUERY, json=body)
    assert reply.status_code == 200, reply.json
    return dict(reply.json)


def test_a_query_returns_entries_and_is_itself_recorded(
    auditor: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """An authorized caller gets the entries in order of time, and the query leaves an entry too."""
    entries = query(auditor)["entries"]
    assert [entry["action"] for entry in entries] == ["create", "create", "create", "fetch", "token_create"]
    assert entries[3]["secret_id"] == entries[0]["secret_id"]
    last = stored.audit_logs.find_one(sort=[("_id", -1)])
    assert last is not None
    assert (last["action"], last["principal"]) == ("audit_query", "auditor")


@pytest.mark.parametrize(
    "change",
    [
        {"details": [{"name": "a"}]},
        {"details": {"a": Binary(b"a"), "b": float("nan"), "c": ObjectId(bytes(12)), "d": NOON}},
        {"ts": 7},
        {"ua": {"a": Decimal128("1")}},
    ],
    ids=str,
)
def test_an_entry_with_values_of_other_types_is_returned(
    auditor: FlaskClient, stored: MongoDatabase[dict[str, Any]], change: dict[str, Any]
) -> None:
    """An attacker who stores another type in an entry hides neither that entry nor the others."""
    stored.audit_logs.update_one({"action": "fetch"}, {"$set": change})
    reply = auditor.post(QUERY, json={})
    assert reply.status_code == 200
    entries = json.loads(reply.data, parse_constant=pytest.fail)["entries"]
    actions = ["create", "create", "create", "fetch", "token_create"]
    # An entry whose time is not a time has any place.
    assert sorted(entry["action"] for entry in entries) == actions


def test_a_client_resumes_at_its_position(auditor: FlaskClient) -> None:
    """Pages have every entry once; `follow` of any page leads to the entries after it, and later ones."""
    first = query(auditor, limit=3, principal="anonymous")
    assert first["follow"] == first["cursor"]
    second = query(auditor, limit=3, principal="anonymous", cursor=first["follow"])
    assert second["cursor"] is None
    everything = query(auditor, principal="anonymous")["entries"]
    assert [*first["entries"], *second["entries"]] == everything
    later = query(auditor, limit=3, principal="anonymous", cursor=second["follow"])
    assert (later["entries"], later["cursor"]) == ([], None)
    auditor.post(QUERY, json={}, headers={"Authorization": ""})
    third = query(auditor, limit=3, principal="anonymous", cursor=later["follow"])
    assert [entry["action"] for entry in third["entries"]] == ["audit_query"]


def test_the_newest_entries_can_come_first(auditor: FlaskClient) -> None:
    """With `newest_first`, pages lead to older entries, each once, and the first `follow` to later ones."""
    everything = query(auditor, principal="anonymous")["entries"]
    first = query(auditor, limit=3, principal="anonymous", order="newest_first")
    second = query(auditor, limit=3, principal="anonymous", order="newest_first", cursor=first["cursor"])
    assert second["cursor"] is None
    assert [*first["entries"], *second["entries"]] == everything[::-1]
    assert query(auditor, principal="anonymous", cursor=first["follow"])["entries"] == []
    auditor.post(QUERY, json={}, headers={"Authorization": ""})
    later = query(auditor, principal="anonymous", cursor=first["follow"], order="oldest_first")
    assert [entry["action"] for entry in later["entries"]] == ["audit_query"]
    again = query(auditor, principal="anonymous", cursor=second["follow"])
    assert again["entries"][-1:] == later["entries"]


def test_a_cursor_of_the_other_order_is_refused(auditor: FlaskClient) -> None:
    """A position among several streams is not a position for `newest_first`."""
    follow = query(auditor, limit=3)["follow"]
    reply = auditor.post(QUERY, json={"order": "newest_first", "cursor": follow})
    assert (reply.status_code, reply.json["code"]) == (422, "invalid_cursor")


def test_each_filter_narrows_the_answer(auditor: FlaskClient) -> None:
    """Action, principal, secret and times select entries, alone and combined."""
    everything = query(auditor)["entries"]
    fetched = everything[3]
    later = {"since": fetched["ts"]}
    for which in (
        {"action": "fetch"},
        {"secret_id": fetched["secret_id"].upper(), "action": "fetch"},
        {**later, "action": "fetch", "principal": "anonymous"},
    ):
        assert query(auditor, **which)["entries"] == [fetched]
    assert len(query(auditor, secret_id=fetched["secret_id"])["entries"]) == 2
    assert query(auditor, until=everything[0]["ts"])["entries"] == []
    assert query(auditor, principal="nobody")["entries"] == []


def test_a_time_outside_the_calendar_is_clamped(auditor: FlaskClient) -> None:
    """A time before the year 1 or after 9999 in UTC is accepted as the earliest or latest time."""
    first, last = "0001-01-01T00:01:00+01:01", "9999-12-31T23:59:00-01:00"
    everything = query(auditor)["entries"]
    assert query(auditor, since=first, until=last)["entries"][: len(everything)] == everything
    assert query(auditor, until=first)["entries"] == query(auditor, since=last)["entries"] == []


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-24t15:30:00z", datetime(2026, 11, 24, 15, 30, tzinfo=UTC)),
        ("2026-11-24T15:30:00.123456789+05:30", datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0000-02-29T12:00:00+01:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:60Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_every_time_of_rfc_3339_is_read(text: str, time: datetime) -> None:
    """A time may have small letters, a leap second, more digits than are kept, and the year 0."""
    assert AuditQuery().load({"since": text})["since"] == time


def test_an_invalid_query_is_422(auditor: FlaskClient) -> None:
    """An invalid query, including one with database operators, is refused by the name of the field."""
    for body, field in [
        ({"limit": 1001}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"until": 5}, "until"),
        ({"action": {"$ne": ""}}, "action"),
        ({"principal": "\ud800"}, "principal"),
        ({"action": "fetched"}, "action"),
        ({"since": "2026-13-01T00:00:00Z"}, "since"),
        ({"until": "0000-02-30T00:00:00Z"}, "until"),
        ({"cursor": 7}, "cursor"),
        ({"order": "best_first"}, "order"),
        ({"everything": True}, "everything"),
    ]:
        reply = auditor.post(QUERY, json=body)
        assert reply.status_code == 422, body
        assert fields_of(reply.json) == [field], body


def test_a_forged_cursor_is_422(auditor: FlaskClient) -> None:
    """A cursor that no query returned is refused, not ignored."""
    for cursor in [
        "x",
        "6b05a36cf43fd516532765c",
        "A" * 20_000,
        "\ud800",
    ]:
        reply = auditor.post(QUERY, json={"cursor": cursor})
        assert reply.status_code == 422, cursor
        assert (
            reply.get_json(force=True)["detail"]
            == "Invalid `cursor`: send the one that an earlier reply returned."
        ), cursor


def test_a_name_is_one_of_the_caller_s_namespace(app: Flask, client: FlaskClient) -> None:
    """By name, the entries are of the caller's namespace, or of the one that the query names."""
    tokens = {space: make_token(app, "boss", role="admin", namespace=space) for space in ("default", "team")}
    headers = {space: {"Authorization": f"Bearer {token}"} for space, token in tokens.items()}
    for own in headers.values():
        body = {"secret": "YQ==", "name": "db"}
        assert client.post("/vault/secret/create", json=body, headers=own).status_code == 200

    def seen(space: str, **body: object) -> list[str]:
        page = client.post(QUERY, json={"name": "db", **body}, headers=headers[space]).json
        return [entry["details"]["namespace"] for entry in page["entries"]]

    assert (seen("default"), seen("team")) == (["default"], ["team"])
    assert (seen("default", namespace="team"), seen("team", namespace="default")) == (["team"], [])
    assert seen("default", name=None, namespace="team", action="create") == ["team"]
