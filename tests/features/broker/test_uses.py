"""Uses: what a broker gets for a session, each refusal, and what the trail says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from tests.features.broker.conftest import NAME, RULE, TARGET, VALUE, Sides
from tests.support.access import age_token, revoke, services
from tests.support.lifecycle import b64
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common import feature
from vault.core.access.authenticator import Authenticator
from vault.core.attempt import Attempt
from vault.core.principal import Scope
from vault.features.broker import uses
from vault.features.broker.uses import Uses
from vault.toolkit.http import rate_limits


@pytest.fixture(autouse=True)
def _no_cache(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose by the rules of now: the cache has a test of its own."""
    monkeypatch.setattr(services(app).of(Uses)._at_host, "_seconds", 0)


def entries(stored: Stored, action: str = "use") -> list[dict[str, Any]]:
    """Return the entries of an action, the oldest first."""
    return list(stored.audit_logs.find({"action": action}).sort("_id", 1))


def last(stored: Stored, action: str = "use") -> dict[str, Any]:
    """Return the newest entry of an action."""
    return entries(stored, action)[-1]


@pytest.mark.promise(3)
def test_a_use_returns_the_header_and_leaves_an_entry(sides: Sides, stored: Stored) -> None:
    """A use returns header, value and what to scrub; its entry has session and broker."""
    secret_id = sides.create()
    found = sides.use(client="192.0.2.7")
    assert found == {
        "name": NAME,
        "version": 1,
        "header": "Authorization",
        "value": f"Bearer {VALUE}",
        "secret": VALUE,
    }
    entry = last(stored)
    assert (entry["principal"], entry["status"], entry["secret_id"]) == ("agent-7", "success", secret_id)
    about = {"name": NAME, "namespace": "default", "version": 1, "client": "192.0.2.7"}
    assert entry["details"] == {"via_broker": "gate", **TARGET, **about}
    assert entry["ip"] == "127.0.0.1"
    assert VALUE not in str(entry)


def test_the_use_of_a_canary_is_an_event(sides: Sides, stored: Stored) -> None:
    """A canary that a broker uses is an alarm, as one that is fetched."""
    sides.create(canary=True)
    sides.use()
    entry = last(stored)
    assert entry["details"]["canary"] is True
    [kind] = [one for one in feature.events() if one.name == "canary.used"]
    assert (kind.action, kind.mark) == (entry["action"], "canary")
    assert {*kind.required} <= entry["details"].keys()


@pytest.mark.promise(3)
def test_without_an_entry_no_value_leaves(sides: Sides, stored: Stored) -> None:
    """While the trail cannot be written, neither call returns anything."""
    sides.create()
    block_trail(stored)
    try:
        assert VALUE not in str(sides.use(503))
        sides.call("usable", {"session": sides.tokens["session"]}, 503, by="broker")
    finally:
        restore_trail(stored)
    assert sides.use()["secret"] == VALUE


def test_the_newest_version_is_used(sides: Sides, stored: Stored) -> None:
    """The newest version is used, and the entry names it."""
    sides.create()
    sides.call("update", {"name": NAME, "secret": b64(b"another value")})
    assert (sides.use()["version"], sides.use()["secret"]) == (2, "another value")
    assert last(stored)["details"]["version"] == 2


def test_a_session_obtains_no_value_by_any_call(sides: Sides) -> None:
    """The scope of a session is enough for no call of the API, not even for its own use."""
    sides.create()
    for operation in ("fetch", "describe", "list", "share", "use", "usable"):
        body: dict[str, Any] = {} if operation == "list" else {"name": NAME}
        if operation.startswith("us"):
            body = {"session": sides.tokens["session"], **(TARGET if operation == "use" else {})}
        assert sides.call(operation, body, 403, by="session")["code"] == "scope_missing"


