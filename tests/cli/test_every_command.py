"""Every command of `secret-manager` has one style: its help, its exit codes, its errors, and JSON."""

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.cli.command_table import ENTRIES, leaves
from tests.docs.documents import DOCUMENTS, ROOT
from tests.support.command_entries import Needs
from tests.support.databases import history
from tests.support.features import tables
from tests.support.rotation import new_key, settings
from vault.cli import commands
from vault.common.outcomes import Exit
from vault.core.crypto.token import new_token

DOCUMENT = "docs/exit-codes.md"
LEAVES = dict(leaves())
NOWHERE = "127.0.0.1:1"
STACK = """
services: {app: {image: app, secrets: [db]}}
secrets: {db: {driver: secret-manager, labels: {secret-manager.name: app/db}}}
"""
LINE = re.compile(r"error: [^\n]+\n")

Run = Callable[..., Result]

all_commands = pytest.mark.parametrize("name", LEAVES)


def of(*needs: Needs) -> pytest.MarkDecorator:
    """Return the parameters for the commands that need one of *needs*."""
    return pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.needs in needs])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a command in this process, in a folder with the files that it takes."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("VAULT_", "BAO_", "MONGO", "MASTER", "SECRET_MANAGER", "AUDIT", "AUTH")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("token", "jwt", "admin-uri", "key", "password", "file"):
        Path(name).write_text(name)
    Path("stack.yml").write_text(STACK)
    Path("values.env").write_text("NAME=value\n")
    Path("log").write_text('{"Records": []}')

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner(env=environment).invoke(commands, arguments, prog_name="secret-manager")

    return run


def arguments_of(name: str, server: str = f"http://{NOWHERE}") -> list[str]:
    """Return the command line of the command *name*."""
    entry = ENTRIES[name]
    return [*name.split(), *(server if it == "SERVER" else it for it in (*entry.arguments, *entry.impatient))]


def assert_fails(done: Result, code: int) -> None:
    """Assert that a command failed with *code* and one line."""
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    assert LINE.fullmatch(done.stderr)
    # The longest has all kinds of events.
    assert len(done.stderr) < 450


def test_every_command_has_an_entry() -> None:
    """The table has exactly the commands that there are."""
    assert sorted(ENTRIES) == sorted(LEAVES), "change ENTRIES of tests/cli/command_table.py or a feature"


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that the code in *tree* prints, without docstrings and help."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) and not (
            isinstance(node, ast.keyword) and node.arg == "help"
        ):
            yield from texts(node)


def test_a_message_names_a_whole_command() -> None:
    """A message that names a command can be pasted: the command begins with `secret-manager`."""
    half = re.compile(f"`(?:{'|'.join(name for name in LEAVES if ' ' in name)})\\b")
    found = [
        text
        for path in sorted((ROOT / "vault").rglob("*.py"))
        for text in texts(ast.parse(path.read_text()))
        if half.search(text)
    ]
    assert found == []


def groups(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of *group* and of every group in it."""
    yield words
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from groups(command, *words, name)


@pytest.mark.parametrize("words", list(groups(commands)), ids=" ".join)
def test_no_help_text_is_cut_off(words: tuple[str, ...], run: Run) -> None:
    """On a terminal of 80 columns, the help of each command fits its line in the list."""
    listed = run(*words, "--help", COLUMNS="80", LINES="24").stdout.partition("Commands:\n")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith(("...", "…"))] == []


@all_commands
def test_every_option_says_its_form(name: str, run: Run) -> None:
    """The help explains each option, in lines of at most 80 columns, and has the options of all commands."""
    done = run(*name.split(), "--help", COLUMNS="80", LINES="24")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    # The mark of a table, not read as such.
    assert "\\b" not in done.stdout
    assert {"--json", "-q, --quiet", "-h, --help"} <= set(re.findall("  (-.*?)(?:  |\n)", done.stdout))
    for parameter in LEAVES[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@all_commands
def test_a_wrong_option_is_one_line(name: str, run: Run) -> None:
    """An option that a command does not have is one line that names its help."""
    done = run(*name.split(), "--no-such-option")
    assert_fails(done, Exit.USAGE)
    assert f"see `secret-manager {name} --help`" in done.stderr


@all_commands
def test_a_token_as_an_argument_is_not_printed(name: str, run: Run) -> None:
    """A token that is among the arguments by mistake is not printed."""
    token = new_token()
    done = run(*name.split(), *[token] * 4)
    assert_fails(done, Exit.USAGE)
    assert token not in done.stderr


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process wait for no server."""
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("vault.core.documents.members._TIMEOUT_MILLISECONDS", 50)
    for patches in tables("IMPATIENT"):
        for path, value in patches.items():
            monkeypatch.setattr(path, value)


def away() -> dict[str, str]:
    """Return settings with a MongoDB and a service that do not answer."""
    mongodb = f"mongodb://user:password@{NOWHERE}/vault?replicaSet=rs0"
    Path("admin-uri").write_text(mongodb)
    # Docker's library does not close a unix socket without a listener.
    servers = {"BIND": NOWHERE, "VAULT_URL": f"http://{NOWHERE}", "DOCKER_HOST": f"tcp://{NOWHERE}"}
    return settings(mongodb, new_key()) | servers


@pytest.mark.usefixtures("impatient")
@of(Needs.MONGODB, Needs.SERVICE, Needs.PROBED, Needs.ENGINE)
def test_without_its_server_a_command_is_one_line(name: str, run: Run) -> None:
    """Without the service, or without MongoDB, a command is one line, and 5."""
    assert_fails(run(*arguments_of(name), **away()), Exit.UNAVAILABLE)


@of(Needs.MONGODB)
def test_a_user_whom_mongodb_denies_is_one_line(name: str, run: Run, mongo_uri: str) -> None:
    """If MongoDB denies it, a command is one line, and 4."""
    denied = mongo_uri.replace("mongodb://", "mongodb://unknown:wrong@")
    Path("admin-uri").write_text(denied)
    done = run(*arguments_of(name), **settings(denied, new_key()))
    assert_fails(done, Exit.DENIED)
    assert "wrong" not in done.stderr


class _Denying(BaseHTTPRequestHandler):
    """A service, and a Vault, that denies everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        problem = {"code": "scope_missing", "title": "Scope missing", "detail": "No.", "status": 403}
        body = json.dumps(problem | {"errors": []}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - the name that the base class calls

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def denying() -> Iterator[str]:
    """Return the address of a server that denies everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denying) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@of(Needs.SERVICE)
