"""The connection of a command: which address, token and certificates it uses."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.system.test_tls import make
from tests.toolkit.client.in_process import no_login
from tests.toolkit.client.peers import Peer, peer, reply
from vault.common.errors import VaultError
from vault.toolkit.cli.connection import service_options
from vault.toolkit.client import profile
from vault.toolkit.client.profile import Profile
from vault.toolkit.client.service import Service


@click.command
@service_options
def ask(service: Service) -> None:
    """Call the service."""
    click.echo(json.dumps(service.call("/ask", {})))


@click.command
@service_options
def show(service: Service) -> None:
    """Show the address."""
    click.echo(service.url)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the test's folder for the profile, and no variable of this process."""
    no_login(monkeypatch, tmp_path)


def run(command: click.Command, *arguments: object, **environment: str) -> Result:
    """Run *command*, which does not fail by surprise."""
    result = CliRunner().invoke(command, list(map(str, arguments)), env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def sent_token(server: Peer) -> str:
    """Return the token that *server* received; empty for none."""
    return server.requests[-1].decode().partition("Authorization: Bearer ")[2].partition("\r\n")[0]


def test_the_default_is_this_machine() -> None:
    """Without options, variables and a login, the service is on this machine."""
    assert run(show).stdout == "http://localhost:8000\n"


def test_options_precede_variables_and_the_login(tmp_path: Path) -> None:
    """`--url` and `--token-file` precede `VAULT_URL` and `VAULT_TOKEN`, and those the login."""
    (tmp_path / "token").write_text("smt_file\n")
    with peer(*[reply(200, "{}")] * 3) as server:
        assert run(ask, VAULT_URL=server.url, VAULT_TOKEN=" smt_variable\n").exit_code == 0
        assert sent_token(server) == "smt_variable"
        profile.save(Profile(server.url, "smt_login"))
        assert run(ask).exit_code == 0
        assert sent_token(server) == "smt_login"
        arguments = ("--url", server.url, "--token-file", tmp_path / "token")
        assert run(ask, *arguments, VAULT_URL="http://localhost:1", VAULT_TOKEN="smt_no").exit_code == 0
        assert sent_token(server) == "smt_file"


def test_a_role_comes_from_an_option_or_a_variable() -> None:
    """`--role` precedes `VAULT_ROLE`; without both, a command names no role."""
    with peer(*[reply(200, "{}")] * 4) as server:
        connection = {"VAULT_URL": server.url, "VAULT_TOKEN": "a.b.c"}
        assert run(ask, **connection, VAULT_ROLE="variable").exit_code == 0
        assert run(ask, "--role", "team/option", **connection, VAULT_ROLE="variable").exit_code == 0
        assert run(ask, **connection, VAULT_ROLE="").exit_code == 0
        assert run(ask, **connection).exit_code == 0
    sent = [re.findall(r"X-Role: (.*)\r", request.decode()) for request in server.requests]
    assert sent == [["variable"], ["team/option"], [], []]


@pytest.mark.parametrize("role", ["a\r\nX-Other: b", "a b", "/a", "a/b/c"], ids=repr)
def test_an_invalid_role_is_refused(role: str) -> None:
    """A role that no one can have is a usage error that names the option and the variable."""
    result = run(ask, VAULT_ROLE=role)
    assert result.exit_code == 2
    assert "--role, or VAULT_ROLE: must be the name of a role" in result.stderr


def test_receipts_are_appended_to_a_private_file(tmp_path: Path) -> None:
    """With `--receipt`, a file that only its owner can read gets a line for each receipt alone."""
    file, first, second = tmp_path / "receipts", *(f"v1.{part}.{part * 86}" for part in "ab")
    batch = json.dumps({"receipts": [first, None, 5, f"{second}\nforged", second]})
    replies = (reply(200, "{}", f"X-Receipt: {first}"), reply(200, batch), reply(200, '{"receipts": 5}'))
    with peer(*replies, reply(200, batch)) as server:
        asked = [run(ask, "--receipt", file, VAULT_URL=server.url) for _ in replies]
        assert run(ask, VAULT_URL=server.url).stderr == ""
    assert [result.stderr for result in asked] == ["", "", "warning: the service sent no receipt\n"]
    assert file.read_text() == f"{first}\n{first}\n{second}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [b"X-Receipt: 1" in request for request in server.requests] == [True, True, True, False]


def test_an_unwritable_file_for_receipts_is_refused(tmp_path: Path) -> None:
    """If the file for receipts cannot be opened, nothing is sent."""
    result = CliRunner().invoke(ask, ["--receipt", str(tmp_path / "none" / "receipts")])
    assert isinstance(result.exception, FileNotFoundError)


@pytest.mark.promise("commands")
def test_a_login_is_for_its_own_address() -> None:
    """The token of a login is sent to no other address than its own."""
    with peer(*[reply(200, "{}")] * 2) as server:
        profile.save(Profile("http://localhost:1", "smt_login", "/nowhere"))
        assert run(ask, "--url", server.url).exit_code == 0
        assert sent_token(server) == ""
        profile.save(Profile(server.url, "smt_login"))
        assert run(ask, "--url", server.url + "/").exit_code == 0
        assert sent_token(server) == "smt_login"


def test_a_missing_token_names_the_address_of_the_login() -> None:
    """Without a token for this address, the error names the address that the login is for."""
    refusal = reply(401, '{"code": "credential_required", "detail": "A credential is required."}')
    login = "run `secret-manager login`, or set VAULT_TOKEN to a valid token"
    with peer(*[refusal] * 3) as server:

        def hint(**environment: str) -> str:
            error = CliRunner().invoke(ask, ["--url", server.url], env=environment).exception
            assert isinstance(error, VaultError)
            return error.hint

        assert hint() == login
        profile.save(Profile("http://localhost:1", "smt_login"))
        assert hint() == f"your login is for http://localhost:1: use that address, or {login}"
        assert hint(VAULT_TOKEN="smt_other") == login


def test_a_plain_address_of_another_machine_is_warned_of() -> None:
    """Plain HTTP to another machine works, with a warning on standard error."""
    result = run(show, "--url", "http://secrets.example.com")
    assert result.stdout == "http://secrets.example.com\n"
    assert result.stderr.startswith("warning: ")
    assert run(show, "--url", "https://secrets.example.com").stderr == ""


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"], ids=["missing", "empty", "line", "binary"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A token file that has no token is a usage error."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    result = run(ask, "--token-file", tmp_path / "token")
    assert result.exit_code == 2
    assert f"--token-file: {tmp_path / 'token'} " in result.stderr


def test_an_invalid_token_is_not_quoted() -> None:
    """A token that cannot be sent is a usage error, and is not shown."""
    result = run(ask, VAULT_TOKEN="smt_a smt_b")
    assert result.exit_code == 2
    assert "visible ASCII characters" in result.stderr
    assert "smt_" not in result.stderr


def test_an_invalid_address_is_refused() -> None:
    """An address of another form is a usage error."""
    assert run(ask, "--url", "localhost").exit_code == 2
    refused = run(ask, VAULT_URL="localhost:8091")
    assert refused.exit_code == 2
    assert "--url, or VAULT_URL" in refused.stderr


def test_certificates_must_exist(tmp_path: Path) -> None:
    """A `--ca-cert` without certificates is a usage error."""
    (tmp_path / "ca.pem").write_text("nothing")
    result = run(show, "--url", "https://localhost", "--ca-cert", tmp_path / "ca.pem")
    assert result.exit_code == 2
    assert "must be a file with certificates in PEM" in result.stderr
    result = run(show, "--url", "http://localhost", "--ca-cert", tmp_path / "missing.pem")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_certificates_can_be_a_variable_or_the_login(tmp_path: Path) -> None:
    """The authorities come from `--ca-cert`, `VAULT_CACERT` or the login."""
    authority = make(tmp_path, "ca").certificate
    assert run(show, "--url", "https://localhost", "--ca-cert", authority).exit_code == 0
    assert run(show, "--url", "https://localhost", VAULT_CACERT=str(authority)).exit_code == 0
    profile.save(Profile("https://localhost", "t", str(authority)))
    assert run(show).exit_code == 0


def test_the_certificates_of_a_login_hold_for_another_token(tmp_path: Path) -> None:
    """With `VAULT_URL` and `VAULT_TOKEN`, the authorities of the login are used for its own address."""
    profile.save(Profile("https://localhost", "t", str(tmp_path / "missing.pem")))
    result = run(show, VAULT_URL="https://localhost", VAULT_TOKEN="smt_other")
    assert "must be a file with certificates in PEM" in result.stderr
    assert run(show, VAULT_URL="https://other", VAULT_TOKEN="smt_other").exit_code == 0
    authority = make(tmp_path, "ca").certificate
    assert run(show, "--ca-cert", authority, VAULT_URL="https://localhost", VAULT_TOKEN="t").exit_code == 0
