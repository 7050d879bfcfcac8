"""The commands `compose …`, called as Compose's document says, without Compose."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.people import Person

PROJECT = "shop"


@dataclass
class Compose:
    """Compose with a service `secrets` that has the provider, and another one that depends on it."""

    person: Person
    #: The variables of the dependent service.
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, options: Mapping[str, str | list[str]], *, code: int = 0) -> str:
        """Run a *command* of the provider with the options of the file; return its error."""
        described = self.person.sees("compose", "metadata")[0]
        known = {one["name"] for one in described[command]["parameters"]}
        flags = [
            f"--{name}={value}"
            for name, values in options.items()
            for value in ([values] if isinstance(values, str) else values)
            if name in known
        ]
        arguments = ("compose", f"--project-name={PROJECT}", command, *flags, "secrets")
        done = self.person.try_to(*arguments)
        assert done.exit_code == code, done.output
        for line in done.stdout.splitlines():
            message = json.loads(line)
            assert message.keys() == {"type", "message"}
            match message["type"]:
                case "error":
                    return str(message["message"])
                case "setenv":
                    name, value = message["message"].split("=", 1)
                    self.environment[f"SECRETS_{name}"] = value
                case "rawsetenv":
                    name, value = message["message"].split("=", 1)
                    self.environment[name] = value
                case other:
                    assert other == "debug"
                    assert "hunter" not in message["message"]
        return ""


@pytest.fixture
def compose(person: Person) -> Compose:
    """Return a Compose whose user may read two secrets."""
    person.does("secret", "set", "shop/db-password", send="hunter=2\n")
    person.does("secret", "set", "shop/api/key", send=b"\xff")
    return Compose(person)


def test_a_service_gets_variables(compose: Compose) -> None:
    """Variables have the exact values, after the name of the provider's service, or as they are."""
    compose.run("up", {"env": ["DB_PASSWORD=shop/db-password", "AGAIN=shop/db-password"]})
    expected = {"SECRETS_DB_PASSWORD": "hunter=2\n", "SECRETS_AGAIN": "hunter=2\n"}
    assert compose.environment == expected
    compose.run("up", {"prefix": "shop/db-", "raw": "true", "unknown": "x"})
    assert compose.environment == expected | {"PASSWORD": "hunter=2\n"}
    assert compose.run("down", {"env": "DB_PASSWORD=shop/db-password"}) == ""


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({}, 2, "No secrets are named: use --env or --prefix"),
        ({"env": "x"}, 2, "must be NAME=SECRET"),
        ({"env": ["A=a", "A=b"]}, 2, "--env names a variable twice"),
        ({"env": "A=none"}, 3, "none"),
        ({"env": "KEY=shop/api/key"}, 1, "the value for KEY is not UTF-8 without NUL bytes"),
    ],
)
def test_compose_shows_why_a_provider_fails(
    compose: Compose, options: dict[str, Any], code: int, reason: str
) -> None:
    """A failure is a message to Compose, in addition to the error and the exit code."""
    assert reason in compose.run("up", options, code=code)
    assert compose.environment == {}


def test_the_metadata_has_the_options_of_a_file(person: Person) -> None:
    """Compose passes only the options that are described here."""
    [found] = person.sees("compose", "metadata")
    assert found["description"] == "Give services of a Compose file their secrets."
    parameters = {one["name"]: one["type"] for one in found["up"]["parameters"]}
    names = ("env", "prefix", "url", "token-file", "ca-cert", "role")
    assert parameters == dict.fromkeys(names, "string") | {"raw": "boolean"}
    assert found["down"] == {"parameters": []}