def test_a_broker_obtains_no_value_by_another_call(sides: Sides) -> None:
    """The scope of a broker fetches nothing, and is no session."""
    sides.create()
    assert sides.call("fetch", {"name": NAME}, 403, by="broker")["code"] == "scope_missing"
    asked = {"session": sides.tokens["broker"], **TARGET}
    assert sides.call("use", asked, 403, by="broker")["code"] == "session_invalid"


@pytest.mark.parametrize("operation", ["use", "usable"])
def test_both_calls_need_a_broker(sides: Sides, operation: str) -> None:
    """Without a credential the calls are 401, and with any other than a broker's 403."""
    body = {"session": sides.tokens["session"], **(TARGET if operation == "use" else {})}
    assert sides.client.post(f"/vault/secret/{operation}", json=body).status_code == 401
    sides.call(operation, body, 403, by="admin")
    sides.call(operation, body, 401, by="smt_" + "0" * 38)


@pytest.mark.parametrize("operation", ["use", "usable"])
@pytest.mark.parametrize(
    "wrong", ["malformed", "unknown", "revoked", "expired", "network", "scope", "namespace"]
)
def test_a_wrong_session_is_refused(sides: Sides, stored: Stored, operation: str, wrong: str) -> None:
    """A session that is unknown, ended, elsewhere or without its scope is 403, on record with the reason."""
    sides.create()
    made = {
        "malformed": lambda: "no-such-session",
        "unknown": lambda: "smt_" + sides.tokens["session"][4:][::-1],
        "revoked": lambda: sides.token("gone", "secret:use"),
        "expired": lambda: sides.token("old", "secret:use", seconds=60),
        "network": lambda: sides.token("far", "secret:use", networks=("192.0.2.0/24",)),
        "scope": lambda: sides.token("reader", "secret:fetch"),
        "namespace": lambda: sides.token("other", "secret:use", namespace="team-a"),
    }
    session = made[wrong]()
    if wrong == "revoked":
        revoke(sides.app, "gone")
    if wrong == "expired":
        age_token(sides.app, "old", hours=1)
    body = {"session": session, **(TARGET if operation == "use" else {})}
    reply = sides.call(operation, body, 403, by="broker")
    assert (reply["code"], reply["detail"]) == ("session_invalid", "The session is invalid.")
    entry = last(stored, "use" if operation == "use" else "use_list")
    assert entry["status"] == "denied"
    assert entry["details"]["via_broker"] == "gate"
    assert entry["details"]["reason"]
    assert session not in str(entry)
    if wrong == "network":
        sides.call(operation, {**body, "client": "192.0.2.7"}, by="broker")