def test_a_credential_without_permission_is_one_line(
    name: str, run: Run, denying: str, mongo_uri: str
) -> None:
    """If the service denies it, a command is one line, and 4."""
    environment = settings(mongo_uri, new_key()) | {"VAULT_URL": denying, "VAULT_TOKEN": "t"}
    assert_fails(run(*arguments_of(name, denying), **environment), Exit.DENIED)


#: The commands that use a token where there is no master key.
WITH_TOKEN = ("audit query", "audit tail", "tokens create", "tokens list", "tokens revoke")


@pytest.mark.parametrize("name", WITH_TOKEN)
def test_with_a_token_a_command_has_the_same_style(name: str, run: Run, denying: str) -> None:
    """Without a master key, these commands have the help, errors and exit codes of commands for people."""
    token = {"VAULT_TOKEN": "t", "COLUMNS": "80", "LINES": "24"}
    done = run(*name.split(), "--help", **token)
    assert "--token-file" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert_fails(run(*name.split(), "--no-such-option", **token), Exit.USAGE)
    for url, code in ((f"http://{NOWHERE}", Exit.UNAVAILABLE), (denying, Exit.DENIED)):
        assert_fails(run(*arguments_of(name), **token, VAULT_URL=url), code)


def test_the_document_has_every_exit_code() -> None:
    """docs/exit-codes.md explains each exit code."""
    rows = re.findall(r"^\| (\d+) \|", DOCUMENTS[DOCUMENT], re.MULTILINE)
    assert set(map(int, rows)) >= set(Exit)


#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = (
    "keys generate",
    "audit enable",
    "auth disable",
    "tokens create --name ci --role reader",
    "tokens list",
    "keys status",
    "keys rewrap",
    "tokens revoke ci",
    "audit export",
    "audit query",
    "audit tail --no-follow",
    "audit public-key",
    "audit checkpoint",
    "audit verify",
    "audit disable",
    "completion bash",
    "secret generate",
    "logout",
)


@pytest.mark.parametrize("lines", [SUCCESSES, *tables("SUCCESSES")], ids=lambda lines: lines[0])
def test_json_is_one_object_a_line(lines: tuple[str, ...], run: Run, mongo_uri: str) -> None:
    """With `--json`, every command that succeeds prints JSON objects, one a line; `-q` leaves no note."""
    environment = settings(mongo_uri, new_key())
    copy = environment | {"MONGO_URI": re.sub("/([^/?]+)\\?", r"/\1_copy?", mongo_uri)}
    with history(mongo_uri):
        for line in lines:
            done = run(
                *line.split(), "--json", "-q", **(copy if ENTRIES[named(line)].into_empty else environment)
            )
            assert (done.exit_code, done.stderr) == (0, ""), line
            found = [json.loads(text) for text in done.stdout.splitlines()]
            assert found, line
            assert all(isinstance(one, dict) for one in found), line


def named(line: str) -> str:
    """Return the name of the command in *line*."""
    return next(name for name in ENTRIES if f"{line} ".startswith(f"{name} "))


def test_every_command_is_asked_for_json() -> None:
    """Each command that needs MongoDB is in one of the lists above, or has a test of its own."""
    tried = {named(line) for lines in (SUCCESSES, *tables("SUCCESSES")) for line in lines}
    rest = {name for name, entry in ENTRIES.items() if entry.needs is Needs.MONGODB} - tried
    assert rest == {name for name, entry in ENTRIES.items() if entry.own_test}


def test_entries_are_of_commands() -> None:
    """An entry without arguments is one of a command that needs none."""
    for name, command in LEAVES.items():
        required = [parameter for parameter in command.params if parameter.required]
        assert not required or ENTRIES[name].arguments, name
