"""The commands `login`, `logout` and `whoami`."""

from pathlib import Path

from flask import Flask

from tests.access import make_token
from tests.cli.people import Person
from tests.test_tls import make
from vault.client import profile


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


def test_only_a_valid_token_is_kept(person: Person) -> None:
    """A token that the service refuses, or none, is not kept."""
    person.fails_to("login", send=b"smt_invalid", code=4)
    person.fails_to("login", send=b"\n", code=1)
    assert profile.load() is None