def test_wrong_sessions_count_by_the_address_of_the_client(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong session counts for the limit on failures: by the reported address, or else the broker's."""
    counted: list[str] = []
    monkeypatch.setattr(rate_limits, "count_failure", lambda attempt: counted.append(attempt.ip))
    for client in ({"client": "192.0.2.7"}, {"client": "2001:db8::1"}, {}):
        sides.call("use", {"session": "x", **TARGET, **client}, 403, by="broker")
    assert counted == ["192.0.2.7", "2001:db8::1", "127.0.0.1"]


def test_a_use_counts_as_a_request_of_the_session(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate limit counts a use for its broker, and for its session."""
    sides.create()
    counted: list[str] = []
    monkeypatch.setattr(rate_limits, "count_request", lambda attempt: counted.append(attempt.principal.name))
    sides.use()
    assert counted == ["gate", "agent-7"]


@pytest.mark.parametrize(
    "asked",
    [
        {"host": "api.example.com"},
        {"host": "api.stripe.com:8443"},
        {"method": "DELETE"},
        {"path": "/v1/charges/1"},
        {"name": NAME, "path": "/v2"},
        {"name": "billing/none"},
    ],
    ids=str,
)
def test_a_request_without_a_rule_is_refused(sides: Sides, stored: Stored, asked: dict[str, str]) -> None:
    """A request that no rule includes, or of an unknown name, is 403 with one text, and on record."""
    sides.create()
    reply = sides.use(403, **asked)
    assert (reply["code"], reply["detail"]) == ("use_refused", "No use rule allows this request.")
    entry = last(stored)
    assert (entry["principal"], entry["status"]) == ("agent-7", "denied")
    assert {**TARGET, **asked}.items() <= entry["details"].items()
    assert entry["details"]["reason"] in ("no rule", "not found")


@pytest.mark.parametrize("name", [None, NAME])
def test_the_secret_is_within_the_paths_of_both(sides: Sides, name: str | None) -> None:
    """A secret outside the paths of the session, or of the broker, is used as little as a missing one."""
    sides.create()
    limits = {"in": ("billing/",), "out": ("shop/",)}
    sessions = {one: sides.token(f"s-{one}", "secret:use", paths=limits[one]) for one in limits}
    brokers = {one: sides.token(f"b-{one}", "secret:broker", paths=limits[one]) for one in limits}
    for session in limits:
        for broker in limits:
            body = {"session": sessions[session], **TARGET, **({"name": name} if name else {})}
            status = 200 if (session, broker) == ("in", "in") else 403
            reply = sides.call("use", body, status, by=brokers[broker])
            assert status == 200 or reply["code"] == "use_refused"
            listed = sides.call("usable", {"session": sessions[session]}, by=brokers[broker])["rules"]
            assert bool(listed) == (status == 200)


def test_another_namespace_is_not_reached(sides: Sides) -> None:
    """Broker and session of one namespace use its secrets, and none of another."""
    sides.create()
    session = sides.token("s", "secret:use", namespace="team-a")
    broker = sides.token("b", "secret:broker", namespace="team-a")
    for more in ({}, {"name": NAME}):
        body = {"session": session, **TARGET, **more}
        assert sides.call("use", body, 403, by=broker)["code"] == "use_refused"


def test_the_longest_path_decides(sides: Sides) -> None:
    """Without a name, the secret whose path is longest is used; with one, that secret."""
    sides.create("billing/wide", "the wide value", [{**RULE, "paths": ["/"]}])
    sides.create("billing/near", "the near value", [{**RULE, "paths": ["/v1/"]}])
    sides.create("billing/same", "the same value", [RULE])
    assert sides.use()["name"] == "billing/same"
    assert sides.use(path="/v1/other")["name"] == "billing/near"
    assert sides.use(path="/other")["name"] == "billing/wide"
    assert sides.use(name="billing/wide")["secret"] == "the wide value"


def test_ambiguous_rules_are_refused(sides: Sides, stored: Stored) -> None:
    """Two secrets that match equally well are 409, with the names that both sides reach; a name decides."""
    for name in ("billing/a", "billing/b", "shop/c"):
        sides.create(name)
    session = sides.token("s", "secret:use", paths=("billing/",))
    reply = sides.call("use", {"session": session, **TARGET}, 409, by="broker")
    assert reply["code"] == "rule_ambiguous"
    assert "billing/a, billing/b." in reply["detail"]
    assert "shop/c" not in reply["detail"]
    assert last(stored)["details"]["reason"] == "ambiguous"
    assert sides.use(name="billing/b")["name"] == "billing/b"


@pytest.mark.parametrize("value", ["line\nbreaks", "line\rbreaks", "with\0 zero", "a" * 16_385])
def test_a_value_that_no_header_can_have_is_not_used(sides: Sides, stored: Stored, value: str) -> None:
    """A value with a line break or NUL, or too long for a header, is 422 and on record; no read counts."""
    sides.create(value=value, max_reads=1)
    for _ in range(2):
        reply = sides.use(422)
        assert reply["code"] == "unusable_value"
        assert value not in str(reply)
    assert last(stored)["status"] == "bad_request"
    assert sides.call("describe", {"name": NAME})["reads_left"] == 1


def test_bytes_that_are_no_text_are_not_used(sides: Sides) -> None:
    """A value that is no text is 422."""
    body = {"name": NAME, "secret": b64(b"\xff" * 9), "use_rules": [RULE]}
    sides.call("create", body)
    assert sides.use(422)["code"] == "unusable_value"


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "*"},
        {"host": "10.0.0.1"},
        {"host": "api.stripe.com."},
        {"method": "OPTIONS"},
        {"method": "post"},
        {"path": "v1"},
        {"path": "/v1/../x"},
        {"path": "/v1?x=1"},
        {"path": "/a%2fb"},
        {"path": "/" + "a" * 2_048},
        {"client": "nowhere"},
        {"client": "192.0.2.0/24"},
        {"session": ""},
        {"session": "a b"},
        {"name": "a//b"},
        {"more": 1},
        *({name: None} for name in ("session", "host", "method", "path")),
    ],
    ids=str,
)
def test_a_wrong_body_is_refused(sides: Sides, wrong: dict[str, Any]) -> None:
    """A body that breaks a rule of its fields is 422."""
    assert sides.use(422, **wrong)["code"] == "unprocessable_entity"


def test_a_host_counts_in_any_form(sides: Sides, stored: Stored) -> None:
    """A host in upper case, or with the port of HTTPS, is the same, and recorded in one form."""
    sides.create()
    assert sides.use(host="API.Stripe.com:443")["secret"] == VALUE
    assert last(stored)["details"]["host"] == "api.stripe.com"


def test_a_token_in_a_path_is_not_recorded(sides: Sides, stored: Stored) -> None:
    """A token in a path is masked in the entry."""
    sides.create(rules=[{**RULE, "paths": ["/"]}])
    sides.use(path=f"/bot{sides.tokens['admin']}/send")
    assert last(stored)["details"]["path"] == "/bot…/send"


def test_read_limits_count_uses(sides: Sides) -> None:
    """A use counts as a read; after the last one, nothing is used, however many ask at a time."""
    sides.create(max_reads=3)
    clients = [Sides.__new__(Sides) for _ in range(8)]
    for one in clients:
        one.tokens, one.client = sides.tokens, sides.app.test_client()
    body = {"session": sides.tokens["session"], **TARGET}
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda one: _status(one, body), clients))
    assert sorted(replies) == [200] * 3 + [403] * 5


def _status(sides: Sides, body: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {sides.tokens['broker']}"}
    return sides.client.post("/vault/secret/use", json=body, headers=headers).status_code


def test_a_canary_is_an_alarm_when_it_is_used(sides: Sides, stored: Stored) -> None:
    """The use of a canary is marked in its entry."""
    sides.create(canary=True)
    sides.use()
    assert last(stored)["details"]["canary"] is True


def test_a_secret_that_ended_is_not_used(sides: Sides) -> None:
    """A deleted secret is not used, by its name or without."""
    sides.create()
    sides.call("delete", {"name": NAME})
    for more in ({}, {"name": NAME}):
        assert sides.use(403, **more)["code"] == "use_refused"


def test_a_rule_that_is_gone_ends_at_once(sides: Sides, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What chooses the secret may be seconds old; the chosen secret's own rules are those of now."""
    monkeypatch.setattr(services(app).of(Uses)._at_host, "_seconds", 60)
    sides.create()
    sides.use()
    sides.call("update-metadata", {"name": NAME, "use_rules": [{**RULE, "methods": ["GET"]}]})
    assert sides.use(403)["code"] == "use_refused"
    sides.create("billing/new", rules=[{**RULE, "hosts": ["api.example.com"]}])
    assert sides.use(host="api.example.com")["name"] == "billing/new"


def test_rules_are_chosen_anew_within_five_seconds() -> None:
    """The choice of a secret is never older than the 5 seconds in which a change takes effect."""
    assert uses._CACHE_SECONDS + 1 < 5


def test_usable_lists_rules_without_headers_or_values(sides: Sides, stored: Stored) -> None:
    """The list has names, hosts, methods and paths of all rules, and nothing of headers or values."""
    basic = {**{name: RULE[name] for name in ("hosts", "methods", "paths")}, "basic": "deploy"}
    sides.create("billing/b", rules=[RULE, basic])
    sides.create("billing/a")
    sides.create("billing/none", rules=[])
    shown = {name: RULE[name] for name in ("hosts", "methods", "paths")}
    reply = sides.call("usable", {"session": sides.tokens["session"]}, by="broker")
    names = ("billing/a", "billing/b", "billing/b")
    assert reply == {"rules": [{"name": name, **shown} for name in names]}
    entry = last(stored, "use_list")
    assert (entry["principal"], entry["status"]) == ("agent-7", "success")
    assert entry["details"] == {"via_broker": "gate", "count": 2}


def test_altered_rules_are_not_listed(sides: Sides, stored: Stored) -> None:
    """Rules of another form, which someone stored in MongoDB, are neither listed nor chosen."""
    sides.create()
    stored.secrets.update_one({}, {"$set": {"use_rules.0.paths": 1}})
    assert sides.call("usable", {"session": sides.tokens["session"]}, by="broker") == {"rules": []}
    assert sides.use(403)["code"] == "use_refused"


def test_too_many_secrets_are_refused(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """More secrets than a list or a host can have are 409; a name, or a path, still finds one."""
    for name in ("billing/a", "billing/b", "shop/c"):
        sides.create(name)
    monkeypatch.setattr(uses, "MAX_USABLE", 2)
    monkeypatch.setattr(uses, "MAX_AT_HOST", 2)
    session = {"session": sides.tokens["session"]}
    assert sides.call("usable", session, 409, by="broker")["code"] == "limit_reached"
    assert sides.use(409)["code"] == "limit_reached"
    assert sides.use(name="shop/c")["name"] == "shop/c"
    narrow = {"session": sides.token("s", "secret:use", paths=("billing/",))}
    assert len(sides.call("usable", narrow, by="broker")["rules"]) == 2
    only = sides.token("only", "secret:use", paths=("shop/",))
    assert sides.use(session=only)["name"] == "shop/c"
    assert sides.use(by=sides.token("near", "secret:broker", paths=("shop/",)))["name"] == "shop/c"


@pytest.mark.parametrize("side", ["broker", "session"])
def test_a_credential_with_both_scopes_is_neither(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """A JWT that claims both scopes is refused as broker and as session."""
    sides.create()
    identify = Authenticator.identify
    both = frozenset({Scope.SECRET_USE, Scope.SECRET_BROKER})

    def identified(self: Authenticator, credential: str | None, *, attempt: Attempt, **options: Any) -> None:
        identify(self, credential, attempt=attempt, **options)
        if credential == sides.tokens[side]:
            attempt.principal = replace(attempt.principal, scopes=both)

    monkeypatch.setattr(Authenticator, "identify", identified)
    assert sides.use(403)["code"] == ("scope_missing" if side == "broker" else "session_invalid")


def test_only_an_operator_gives_a_side(sides: Sides) -> None:
    """No caller of the API gives either scope, whatever its own, and no credential gets both."""
    maker = sides.token("maker", "token:manage", "secret:use")

    def create(scopes: list[str], status: int, by: str) -> Any:
        headers = {"Authorization": f"Bearer {sides.tokens.get(by, by)}"}
        reply = sides.client.post(
            "/vault/token/create", json={"name": "new", "scopes": scopes}, headers=headers
        )
        assert reply.status_code == status, reply.text
        return reply.json

    for by in ("admin", maker):
        create(["secret:use"], 403, by)
        create(["secret:broker"], 403, by)
        create(["secret:use", "secret:broker"], 422, by)


def test_an_administrator_revokes_a_session(sides: Sides) -> None:
    """An administrator, who has neither scope, revokes tokens that have one."""
    sides.create()
    headers = {"Authorization": f"Bearer {sides.tokens['admin']}"}
    reply = sides.client.post("/vault/token/revoke", json={"name": "agent-7"}, headers=headers)
    assert reply.status_code == 200, reply.text
