"""The commands `swarm import` and `swarm import-task`, with the service and its tasks in this process."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from tests.support.lifecycle import ALICE, Caller, trail
from tests.support.rotation import Stored
from tests.system.test_tls import make
from tests.toolkit.client.in_process import connect
from vault.cli import commands
from vault.clients.swarm.commands import imports
from vault.clients.swarm.imports.one_shot import TaskSpec, TaskState
from vault.clients.swarm.imports.plan import SwarmSecret
from vault.clients.swarm.imports.task import ORDER
from vault.common.errors import VaultError
from vault.core.access.authenticator import Authenticator
from vault.core.attempt import Attempt

TOKEN = "smt_hush"
VALUES = {"shop_db": b"one", "tls": b"\x00\xff", "master_key_v1": b"key", "old": b"gone"}
STACK = {"com.docker.stack.namespace": "shop"}


class Swarm:
    """A swarm with secrets, whose task runs in this process when it is asked for its log."""

    folder: Path
    specs: list[TaskSpec]
    order = b""
    is_closed = False

    def secrets(self) -> Sequence[SwarmSecret]:
        """Return the secrets: one of a stack, one of none, one of the product, one of a driver."""
        return [
            SwarmSecret(secret_id="1", name="shop_db", labels=STACK),
            SwarmSecret(secret_id="2", name="tls"),
            SwarmSecret(secret_id="3", name="master_key_v1"),
            SwarmSecret(secret_id="4", name="old", driver="other"),
        ]

    def node(self, wanted: str) -> str:
        """Return the node."""
        return wanted or "n1"

    def close(self) -> None:
        """Note that the connection is closed."""
        type(self).is_closed = True

    def create_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> SwarmSecret:
        """Keep the order."""
        type(self).order = content
        return SwarmSecret(secret_id="order", name=name, labels=labels)

    def run_once(self, spec: TaskSpec) -> str:
        """Mount the secrets."""
        self.specs.append(spec)
        for file, secret in spec.secrets.items():
            (self.folder / file).write_bytes(VALUES.get(secret.name, self.order))
        return "service"

    def services(self, label: str) -> Sequence[str]:
        """Return no leftovers."""
        assert label
        return []

    def task_state(self, service_id: str) -> TaskState:
        """Return that of a task that runs."""
        return TaskState(is_started=True, is_over=False, text=service_id)

    def log(self, service_id: str) -> Sequence[str]:
        """Run the task, and return what it prints."""
        assert service_id
        return task().stdout.splitlines()

    def remove(self, label: str) -> None:
        """Unmount the secrets."""
        assert label
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture(autouse=True)
def swarm(alice: Caller, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Swarm]:
    """Connect commands with a swarm and with the service, for Alice."""
    assert alice
    connect(client, monkeypatch)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    for name in (
        "VAULT_URL",
        "VAULT_ROLE",
        "VAULT_CACERT",
        "IMAGE",
        "SECRET_MANAGER_URL",
        "SECRET_MANAGER_NETWORK",
    ):
        monkeypatch.delenv(name, raising=False)
    Swarm.folder, Swarm.specs, Swarm.is_closed = tmp_path / "run", [], False
    Swarm.folder.mkdir()
    monkeypatch.setattr(imports, "ImportEngine", Swarm)
    monkeypatch.setattr(imports, "FOLDER", Swarm.folder)
    return Swarm


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(commands, ["swarm", "import", *arguments])
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.output
    return done


def task() -> Result:
    """Run the task."""
    return CliRunner().invoke(commands, ["swarm", "import-task"])


def test_the_plan_changes_nothing(swarm: type[Swarm], alice: Caller, stored: Stored) -> None:
    """Without --apply, names and what is here are shown; nothing is created, and no value is read."""
    alice.create(name="shop/tls")
    done = run("--prefix", "shop/", "--name", "shop_db=shop/db-password")
    assert done.exit_code == 0
    *rows, summary = done.stdout.splitlines()[1:]
    assert [line.split() for line in rows] == [
        ["shop_db", "shop/db-password", "to", "import"],
        ["tls", "shop/tls", "exists", "here"],
    ]
    assert summary == "1 secret to import, 1 to compare. Nothing was changed: add --apply."
    assert done.stderr.splitlines() == [
        "not imported: master_key_v1: it belongs to Secret Manager itself",
        "not imported: old: the driver other has its value, not Docker",
    ]
    assert swarm.specs == []
    assert {entry["action"] for entry in trail(stored)} == {"create", "describe"}


def test_an_import_shows_outcomes_hashes_and_stack_files(swarm: type[Swarm], alice: Caller) -> None:
    """Each secret has its outcome, both sides a hash, and each stack the section that uses the secrets."""
    done = run("--apply", "--prefix", "shop/")
    assert (done.exit_code, alice("fetch", name="shop/tls")) == (0, {"secret": "AP8="})
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["shop_db", "shop/shop_db", "imported"],
        ["tls", "shop/tls", "imported"],
    ]
    assert lines[3] == "compared: 2 secrets"
    assert lines[4].rpartition(" ")[2] == lines[5].rpartition(" ")[2]
    assert lines[6] == "the hashes are equal"
    assert done.stdout.endswith(
        """
