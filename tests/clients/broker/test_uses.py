"""The service's say: nothing leaves without it, and its refusals reach the client."""

import asyncio
from collections.abc import Mapping
from threading import Event
from typing import Any

import pytest

from tests.clients.broker.service import SESSION, VALUE, Rule
from tests.clients.broker.world import World, basic
from tests.support.waiting import wait_until
from vault.clients.broker.service import Session, Uses
from vault.toolkit.client.service import Service


def test_each_request_is_on_record_first(world: World) -> None:
    """The service is asked for each request, with the session, the client's address, and the bare path."""
    world.service.asked.clear()
    with world.tunnel() as client:
        for method in ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"):
            client.send(world.request(method, f"/v1/{method}?token=x"))
            assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            if method != "HEAD":
                client.until(b"0\r\n\r\n")
    calls = [body for path, body in world.service.asked if path == "/vault/secret/use"]
    assert [(call["method"], call["path"]) for call in calls] == [
        request.line for request in world.host.arrived
    ]
    assert {(call["session"], call["client"], call["host"]) for call in calls} == {
        (SESSION, "127.0.0.1", world.authority)
    }


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        (403, "use_refused", 403),
        (403, "session_invalid", 403),
        (403, "approval_required", 403),
        (404, "secret_not_found", 404),
        (409, "rule_ambiguous", 409),
        (422, "unusable_value", 422),
        (429, "rate_limited", 429),
        (401, "credential_invalid", 503),
        (500, "internal", 500),
        (502, "bad_gateway", 503),
        (503, "storage_unavailable", 503),
        (504, "timeout", 503),
    ],
)
def test_a_refusal_of_the_service_is_the_clients(world: World, status: int, code: str, shown: int) -> None:
    """The client gets the refusal as a problem document; nothing is sent to the host."""
    with world.tunnel() as client:
        world.service.status, world.service.code = status, code
        client.send(world.request())
        reply = client.reply()
        assert (reply.status, reply.code) == (shown, "service_unavailable" if shown == 503 else code)
    assert world.host.arrived == []


@pytest.mark.parametrize(
    "lie",
    [
        {"value": None},
        {"value": ""},
        {"value": " x"},
        {"value": "x "},
        {"value": "a\r\nX: b"},
        {"value": "a\nb"},
        {"value": "a\x00b"},
        {"value": "a\x1bb"},
        {"value": "a\x7fb"},
        {"value": "\ud800" * 9},
        {"value": 7},
        {"header": ""},
        {"header": "X Y"},
        {"header": "X:"},
        {"header": "X\r\nY"},
        {"header": "Xé"},
        {"header": None},
        {"secret": ""},
        {"secret": "1234567"},
        {"secret": 7},
        {"secret": None},
        {"secret": "\udfff" * 9},
        {"version": "new"},
        {"version": None},
    ],
)
def test_an_odd_reply_of_the_service_is_no_header(world: World, lie: dict[str, object]) -> None:
    """A reply that makes no header, or does not say what to remove, is 503; nothing is sent to the host."""
    world.service.lie = lie
    reply = world.ask(world.request())
    assert (reply.status, reply.code) == (503, "service_unavailable")
    assert world.host.arrived == []


def test_other_letters_are_sent_as_utf8(world: World) -> None:
    """A value with other letters is sent in UTF-8, and removed from the reply in all forms."""
    [rule] = world.service.rules
    world.service.rules = [Rule(rule.name, rule.hosts, value="pässwörd-𝄞-xyz")]
    world.host.reply = lambda request: [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.head) + request.head
    ]
    assert b"[secret]" in world.ask(world.request()).body
    assert "Bearer pässwörd-𝄞-xyz".encode() in world.host.arrived[0].head


def test_an_ambiguous_rule_names_the_secrets(world: World) -> None:
    """Two secrets that match equally well: 409, with both names."""
    [rule] = world.service.rules
    world.service.rules = [rule, Rule("billing/other", rule.hosts)]
    reply = world.ask(world.request())
    assert reply.code == "rule_ambiguous"
    assert b"billing/stripe and billing/other" in reply.body
    assert world.host.arrived == []


def test_the_longest_path_decides(world: World) -> None:
    """Each request has the header of the rule that matches best."""
    [rule] = world.service.rules
    world.service.rules = [
        Rule("all", rule.hosts, header="X-All"),
        Rule("charges", rule.hosts, paths=("/v1/charges",), header="X-Charges", value="another-value"),
    ]
    with world.tunnel() as client:
        for path in ("/v1/charges", "/v1/refunds"):
            client.send(world.request("GET", path))
            assert client.reply().status == 200
    assert [(request.values("x-charges"), request.values("x-all")) for request in world.host.arrived] == [
        (["Bearer another-value"], []),
        ([], [f"Bearer {VALUE}"]),
    ]


def test_an_unknown_session_gets_no_tunnel(world: World) -> None:
    """CONNECT with an invalid session is refused with the service's words."""
    with world.client() as client:
        client.send(
            f"CONNECT {world.authority} HTTP/1.1\r\nHost: {world.authority}\r\n"
            "Proxy-Authorization: Bearer smt_unknown\r\n\r\n".encode()
        )
        reply = client.reply()
    assert (reply.status, reply.code) == (403, "session_invalid")
    assert world.host.connections == 0


def test_the_service_away_is_503(world: World) -> None:
    """A service that answers too late is 503; nothing is sent to the host."""
    with pytest.MonkeyPatch.context() as patch, world.tunnel() as client:
        patch.setattr("vault.clients.broker.service._CALL_SECONDS", 0.2)
        world.service.answers.clear()
        client.send(world.request())
        reply = client.reply()
        assert (reply.status, reply.code) == (503, "service_unavailable")
        world.service.answers.set()
    assert world.host.arrived == []


def test_an_odd_list_of_hosts_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the service does not say where the session can use secrets, there is no tunnel."""
    monkeypatch.setattr(world.service, "reply", lambda *_: (200, {"rules": [{"name": "a"}]}))
    with world.client() as client:
        client.send(f"CONNECT {world.authority} HTTP/1.0\r\n".encode() + basic() + b"\r\n")
        assert client.reply().code == "service_unavailable"


def test_old_answers_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers about many sessions are kept no longer than they are needed."""
    monkeypatch.setattr("vault.clients.broker.service._MAX_KEPT", 0)
    monkeypatch.setattr("vault.clients.broker.service._PAUSE_SECONDS", 0.0)
    assert world.ask(world.request()).status == 200
    wait_until(lambda: not world.parts.uses._asked)


def test_calls_for_one_address_leave_some_to_others() -> None:
    """While as many calls for one address wait as it can have, that for another one is answered."""
    over = Event()

    class Waiting(Service):
        def call(self, _path: str, body: Mapping[str, Any], **_: Any) -> dict[str, Any]:
            if body["client"] == "busy":
                over.wait(30)
            return {"rules": []}

    async def ask() -> None:
        uses = Uses(lambda token: Waiting("http://127.0.0.1:1", token), lambda: "a")
        busy = [asyncio.create_task(uses.require(Session(f"{number}", "busy"))) for number in range(20)]
        await uses.require(Session("a", "idle"))
        assert not any(task.done() for task in busy)
        over.set()
        await asyncio.gather(*busy)
        uses.close()

    asyncio.run(ask())
