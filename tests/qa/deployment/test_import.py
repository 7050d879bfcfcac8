"""The import on a real swarm: its own secrets become secrets of the service."""

import json
import os
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from tests.qa.deployment.engine import ROOT, Replica, docker, run, wait_for
from vault.clients.swarm.imports.plan import IMPORT_LABEL

pytestmark = pytest.mark.process

_MAX_BYTES = 500 * 1024 - 1

#: Texts, bytes, one byte, the largest that Docker has, and names as Docker allows them.
SECRETS = {
    "shop_db_password": b"correct horse battery staple",
    "A.b-c_d": b"with a newline\n",
    "a..b": "ü€🔑".encode(),
    "9": b"0",
    "x" * 64: bytes(range(256)),
    "largest": os.urandom(_MAX_BYTES),
    **{f"key-{number}": os.urandom(24) for number in range(14)},
}


class Done(NamedTuple):
    """An ended import: its exit code, its rows by the secret's name in the swarm, its hashes, its errors."""

    code: int
    rows: dict[str, dict[str, Any]]
    hashes: dict[str, Any]
    errors: str

    @property
    def outcomes(self) -> set[str]:
        """The outcomes of all secrets."""
        return {row["outcome"] for row in self.rows.values()}


NOTHING = Done(-1, {}, {}, "")


@dataclass
class Import:
    """The command `swarm import` with a token for a replica of the service."""

    replica: Replica
    token: str
    #: The first import of all secrets, and the plan and the number of changes before it.
    planned: Done = NOTHING
    done: Done = NOTHING
    before: int = 0

    def command(self, *options: str) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [sys.executable, "-m", "vault.cli", "swarm", "import", "--json", "--prefix", "taken/", *options],
            cwd=ROOT,
            env={**os.environ, "VAULT_URL": self.replica.url, "VAULT_TOKEN": self.token},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> Done:
        """Run it to its end."""
        started = self.command(*options)
        out, errors = started.communicate(timeout=300)
        lines = [json.loads(line) for line in out.splitlines()]
        hashes = [line for line in lines if "equal" in line]
        rows = {line["secret"]: line for line in lines if "outcome" in line}
        return Done(started.returncode, rows, hashes[0] if hashes else {}, errors)

    def value(self, name: str) -> bytes:
        """Return the value of a secret of the swarm, as the service has it."""
        status, body = self.replica.post("/vault/secret/fetch", {"name": f"taken/{name}"}, token=self.token)
        assert status == 200
        return b64decode(body["secret"])

    def changes(self) -> int:
        """Return the number of secrets and versions that were stored so far."""
        exported = self.replica.run("secret-manager", "audit", "export")
        return sum(json.loads(line)["action"] in ("create", "update") for line in exported.splitlines())


def made() -> str:
    """Return what imports have made in the swarm and not removed."""
    ours = ("-q", "--filter", f"label={IMPORT_LABEL}")
    return docker("service", "ls", *ours) + docker("secret", "ls", *ours)


@pytest.fixture(scope="module")
def taken(quick_start: list[Replica]) -> Iterator[Import]:
    """Give the swarm 20 secrets of its own, and return the command."""
    replica = quick_start[0]
    token = replica.run("secret-manager", "tokens", "create", "--name", "import", "--role", "writer")
    label = "com.docker.stack.namespace=shop"
    try:
        for name, value in SECRETS.items():
            options = ("--label", label) if name.startswith("shop") else ()
            command = ["docker", "secret", "create", *options, name, "-"]
            subprocess.run(command, input=value, check=True, capture_output=True)
        taken = Import(replica, token)
        taken.before = taken.changes()
        taken.planned = taken.run()
        assert taken.changes() == taken.before
        taken.done = taken.run("--apply")
        yield taken
    finally:
        run("docker", "secret", "rm", *SECRETS, check=False)


@pytest.mark.promise("swarm")
def test_all_secrets_are_imported(taken: Import) -> None:
    """A plan changes nothing; an import stores each value as it is, and compares hashes; nothing is left."""
    planned, done = taken.planned, taken.done
    assert (planned.code, planned.outcomes) == (0, {"to import"}), planned.errors
    assert planned.rows.keys() == SECRETS.keys()
    assert (done.code, done.outcomes) == (0, {"imported"}), done.errors
    assert done.rows.keys() == SECRETS.keys()
    assert done.hashes["equal"] is True
    assert {name: taken.value(name) for name in SECRETS} == SECRETS
    assert made() == ""


def test_a_second_run_changes_nothing(taken: Import) -> None:
    """A secret that is here already is compared and not stored again."""
    before = taken.changes()
    done = taken.run("--apply")
    assert (done.code, done.outcomes, done.hashes["equal"]) == (0, {"already here"}, True), done.errors
    assert taken.changes() == before


def test_a_differing_value_is_kept(taken: Import) -> None:
    """Another value here is reported and kept, and with --update the swarm's is its new version."""
    body = {"name": "taken/9", "secret": "b3RoZXI="}
    assert taken.replica.post("/vault/secret/update", body, token=taken.token)[0] == 200
    done = taken.run("--apply", "--only", "9")
    assert (done.code, done.outcomes, done.hashes["equal"]) == (1, {"different here"}, False)
    assert taken.value("9") == b"other"
    done = taken.run("--apply", "--only", "9", "--update")
    assert (done.code, done.outcomes, done.hashes["equal"]) == (0, {"updated"}, True)
    assert taken.value("9") == SECRETS["9"]


@pytest.mark.promise("swarm")
def test_interrupted_imports_leave_nothing(taken: Import) -> None:
    """Ctrl-C removes the task and its token; what a killed import left is removed by the next one."""
    interrupted = taken.command("--apply")
    wait_for(lambda: docker("service", "ls", "-q", "--filter", f"label={IMPORT_LABEL}"), what="the task")
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=60)
    assert interrupted.returncode != 0
    assert made() == ""
    killed = taken.command("--apply")
    wait_for(lambda: docker("service", "ls", "-q", "--filter", f"label={IMPORT_LABEL}"), what="the task")
    killed.kill()
    killed.communicate(timeout=60)
    assert made()
    wait_for(lambda: taken.run("--apply").code == 0, what="the end of the killed import's task")
    assert made() == ""


def test_an_unknown_image_is_an_error(taken: Import) -> None:
    """A task that cannot start ends the import with Docker's reason."""
    done = taken.run("--apply", "--only", "9", "--image", "secret-manager:none")
    assert done.code == 1
    assert "No such image" in done.errors
    assert made() == ""
