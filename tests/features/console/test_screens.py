"""The console's screens for people who look after the service."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.console.person import Person, links
from tests.support.access import make_token, services
from tests.support.console import SignIn, create
from tests.support.features import tables
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, SERVICE, Principal
from vault.core.secrets.requests import NewSecret, Reference
from vault.features.console import status as status_page
from vault.features.console import trail as trail_pages

#: Each screen, with its scope and the action that it leaves in the trail.
SCREENS = {
    "deleted": ("secret:list", "list"),
    "new": ("secret:create", None),
    "audit": ("audit:read", "audit_query"),
    "activity": ("audit:read", "audit_report"),
    "tokens": ("token:manage", "token_list"),
    "keys": ("audit:read", "keys_status"),
    "status": ("audit:read", "status"),
}
for screens in tables("SCREENS"):
    SCREENS |= screens


def record(action: Action, principal: Principal = SERVICE, **details: object) -> None:
    Attempt(action=action, principal=principal, details=details).finish(Status.SUCCESS)


@pytest.mark.parametrize("path", SCREENS)
def test_each_screen_needs_its_scope_and_is_on_record(stored: Stored, signed_in: SignIn, path: str) -> None:
    """A screen is one entry, small, in no page of those who lack its scope, and refused to them."""
    scope, action = SCREENS[path]
    person = signed_in("holder", scopes=(scope,))
    stored.audit_logs.delete_many({})
    page = person.get(path)
    assert (page.status_code, len(page.data) < 60_000) == (200, True)
    assert f"/console/{path}" in links(page) or path in ("deleted", "new")
    entries = [(entry["action"], entry["details"]["via"]) for entry in trail(stored)]
    assert entries == ([(action, "console")] if action else [])
    others = tuple({one for one, _ in SCREENS.values()} - {scope})
    other = signed_in("other", scopes=others)
    refused = other.get(path)
    assert refused.status_code == 403
    assert f"/console/{path}" not in links(refused)


def test_secrets_are_filtered(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """Filters show what expires soon, what no one fetched for 90 days, and what has a label."""
    person = signed_in()
    create(app, "soon", ttl_seconds=86_400)
    create(app, "later", ttl_seconds=86_400 * 60, labels={"team": "rocket"})
    used, unused = create(app, "used"), create(app, "unused")
    old = datetime.now(UTC) - timedelta(days=100)
    stored.secrets.update_many({"_id": {"$in": [used, unused]}}, {"$set": {"created_at": old}})
    person.reveal(used)
    for arguments, names in (
        ({"show": "expiring"}, {"soon"}),
        ({"show": "unused"}, {"unused"}),
        ({"label": "team=rocket"}, {"later"}),
        ({"label": "team=rocket", "q": "none"}, set()),
    ):
        page = person.get(**arguments)
        found = {link.partition("secret?name=")[2] for link in links(page)} - {""}
        assert found == names, arguments
    assert "expires <time" in person.get(show="expiring").text
    assert "/console/?label=team%3Drocket" in links(person.get("secret", name="later"))
    for arguments in ({"show": "other"}, {"label": "text"}):
        assert person.get(**arguments).status_code == 400


def test_the_trail_is_filtered_and_followed(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """The trail shows the newest entries first, all or some; following shows what comes, not itself."""
    person = signed_in()
    secret_id, nameless = create(app, "billing/db"), create(app)
    for _ in range(2):
        person.reveal(secret_id)
    person.reveal(nameless)
    page = person.get("audit", name="billing/db", action="fetch", principal="alice")
    assert page.text.count("<td>fetch</td>") == 2
    assert "via: console" in page.text
    record(Action.UNWRAP, name="billing/db", namespace="default")
    reads = person.get("audit", name="billing/db", action="reads").text
    assert (reads.count("<td>fetch</td>"), reads.count("<td>unwrap</td>")) == (2, 1)
    history = person.submit("audit", secret_id=nameless, action="reads")
    assert history.text.count("<td>fetch</td>") == 1
    assert not any(nameless in link for link in links(history))
    for arguments in ({"action": "x"}, {"principal": "a\nb"}, {"name": "a//b"}, {"cursor": "x"}):
        assert person.get("audit", **arguments).status_code in (400, 422), arguments
    cursor = page.text.partition('name="cursor" value="')[2].partition('"')[0]
    person.reveal(secret_id)
    reply = person.send("audit/follow", cursor=cursor, name="billing/db")
    assert reply.json["rows"][-1]["action"] == "fetch"
    assert reply.json["rows"][-1]["secret"] == "billing/db"
    signed_in("mallory").get("audit")
    again = person.send("audit/follow", cursor=reply.json["cursor"]).json
    # No one reads the trail unseen.
    assert [row["principal"] for row in again["rows"] if row["action"] == "audit_query"] == ["mallory"]
    assert [entry["action"] for entry in trail(stored)].count("audit_query") >= 4


def test_one_summary_of_the_trail_is_made_at_a_time(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another person's is made, a further one is refused after a short wait."""
    person = signed_in()
    monkeypatch.setattr(trail_pages._SUMMARIES, "seconds", 0.001)
    with trail_pages._SUMMARIES:
        reply = person.get("activity")
    assert (reply.status_code, "Retry-After" in reply.headers) == (503, True)
    assert person.get("activity").status_code == 200