In the file of the stack shop, in place of these secrets:
secrets:
  db:
    name: shop_db.managed
    driver: secret-manager
    labels:
      secret-manager.name: shop/shop_db

In a stack file:
secrets:
  tls:
    name: tls.managed
    driver: secret-manager
    labels:
      secret-manager.name: shop/tls
"""
    )
    assert swarm.is_closed
    [spec] = swarm.specs
    assert (spec.image, spec.network) == ("secret-manager:latest", "secret-manager_secret-manager-network")
    assert json.loads(swarm.order)["url"] == "http://secret-manager:8000"
    assert list(swarm.folder.iterdir()) == []


def test_a_second_import_changes_nothing(stored: Stored) -> None:
    """A secret with the same value here is reported, and not stored again."""
    run("--apply")
    done = run("--apply", "--json", "--label", "com.docker.stack.namespace=shop")
    row, hashes = map(json.loads, done.stdout.splitlines())
    assert row == {"secret": "shop_db", "name": "shop_db", "outcome": "already here", "reason": ""}
    assert (hashes["secrets"], hashes["equal"], done.exit_code) == (1, True, 0)
    assert [entry["action"] for entry in trail(stored)].count("create") == 2


def test_nothing_to_import_is_no_failure(swarm: type[Swarm]) -> None:
    """Without a secret that is selected, there is no task and no table."""
    done = run("--apply", "--label", "a=b")
    assert (done.exit_code, swarm.specs) == (0, [])
    assert done.stdout.startswith("compared: 0 secrets\n")


def test_a_difference_is_reported(alice: Caller) -> None:
    """Another value here is kept, and exits with 1; with --update, the swarm's becomes a version."""
    alice.create(b"other", name="tls")
    done = run("--apply", "--only", "tls")
    assert done.exit_code == 1
    assert "different here" in done.stdout
    assert "the hashes DIFFER" in done.stdout
    assert "secrets:" not in done.stdout
    done = run("--apply", "--only", "tls", "--update")
    assert (done.exit_code, alice("describe", name="tls")["version"]) == (0, 2)
    assert "updated" in done.stdout


def test_certificates_reach_the_task(swarm: type[Swarm], tmp_path: Path) -> None:
    """The CA of the command is the task's, too."""
    ca = make(tmp_path, "ca").certificate
    done = run("--apply", "--url", "https://localhost", "--ca-cert", str(ca), "--task-url", "https://a")
    assert done.exit_code == 0
    assert json.loads(swarm.order)["ca"] == ca.read_text()


def test_a_role_reaches_the_task(swarm: type[Swarm], monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests of the command and of its task name the same role."""
    roles = []

    def identify(_self: Authenticator, _credential: str | None, *, attempt: Attempt, role: str) -> None:
        roles.append(role)
        attempt.principal = ALICE

    monkeypatch.setattr(Authenticator, "identify", identify)
    assert run("--apply", "--role", "team/import").exit_code == 0
    assert len(roles) > 1
    assert {*roles, json.loads(swarm.order)["role"]} == {"team/import"}


def test_a_failed_task_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the task is the error of the import, without values and token."""

    def away(*_: object) -> None:
        raise VaultError("the service is away")

    monkeypatch.setattr("vault.clients.swarm.imports.task.ImportTask.run", away)
    done = run("--apply")
    assert done.exit_code == 1
    assert "the task in the swarm failed: the service is away" in done.stderr


def test_outcomes_are_shown_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that were stored before an error are in the table."""

    def log(*_: object) -> Sequence[str]:
        first, *_ = task().stdout.splitlines()
        return [first, "x"]

    monkeypatch.setattr(Swarm, "log", log)
    done = run("--apply")
    assert done.exit_code == 1
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [["shop_db", "shop_db", "imported"]]
    assert "its log has a line that is none of an import" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--name", "tls"], 2, "must be NAME=VALUE"),
        (["--name", "tls=a/"], 2, "must be NAME=NAME"),
        (["--label", "a"], 2, "must be NAME=VALUE"),
        (["--prefix", "a"], 2, "must be a folder"),
        (["--task-url", "a"], 2, "must be http"),
        (["--only", "none"], 1, "the swarm has no secret none"),
        (["--only", "old"], 1, "the secret old cannot be imported: the driver other has its value"),
    ],
)
def test_invalid_options_are_errors(options: list[str], code: int, reason: str) -> None:
    """Options in another form, and names that the swarm lacks, are refused before anything else."""
    done = run("--apply", *options)
    assert done.exit_code == code
    assert reason in done.stderr


def test_a_task_needs_an_order(swarm: type[Swarm]) -> None:
    """The task is for the import only: elsewhere it ends with an error."""
    assert not (swarm.folder / ORDER).exists()
    done = task()
    assert done.exit_code == 1
    assert "for the tasks that `secret-manager swarm import` starts" in done.stderr
