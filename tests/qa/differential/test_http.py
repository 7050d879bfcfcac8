"""Raw requests of Vault's API: this service answers as OpenBao does."""

import json
import re
from http import HTTPStatus
from typing import Any

import pytest

from tests.qa.differential.comparison import Observer, compare
from tests.qa.differential.scenarios import SCENARIOS
from tests.qa.differential.scenarios.calls import NOTHING, Call, Scenario
from tests.support.issuer import UNPUBLISHED_KEY, claims, sign
from tests.support.openbao import CLAIM, VALUE, Reply, Server, Servers

pytestmark = pytest.mark.process

#: Headers that clients depend on.
_HEADERS = ("Content-Type", "Cache-Control")
#: Texts of a 400 that clients match on; the others are for people.
_MATCHED = re.compile("check-and-set|wrapping token|client token|permission denied|unsupported")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_requests_are_answered_alike(servers: Servers, scenario: Scenario) -> None:
    """Status, body and the headers that clients depend on are those of the real server."""

    def program(server: Server, see: Observer) -> None:
        _run(server, scenario, see)

    compare(servers, f"http: {scenario.name}", program)


def _run(server: Server, scenario: Scenario, see: Observer) -> None:
    known = _known(server)
    for call in scenario.calls:
        reply = _ask(server, call, known, scenario.name.replace(" ", "-"))
        seen: dict[str, Any] = {"status": reply.status, "headers": _shown(reply)}
        if "Location" in reply.headers:
            # No client reads the page that says the same.
            see(call.step, {"status": reply.status, "location": reply.headers["Location"]})
            continue
        body = _with_numbers(reply) if scenario.exact else reply.body
        if reply.status == HTTPStatus.BAD_REQUEST and isinstance(body, dict):
            body |= {"errors": [text if _MATCHED.search(text) else "<text>" for text in body["errors"]]}
        see(call.step, seen | {"body": body})
        if call.keep:
            known[call.keep] = _token(reply)
            known[f"{call.keep}_accessor"] = _accessor(reply)


def _known(server: Server) -> dict[str, str]:
    """Return what a body, a header and a caller can refer to."""
    jwts = {
        "jwt": {},
        "other_claim": {CLAIM: "acme/other"},
        "other_audience": {"aud": "other"},
        "other_issuer": {"iss": "https://other.example"},
        "expired": {"exp": claims()["exp"] - 6000, "iat": claims()["iat"] - 6000},
        "other_key": {"key": UNPUBLISHED_KEY, "algorithm": "RS256"},
    }
    signed = {name: sign("ec-1", **{CLAIM: VALUE, **changes}) for name, changes in jwts.items()}
    return {
        **server.tokens,
        "wrong": "wrong",
        "role_id": server.role_id,
        "secret_id": server.secret_id,
        **signed,
        # In JSON, as a file has lines.
        "broken_jwt": r"\n".join(re.findall(".{1,64}", signed["jwt"])),
    }


def _ask(server: Server, call: Call, known: dict[str, str], folder: str) -> Reply:
    def filled(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda name: known.get(name[1], name[0]), text)

    headers = {name: filled(value) for name, value in call.headers.items()}
    if call.caller != "anonymous":
        headers = {"X-Vault-Token": known[call.caller], **headers}
    body = None
    if isinstance(call.body, bytes):
        body = call.body
    elif call.body is not NOTHING:
        body = filled(json.dumps(call.body)).replace("~", folder).encode()
    return server.send(call.method, "/v1/" + call.path.replace("~", folder), body, headers)


def _with_numbers(reply: Reply) -> Any:
    """Return the body, with each number as its text."""
    return json.loads(reply.text, parse_int="number {}".format, parse_float="number {}".format)


def _shown(reply: Reply) -> dict[str, str]:
    return {name: reply.headers[name] for name in _HEADERS if name in reply.headers}


def _accessor(reply: Reply) -> str:
    found = reply.body.get("auth") if isinstance(reply.body, dict) else None
    return str(found["accessor"]) if found else "none"


def _token(reply: Reply) -> str:
    body = reply.body if isinstance(reply.body, dict) else {}
    for part, name in (("wrap_info", "token"), ("auth", "client_token")):
        if body.get(part):
            return str(body[part][name])
    return "none"