def test_the_status_is_the_command_s(app: Flask, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has the lines of the status, with a page of the documents for those that need a look."""
    person = signed_in()
    page = person.get("status").text
    lines = services(app).overview.lines()
    assert [line.subject for line in lines] == re.findall('<th scope="row">([a-z]+)</th>', page)
    assert "Something needs a look." in page
    assert "docs/nodes.md" in page
    assert "docs/runbook.md#clocks-differ" not in page
    monkeypatch.setattr(status_page._LOOKS, "seconds", 0.001)
    with status_page._LOOKS:
        assert person.get("status").status_code == 503


def test_the_trail_has_pages(app: Flask, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier entries are a page of their own; of a secret without a name, by a form."""
    monkeypatch.setattr(trail_pages, "_PAGE_SIZE", 2)
    person = signed_in()
    nameless = create(app)
    for _ in range(3):
        person.reveal(nameless)
    first = person.get("audit", action="fetch")
    [earlier] = [link for link in links(first) if "cursor=" in link]
    assert person.client.get(earlier).text.count("<td>fetch</td>") == 1
    assert "Next page" in person.submit("audit", secret_id=nameless, action="fetch").text


@pytest.mark.parametrize("details", [None, [1], {"a": {"b": 1}, "name": ["x" * 300]}])
def test_an_altered_entry_is_shown_as_text(stored: Stored, signed_in: SignIn, details: object) -> None:
    """Anything that an attacker stores in an entry is shown as text, and short."""
    person = signed_in()
    evil = "<img src=x>"
    stored.audit_logs.update_many({}, {"$set": {"details": details, "ip": evil, "ua": 1, "status": None}})
    page = person.get("audit")
    assert page.status_code == 200
    assert "<img" not in page.text
    assert "&lt;img" in page.text
    assert "x" * 200 not in page.text


def test_activity_has_the_charts_of_the_report(
    app: Flask, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has numbers, charts and findings of a period; a large one has no charts."""
    person = signed_in()
    secret_id = create(app, "billing/db")
    person.reveal(secret_id)
    page = person.get("activity").text
    for text in ("Requests by hour", "billing/db", "alice", "No verification has found tampering"):
        assert text in page
    record(Action.AUDIT_TAMPERING, OPERATOR)
    person.get("secret", name="none")
    page = person.get("activity", days="30").text
    for text in ("found tampering on", "Refusals and failures"):
        assert text in page
    assert person.get("activity", days="2").status_code == 400
    limited = signed_in("limited", scopes=("audit:read",), paths=("other/",))
    own = limited.get("activity")
    assert own.status_code == 200
    for text in ("billing/db", "tampering"):
        assert text not in own.text
    monkeypatch.setattr(trail_pages, "_MAX_ENTRIES", 1)
    assert "too many entries" in person.get("activity").text


def test_tokens_are_created_and_revoked(app: Flask, signed_in: SignIn) -> None:
    """A new token is in the answer to the script only; a revoked one is refused."""
    person = signed_in()
    reply = person.send("tokens/create", name="ci", role="reader", paths="billing/, shared/db", days=30)
    text = reply.json["value"]
    page = person.get("tokens")
    for shown in ("ci", "reader", "billing/, shared/db"):
        assert shown in page.text
    assert text not in page.text
    assert Person(app, text).sign_in().status_code == 303
    assert "ci" not in person.get("tokens", state="revoked").text
    assert person.submit("tokens/revoke", name="ci").headers["Location"] == "/console/tokens"
    assert Person(app, text).sign_in().status_code == 401
    assert "ci" in person.get("tokens", state="revoked").text
    assert person.submit("tokens/revoke", name="none").status_code == 404
    for fields in ({"role": "none"}, {"paths": "a//b"}, {"days": 0}, {"name": "a/b"}):
        assert person.send("tokens/create", **{"name": "x", "role": "reader", **fields}).status_code == 422
    assert person.send("tokens/create", name="forever", role="auditor").status_code == 200


def test_tokens_have_pages(app: Flask, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens beyond a page are on the next one."""
    monkeypatch.setattr("vault.features.console.credentials._PAGE_SIZE", 1)
    person = signed_in()
    make_token(app, "bob", role="reader")
    assert "/console/tokens?cursor=alice" in links(person.get("tokens"))
    assert "bob" in person.get("tokens", cursor="alice").text


def test_keys_are_shown(app: Flask, signed_in: SignIn) -> None:
    """The page has keys and workers, for those who see the whole trail."""
    [key] = services(app).keys.list(attempt=Attempt(action=Action.KEYS_STATUS, principal=OPERATOR))
    assert key.key_id in signed_in().get("keys").text
    limited = signed_in("limited", scopes=("audit:read",), paths=("billing/",))
    assert limited.get("keys").status_code == 403


def test_people_see_the_rules_of_a_secret(app: Flask, signed_in: SignIn, stored: Stored) -> None:
    """Write rules, and whether each read is an alarm, are on the page for those who may see it."""
    create(app, "ruled", canary=True)
    rules = {"version_required": True, "metadata_version_required": True, "max_versions": 3}
    stored.secrets.update_one({}, {"$set": {"rules": {**rules, "delete_after_seconds": 60}}})
    page = signed_in().get("secret", name="ruled").text
    for text in (
        "must name the newest version",
        "At most 3 versions",
        "after 60 seconds",
        "Each read is an alarm",
    ):
        assert text in page
    reader = signed_in("reader", role="reader").get("secret", name="ruled").text
    assert "alarm" not in reader
    assert services(app).queries.describe(
        Reference(name="ruled"), attempt=Attempt(action=Action.DESCRIBE, principal=OPERATOR)
    )


def test_a_history_is_of_one_namespace_and_marks_earlier_secrets(
    app: Flask, stored: Stored, signed_in: SignIn
) -> None:
    """Reads of the same name elsewhere are not shown; those of a deleted secret with the name are marked."""
    person, foreign = signed_in("alice"), signed_in("eve", role="admin", namespace="team")
    first = create(app, "billing/db")
    person.reveal(first)
    stored.secrets.delete_one({"_id": first})
    second = create(app, "billing/db")
    for _ in range(2):
        person.reveal(second)
    elsewhere = Attempt(action=Action.CREATE, principal=replace(OPERATOR, namespace="team"))
    new = NewSecret(plaintext=b"v", name="billing/db")
    foreign.reveal(services(app).secrets.create(new, attempt=elsewhere))
    page = person.get("audit", name="billing/db", action="reads").text
    assert (page.count("<td>fetch</td>"), page.count("(an earlier secret)"), "eve" in page) == (3, 1, False)
    assert foreign.get("audit", name="billing/db", action="reads").text.count("<td>fetch</td>") == 1
    # Of all entries, those of another namespace say it; in its own, the namespace is not said.
    assert "team: billing/db" in person.get("audit").text
    assert "team: billing/db" not in foreign.get("audit").text
    assert "<bdi>default" not in foreign.get("audit").text
    record(Action.LIST, Principal(name="x", namespace="team"))
    assert "<bdi>team</bdi>" in person.get("audit").text
    cursor = page.partition('name="cursor" value="')[2].partition('"')[0]
    rows = person.send("audit/follow", cursor=cursor, name="billing/db").json["rows"]
    assert {row["secret"] for row in rows} <= {"billing/db", "billing/db (an earlier secret)"}


def test_following_does_not_show_itself_in_any_namespace(signed_in: SignIn) -> None:
    """The queries of one who follows are not shown to them, also outside the default namespace."""
    foreign = signed_in("eve", role="admin", namespace="team")
    page = foreign.get("audit").text
    cursor = page.partition('name="cursor" value="')[2].partition('"')[0]
    for _ in range(2):
        reply = foreign.send("audit/follow", cursor=cursor).json
        assert not [row for row in reply["rows"] if row["action"] == "audit_query"]


def test_following_shows_the_queries_of_ones_token_elsewhere(signed_in: SignIn) -> None:
    """A query over the API with the follower's token is shown: someone else can have the token."""
    foreign = signed_in("eve", role="admin", namespace="team")
    cursor = foreign.get("audit").text.partition('name="cursor" value="')[2].partition('"')[0]
    record(Action.AUDIT_QUERY, Principal(name="team/eve", namespace="team"))
    rows = foreign.send("audit/follow", cursor=cursor).json["rows"]
    assert [row["principal"] for row in rows if row["action"] == "audit_query"] == ["team/eve"]


def test_who_sees_one_namespace_sees_nothing_of_all(signed_in: SignIn) -> None:
    """Outside the default namespace, the screens of the whole trail are for those who see it."""
    own = signed_in("eve", role="admin", namespace="team")
    everything = signed_in("all", role="admin", namespace="team", all_namespaces=True)
    for person, status in ((own, 403), (everything, 200)):
        for screen in ("keys", "status"):
            assert person.get(screen).status_code == status
            assert (f"/console/{screen}" in links(person.get("activity"))) == (status == 200)
        listed = person.get("tokens").text
        assert listed.count("audit of all namespaces") == 1
