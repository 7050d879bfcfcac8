"""The commands `login`, `logout` and `whoami`."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask

from tests.support.access import make_token
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.features import requires
from tests.support.issuer import ED_KEY, public_pem, sign
from tests.support.people import Person
from tests.system.test_tls import make
from tests.toolkit.client.peers import peer, reply
from vault.cli import commands
from vault.toolkit.client import profile


def test_a_login_is_kept_for_later_commands(person: Person, app: Flask) -> None:
    """After `login`, commands need neither VAULT_URL nor VAULT_TOKEN; `logout` ends that."""
    token = make_token(app, "alice", role="writer", paths=("billing/",))
    person.environment = {"VAULT_URL": "", "VAULT_TOKEN": ""}
    output = person.does("login", "--url", "https://secrets.example.com", send=token + "\n")
    assert output == "logged in as alice at https://secrets.example.com\n"
    assert profile.place().stat().st_mode & 0o777 == 0o600
    assert person.sees("whoami")[0]["url"] == "https://secrets.example.com"
    shown = dict(line.split(maxsplit=1) for line in person.does("whoami").splitlines())
    assert shown["name"] == "alice"
    assert shown["paths"] == "billing/"
    assert shown["expires"] == "never"
    # A token has scopes; only a JWT acts through a role.
    assert "role" not in shown
    assert "secret:fetch" in shown["scopes"]
    assert person.does("logout") == "logged out\n"
    assert person.does("logout") == "there is no login\n"
    person.fails_to("whoami", code=4)


def test_a_token_is_typed_at_a_hidden_prompt(person: Person) -> None:
    """On a terminal, `login` asks for the token without showing it, and warns of VAULT_TOKEN."""
    person.sit_at_terminal("<stdin>")
    token = person.environment["VAULT_TOKEN"]
    result = person.try_to("login", send=token + "\n")
    assert result.exit_code == 0
    assert token not in result.output
    assert "VAULT_TOKEN is set" in result.stderr


def test_a_login_does_not_use_the_variable(person: Person) -> None:
    """A login takes its token from a file or standard input, and help and error say so."""
    assert "[default: standard input]" in person.does("login", "--help")
    assert "VAULT_TOKEN is not used" in person.fails_to("login", code=1)
    assert person.calls == []


def test_a_token_can_be_in_a_file(person: Person, tmp_path: Path) -> None:
    """`login --token-file` reads the token, and keeps the certificates' place."""
    (tmp_path / "token").write_text(person.environment.pop("VAULT_TOKEN"))
    authority = make(tmp_path, "ca").certificate
    person.environment["VAULT_TOKEN"] = ""
    person.does("login", "--token-file", tmp_path / "token", "--ca-cert", authority)
    kept = profile.load()
    assert kept is not None
    assert kept.ca_cert == str(authority)
    assert kept.url == "http://localhost:8000"


@requires("jwt")
def test_a_login_does_not_keep_a_role(person: Person, app: Flask) -> None:
    """A login checks a JWT with its role, and keeps the role for no later command: a note says so."""
    make_issuer(app, "ci", iss="https://ci.example", keys=public_pem(ED_KEY))
    for name in ("a", "b"):
        make_role(app, name, "ci", claims={"sub": "job"})
    person.environment = {"VAULT_URL": "", "VAULT_TOKEN": ""}
    jwt = sign("ed-1", iss="https://ci.example", aud=AUDIENCE, sub="job")
    hint = "use a new JWT, and name its role with --role or VAULT_ROLE"
    assert hint in person.fails_to("login", send=jwt, code=4)
    result = person.try_to("login", "--role", "b", send=jwt)
    assert (result.exit_code, "does not keep the role" in result.stderr) == (0, True)
    person.environment["VAULT_ROLE"] = "b"
    assert "does not keep the role" not in person.try_to("login", send=jwt).stderr
    del person.environment["VAULT_ROLE"]
    assert hint in person.fails_to("whoami", code=4)
    assert [found["role"] for found in person.sees("whoami", "--role", "b")] == ["b"]
    person.environment["VAULT_ROLE"] = "a"
    assert [found["role"] for found in person.sees("whoami")] == ["a"]


@pytest.mark.parametrize("answer", ["{}", '{"principal": 5}', '{"principal": "alice"}'])
def test_another_server_is_not_kept(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reply is not the service's, nothing is kept, and `whoami` is an error, too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with peer(*[reply(200, answer)] * 2) as server:
        for arguments in (["login", "--url", server.url], ["whoami", "--url", server.url]):
            result = CliRunner().invoke(commands, arguments, input="smt_token\n")
            assert result.exit_code == 5, result.stderr
            assert "not as this service does" in result.stderr
    assert profile.load() is None


def test_only_a_valid_token_is_kept(person: Person) -> None:
    """A token that the service refuses, or none, is not kept."""
    refused = person.fails_to("login", send=b"smt_invalid", code=4)
    assert "Hint: check the token" in refused
    assert "secret-manager login" not in refused
    person.fails_to("login", send=b"\n", code=1)
    assert profile.load() is None
