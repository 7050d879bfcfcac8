"""What agents get over the Model Context Protocol, by the official client."""

import asyncio
import json
import secrets
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import Client, StdioServerParameters

from tests.support.features import requires
from tests.support.service import Service as Process
from vault.cli import commands
from vault.clients.mcp import tools
from vault.clients.mcp.commands import server
from vault.toolkit.client.service import Service

VALUE = f"sk_live_{secrets.token_hex(16)}"
RULE = {
    "hosts": ["api.stripe.com"],
    "methods": ["GET"],
    "paths": ["/v1/"],
    "header": "Authorization",
    "format": "Bearer {}",
}
Answer = tuple[bool, Any]


class Agent:
    """An agent with a token."""

    def __init__(self, url: str, token: str) -> None:
        self.service = Service(url, token)

    def asks(self, tool: str, **arguments: Any) -> Answer:
        """Return whether *tool* failed, and its answer."""

        async def ask(client: Client) -> Answer:
            return answer(await client.call_tool(tool, arguments))

        return run(server(self.service), ask)


def run(place: Any, what: Callable[[Client], Awaitable[Any]]) -> Any:
    """Do *what* with a client of the server at *place*."""

    async def connected() -> Any:
        async with Client(place) as client:
            return await what(client)

    return asyncio.run(connected())


def answer(result: Any) -> Answer:
    """Return whether a tool failed, and its structure, or else its text."""
    return bool(result.is_error), result.structured_content or result.content[0].text


@pytest.fixture
def name(guarded: tuple[Process, str]) -> str:
    """Return the name of a new secret with a rule, which the administrator fetched."""
    service, admin = guarded
    name = f"billing/{secrets.token_hex(4)}"
    headers = {"Authorization": f"Bearer {admin}"}
    new = {"name": name, "secret": b64encode(VALUE.encode()).decode(), "labels": {"team": "ops"}}
    for path, body in (("create", {**new, "use_rules": [RULE]}), ("fetch", {"name": name})):
        assert service.post(f"/vault/secret/{path}", body, **headers).status == 200
    return name


@pytest.fixture
def agent(guarded: tuple[Process, str]) -> Agent:
    """Return an agent with the token of an administrator, who may fetch any value."""
    service, admin = guarded
    return Agent(service.url, admin)


pytestmark = requires("broker")


@pytest.mark.promise(1)
def test_no_tool_returns_a_value(guarded: tuple[Process, str], name: str) -> None:
    """Whatever the token may, an agent that calls all tools of the command sees names and rules, no value."""
    service, admin = guarded
    environment = {"VAULT_URL": service.url, "VAULT_TOKEN": admin}
    place = StdioServerParameters(command=sys.executable, args=["-m", "vault.cli", "mcp"], env=environment)

    async def call_all(client: Client) -> list[Any]:
        found = (await client.list_tools()).tools
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in found)
        given = {"name": name, "prefix": name}
        asked = {tool.name: given.keys() & tool.input_schema["properties"].keys() for tool in found}
        return [
            await client.call_tool(tool, {one: given[one] for one in names}) for tool, names in asked.items()
        ]

    results = run(place, call_all)
    assert len(results) == len(tools.Tools(Service(service.url, admin)).all)
    text = " ".join(result.model_dump_json() for result in results)
    assert not any(result.is_error for result in results)
    assert name in text
    assert VALUE not in text
    assert b64encode(VALUE.encode()).decode() not in text
    assert "secret_id" not in text


def test_secrets_are_listed_and_described(agent: Agent, name: str) -> None:
    """Both have labels; a description has the use rules and no ID."""
    _, found = agent.asks("list_secrets", prefix=name)
    assert [(one["name"], one["labels"]) for one in found["secrets"]] == [(name, {"team": "ops"})]
    assert found["cursor"] is None
    _, found = agent.asks("describe_secret", name=name)
    assert (found["version"], found["use_rules"]) == (1, [RULE])


def test_hosts_are_those_of_rules(agent: Agent, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule has its secret; pages follow one another; a secret that is deleted meanwhile has none."""
    is_failed, found = agent.asks("usable_hosts", prefix=name)
    kept = {key: RULE[key] for key in ("hosts", "methods", "paths")}
    assert (is_failed, found) == (False, {"rules": [{"secret": name, **kept}], "cursor": None})
    monkeypatch.setattr(tools, "MAX_ROWS", 1)
    other = f"{name}/other"
    body = {"name": other, "secret": "YQ=="}
    agent.service.call("/vault/secret/create", body)
    _, found = agent.asks("usable_hosts", prefix=name)
    assert agent.asks("usable_hosts", prefix=name, cursor=found["cursor"]) == (
        False,
        {"rules": [], "cursor": None},
    )
    assert tools.Tools(agent.service)._rules(f"{name}/none") == []


@requires("exposure")
def test_who_knows_a_secret_is_told(agent: Agent, name: str) -> None:
    """By the trail: principals and how, and who used it apart."""
    _, found = agent.asks("who_knows", name=name)
    assert [(one["principal"], one["how"]) for one in found["exposures"]] == [("ci", ["fetch", "write"])]
    assert (found["uses"], "copies" in found["unknown"]) == ([], True)


def test_refusals_are_errors_that_an_agent_reads(guarded: tuple[Process, str], agent: Agent) -> None:
    """What the token may not do, an unknown name and a service that is away are errors of the tool."""
    service, _ = guarded
    for refused, arguments, said in (
        (agent, {"name": "billing/none"}, "no secret"),
        (Agent(service.url, "smt_wrong"), {"name": "a"}, "credential"),
        (Agent("http://127.0.0.1:1", "a"), {"name": "a"}, "unreachable"),
    ):
        is_failed, text = refused.asks("describe_secret", **arguments)
        assert is_failed, said
        assert text.startswith("Error executing tool describe_secret: "), text
    narrow = {"name": f"s-{secrets.token_hex(4)}", "scopes": ["secret:list"]}
    token = agent.service.call("/vault/token/create", narrow)["token"]
    assert agent.asks("list_secrets")[0] is False
    is_failed, text = Agent(service.url, token).asks("usable_hosts")
    assert is_failed
    assert "secret:describe" in text


def test_an_odd_reply_is_an_error(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of something else, as of another program at the address, are refused."""
    monkeypatch.setattr(Service, "call", lambda *_: {"secrets": [1]})
    is_failed, text = agent.asks("list_secrets")
    assert is_failed, json.dumps(text)


def test_without_the_extra_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK is an extra: its absence is an error with a hint, not a traceback."""
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    done = CliRunner().invoke(commands, ["mcp"], env={"VAULT_URL": "http://127.0.0.1:1", "VAULT_TOKEN": "a"})
    assert done.exit_code == 1
    assert "extra mcp" in done.output
