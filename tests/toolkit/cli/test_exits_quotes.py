"""Arguments in errors: none that could be a value or a credential."""

import pytest
from click.testing import CliRunner

from vault.cli import commands
from vault.core.crypto.token import new_token
from vault.toolkit.cli.exits import described

TOKEN = new_token()
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqb2IifQ.c2lnbmF0dXJl_-"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def refused(*arguments: str) -> str:
    """Return the line of an invalid command line."""
    done = CliRunner().invoke(commands, arguments, prog_name="secret-manager", env={"VAULT_TOKEN": TOKEN})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    "argument",
    ["hunter2", TOKEN, JWT, KEY, "-Hunter2", "--Hunter2", "'a' is not one of b"],
    ids=["value", "token", "JWT", "key", "option", "long option", "sentence"],
)
@pytest.mark.parametrize(
    "command",
    [
        *([], ["secret"], ["login"], ["whoami"], ["audit", "tail"], ["completion"]),
        ["login", "--url", "http://localhost:8000"],
        ["login", "--token-file", "/nowhere", "--url"],
        ["audit", "export", "--since", "1h"],
        ["secret", "list", "a"],
        ["secret", "run", "--env"],
        ["secret", "set", "name"],
        ["secret", "set", "name", "--generate"],
        ["tokens", "create", "--name", "a", "--role"],
        ["tokens", "revoke", "name"],
    ],
    ids=" ".join,
)
def test_a_misplaced_argument_is_not_printed(command: list[str], argument: str) -> None:
    """An argument that could be a value or a credential is not printed where none is expected."""
    assert argument not in refused(*command, argument)


@pytest.mark.parametrize(
    "text",
    [TOKEN, JWT, KEY, f"hvs.{'a' * 24}", f"s.{'B' * 24}"],
    ids=["token", "JWT", "key", "Vault's token", "Vault's older token"],
)
def test_a_credential_is_masked_in_every_error(text: str) -> None:
    """An error has `…` in place of what has the form of a credential, such as the name of a file."""
    assert described(f"cannot use {text}", f"try {text} again") == "error: cannot use …. Hint: try … again"


def test_the_user_of_an_address_is_masked() -> None:
    """The user and the password in an address are masked, and the rest is kept."""
    assert described("mongodb://me:pass@db:27017/vault") == "error: mongodb://…@db:27017/vault"


@pytest.mark.parametrize(
    "text",
    [
        "/home/me/.config/secret-manager/profile",
        "billing/db-password",
        "b" * 64,
        "smt_production",
        "eyJson",
        "a.s.b",
    ],
)
def test_other_texts_are_kept(text: str) -> None:
    """Names, paths and hashes are not credentials."""
    assert described(f"cannot use {text}") == f"error: cannot use {text}"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["whoami", "a"], "Got unexpected extra argument."),
        (["whoami", "a", "b"], "Got unexpected extra arguments."),
        (["nothing"], "No such command."),
        (["whoami", "--Nothing"], "No such option."),
        (["whoami", "--nothing=x"], "No such option '--nothing'."),
        (["completion", "ksh"], "Invalid value for '{bash|zsh|fish}': must be one of 'bash', 'zsh', 'fish'."),
        (["secret", "get", "a", "--version", "b"], "Invalid value for '--version': must be a valid integer."),
        (
            ["secret", "get", "a", "--version", "0"],
            "Invalid value for '--version': must be in the range x>=1.",
        ),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], problem: str) -> None:
    """An invalid command line is one line, which says what is wrong without the argument."""
    assert refused(*arguments).startswith(f"error: {problem.rstrip('.')}. Hint: see `secret-manager")
