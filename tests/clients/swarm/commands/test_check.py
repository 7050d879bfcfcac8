"""The command `swarm check`, against the service itself."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from tests.support.lifecycle import Caller, trail
from tests.support.rotation import Stored
from tests.toolkit.client.in_process import connect, no_login
from vault.cli import commands
from vault.core.crypto.token import new_token
from vault.core.principal import Principal

STACK = """
services:
  api: {image: "api:1", secrets: [db, own]}
  web: {image: "web:${TAG:-1}", secrets: [db, tls]}
secrets:
  own: {file: own.txt}
  db: {driver: secret-manager, labels: {secret-manager.name: shop/db, secret-manager.images: "*:1"}}
  tls: {driver: secret-manager, labels: {secret-manager.name: shop/tls, secret-manager.field: key}}
""".replace('secret-manager.images: "*:1"', 'secret-manager.images: "api:1,web:1"')


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a stack file."""
    path = tmp_path / "stack.yml"
    path.write_text(STACK)
    return path


@pytest.fixture(autouse=True)
def _service(alice: Caller, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Connect commands with the service in this process, for Alice, and with nothing of this user's."""
    assert alice
    connect(client, monkeypatch)
    no_login(monkeypatch, tmp_path)


def check(*arguments: object, given: bytes = b"", **variables: str) -> Result:
    done = CliRunner().invoke(
        commands, ["swarm", "check", "--stack", "shop", *map(str, arguments)], input=given, env=variables
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.stderr
    return done


def test_a_stack_without_problems_exits_with_0(stack: Path, alice: Caller, stored: Stored) -> None:
    """Each secret of the driver has a line with its services; no value is read."""
    for name in ("shop/db", "shop/tls"):
        alice.create(name=name)
    done = check(stack)
    assert done.stdout.splitlines() == [
        "ok: db: shop/db, for shop_api, shop_web",
        "ok: tls: shop/tls, for shop_web",
        "note: tls: the field key is not checked: that needs the value",
        "2 secrets checked, 0 problems",
    ]
    assert done.exit_code == 0
    assert {entry["action"] for entry in trail(stored)} == {"create", "describe"}


def test_problems_exit_with_1(stack: Path, alice: Caller, tmp_path: Path) -> None:
    """Each problem has a line: a missing secret, and refusals of labels, policy and paths."""
    alice.create(name="shop/db")
    table = tmp_path / "policy.toml"
    table.write_text('[services]\nshop_api = ["shop/"]\nshop_web = ["shop/tls"]\n')
    done = check("--policy", table, "--path", "shop/db", "--env", "TAG", stack, TAG="2")
    assert done.stdout.splitlines() == [
        "problem: db: shop_web: the label secret-manager.images does not name the image web:2",
        "problem: db: shop_web: the policy does not allow this secret to the service shop_web",
        "problem: tls: shop/tls is outside the paths of the driver's token",
        "problem: tls: shop/tls does not exist, or is outside the paths of your token",
        "2 secrets checked, 4 problems",
    ]
    assert done.exit_code == 1


def test_findings_are_available_as_json(alice: Caller) -> None:
    """With --json, each secret is an object; the file can be standard input; a secret can be known by ID."""
    secret_id = alice.create()
    label = f"labels: {{secret-manager.id: {secret_id}}}"
    given = f"secrets: {{a: {{driver: other, {label}}}, b: {{driver: secret-manager}}}}".encode()
    done = check("--json", "--driver", "other", "-", given=given)
    empty: dict[str, object] = {"name": None, "services": [], "problems": [], "notes": []}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        empty | {"secret": "a", "checked": True},
        empty | {"secret": "b", "checked": False, "notes": ["not checked: its driver is secret-manager"]},
    ]
    done = check("--driver", "other", "-", given=given)
    assert done.stdout.splitlines()[0] == "ok: a: by ID, for no service"


def test_files_are_merged(stack: Path, alice: Caller, tmp_path: Path) -> None:
    """Later files are over earlier ones."""
    for name in ("shop/db", "shop/other"):
        alice.create(name=name)
    over = tmp_path / "over.yml"
    over.write_text("secrets: {tls: {driver: secret-manager, labels: {secret-manager.name: shop/other}}}")
    assert "ok: tls: shop/other, for shop_web" in check(stack, over).stdout


def test_only_named_variables_are_replaced(stored: Stored, alice: Caller) -> None:
    """A stack file cannot read the environment: `--env` names each variable, alone or with a value."""
    alice.create(name="shop/db")
    given = b"secrets: {db: {driver: secret-manager, labels: {secret-manager.name: '${TOKEN}'}}}"
    token = new_token()
    done = check("-", given=given, TOKEN=token)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: standard input: it refers to 1 variable without --env: TOKEN. Hint: add --env TOKEN\n"
    )
    assert check("--env", "TOKEN=shop/db", "-", given=given).exit_code == 0
    for option in ("--env=TOKEN", f"--env=TOKEN={token}"):
        done = check(option, "--json", "-", given=given, TOKEN=token)
        assert done.exit_code == 1
        assert token not in done.output
    assert token not in str(trail(stored))


@pytest.mark.parametrize("text", ["", "=a", "A B", "A-B=c"])
def test_a_variable_has_a_name(text: str) -> None:
    """An invalid name of a variable is refused, and not printed."""
    done = check("--env", text, "-")
    assert done.exit_code == 2
    assert "must be NAME or NAME=VALUE" in done.stderr


def test_a_stack_without_secrets_of_the_driver_exits_with_1() -> None:
    """A mistyped driver is not a success: it is noted, and an error says that there was nothing to check."""
    done = check("-", given=b"secrets: {a: {driver: secret-manger}}")
    assert (done.exit_code, done.stdout) == (1, "note: a: not checked: its driver is secret-manger\n")
    assert "no secret has the driver secret-manager" in done.stderr
    done = check("-", given=b"secrets: {a: {driver: secret-manger, labels: [secret-manager.name=b]}}")
    assert done.exit_code == 1
    assert done.stdout.endswith("0 secrets checked, 1 problem\n")


def test_what_cannot_be_checked_is_an_error(stack: Path, alice: Caller, tmp_path: Path) -> None:
    """An invalid file, an invalid policy, and a token without the right to describe are errors."""
    done = check("-", given=b"[")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: standard input: invalid YAML: line 1: ")
    broken = tmp_path / "policy.toml"
    broken.write_text("x")
    done = check("--policy", broken, stack)
    assert done.exit_code == 1
    assert "the policy policy.toml cannot be used" in done.stderr
    alice.become(Principal(name="none"))
    done = check(stack)
    assert done.exit_code == 4
    assert "The scope secret:describe is required" in done.stderr
    assert CliRunner().invoke(commands, ["swarm", "check", str(stack)]).exit_code == 2
