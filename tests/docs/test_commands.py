"""Every command in the documents runs, or states in its first line why it does not run here."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
import yaml

from tests.docs.documents import ROOT, Block, sections
from tests.docs.world import UNTIL_STOPPED, World
from tests.support.backups import history
from tests.support.databases import new_database
from vault.cli.dev.mongod import Mongod, free_port

#: The first lines of blocks that are not run here, each with the reason. Readers see the line as well.
NOT_RUN = {
    "# On a manager of the swarm.": "needs a Docker Engine: tests/deployment has one (-m swarm)",
    "# On one machine, with Docker.": "the same: tests/deployment deploys so, on an empty engine",
    "# On an administrator's machine.": "needs access control: cli/test_mongodb_commands.py",
    "# With MongoDB's database tools.": "bsondump is not part of this project",
    "# From Vault or OpenBao.": "needs a server to move from: cli/test_imports.py runs them on one",
    "# Through your own proxy.": "docs/test_proxy.py does so through each of them",
    "# Asks for the token.": "needs a terminal: cli/test_login.py",
    "# Asks for the value.": "the same: cli/test_secret_values.py, docs/test_first_minutes.py",
    "# The tests, except slow ones that start programs.": "this is one of them",
    "# Tested with every change.": "tests/clients runs them, with the tools that they need",
    "# CI runs this too.": "it does: test_what_ci_is_said_to_run_it_runs",
    "# Takes minutes; the test suite runs a shorter version.": (
        "tests/loadtest, tests/faults, tests/fuzz, tests/hostile"
    ),
}

SECTIONS = sections("bash")

_FOR_PEOPLE = [section for section in SECTIONS if section[0] == "docs/cli.md"]

#: The home of those who log in.
HOME = TemporaryDirectory(prefix="home-")

#: The address of the metrics here.
METRICS_BIND = f"127.0.0.1:{free_port()}"

#: The requirements of a section's commands, in addition to a running service with a secret.
SETTINGS = {
    **{
        section: {"HOME": HOME.name, "XDG_CONFIG_HOME": ""}
        for section in SECTIONS
        if section[0] == "docs/cli.md"
    },
    ("docs/first-secret.md", "With a token"): {"AUTH_ENABLED": "true"},
    ("docs/monitoring.md", "Metrics"): {"METRICS_BIND": METRICS_BIND},
}

Section = tuple[str, str]

#: A login, and secrets that other sections store.
_LOG_IN = """
test -s ~/.config/secret-manager/profile ||
    secret-manager tokens create --name people --role writer | secret-manager login
"""
_STORED = [
    "secret-manager secret set billing/api-key --generate 32",
    "secret-manager secret set team/license --from-file LICENSE",
]

#: An issuer and a role, with the commands that create them.
_FIRST = (
    ("issuers", "github", "secret-manager issuers add github --issuer a --audience b --jwks-url https://c"),
    (
        "roles",
        "api-main",
        "secret-manager roles create api-main --issuer github --claim repository_id=1 --scope audit:read",
    ),
)

#: The earlier steps.
BEFORE = {
    **{section: [_LOG_IN, *_STORED] for section in _FOR_PEOPLE},
    ("docs/ci.md", "Manage issuers and roles"): [
        *(f"secret-manager {kind} list | grep '^{name} ' >/dev/null || {make}" for kind, name, make in _FIRST)
    ],
    # The same lines as those of a sink.
    ("docs/audit.md", "A second sink"): ["secret-manager audit export > audit.jsonl.1", ": > audit.jsonl"],
    ("docs/runbook.md", "A token has leaked"): ["secret-manager tokens create --name ci --role reader"],
    ("docs/runbook.md", "The master key has leaked"): [
        "secret-manager tokens create --name app --role reader"
    ],
}

#: Sections that need an empty database without a running service.
RESTORE = ("docs/backup.md", "Restore")


def fetched_back(printed: str) -> None:
    assert printed == '{"secret":"bXlfc2VjcmV0X3Bhc3N3b3Jk"}\n'


def two_ids_and_values(printed: str) -> None:
    assert len(re.findall(r'\{"secret_id":"[0-9a-f-]{36}"\}', printed)) == 2
    assert printed.endswith('{"secret":"dmFsdWU="}\nvaluevalue\n')


def a_life(printed: str) -> None:
    replies = [json.loads(line) for line in printed.splitlines()]
    read, gone, created, repeated, updated, newest, first, batch, changed, described, *ends = replies
    deleted, too_late = ends
    assert read == first == {"secret": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
    assert gone["status"] == too_late["status"] == 404
    assert created == repeated
    assert updated["version"] == described["version"] == 2
    assert newest == {"secret": "bXlfbmV3X3Bhc3N3b3Jk"}
    assert [item["secret"] for item in batch["secrets"]] == [newest["secret"], first["secret"]]
    assert changed["secret_id"] == described["secret_id"]
    assert described["labels"] == {"team": "ops"}
    assert described["expires_at"]
    assert deleted["restorable_until"] is None


def let_in(printed: str) -> None:
    created, value, listed = map(json.loads, printed.splitlines())
    assert value == {"secret": "bXlfcGFzc3dvcmQ="}
    assert [found["secret_id"] for found in listed["secrets"]] == [created["secret_id"]]


def contains(*texts: str) -> Callable[[str], None]:
    def check(printed: str) -> None:
        for text in texts:
            assert text in printed, printed

    return check


#: The expected output of a section's commands, if it says more than that none of them failed.
PRINTED: dict[Section, Callable[[str], None]] = {
    ("docs/first-secret.md", "curl"): fetched_back,
    ("docs/first-secret.md", "Shell scripts"): two_ids_and_values,
    ("docs/api.md", "The life of a secret"): a_life,
    ("docs/first-secret.md", "With a token"): let_in,
    ("docs/access.md", "Tokens"): contains("smt_", "10.0.0.0/8"),
    ("docs/audit.md", "Verify it without the database"): contains("intact"),
    ("docs/audit.md", "A second sink"): contains("intact"),
    ("docs/backup.md", "Back up, and drill"): contains("the backup is good"),
    ("docs/backup.md", "Restore"): contains("restored, as of", "intact"),
    ("docs/master-key.md", "Raw keys in lists"): contains("YSBrZXksIGFuZCBhIGNvbW1hLCAzMiBsZXR0ZXJzISE="),
    ("docs/monitoring.md", "Metrics"): contains("secret_manager_build_info"),
    ("docs/runbook.md", "The master key has leaked"): contains("altered"),
    ("docs/runbook.md", "Runbook"): contains('"ok"', "2 of 2"),
    ("docs/vault-api.md", "The command bao"): contains(
        "a first password", "a second password", "map[team:billing]"
    ),
}


def is_run(block: Block) -> bool:
    return block.first_line not in NOT_RUN


class Served(NamedTuple):
    """A factory of worlds: an empty one, or the one of a document, in which its service runs."""

    empty: Callable[[dict[str, str]], World]
    of: Callable[[Section], World]


@pytest.fixture(scope="module")
def worlds(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a factory of worlds. Sections of one document with the same service share theirs."""
    with history(mongod.uri), ExitStack() as running:

        def empty(settings: dict[str, str]) -> World:
            return World(tmp_path_factory.mktemp("world"), settings)

        @cache
        def serving(_document: str, settings: tuple[tuple[str, str], ...]) -> World:
            uri = running.enter_context(new_database(mongod))
            world = empty({"MASTER_KEY": master_key, "MONGO_URI": uri, **dict(settings)})
            world.names["127.0.0.1:9464"] = METRICS_BIND
            running.enter_context(world.serving())
            return world

        yield Served(empty, lambda section: serving(section[0], (*SETTINGS.get(section, {}).items(),)))


@pytest.mark.process
@pytest.mark.parametrize(
    "section", [key for key, found in SECTIONS.items() if any(map(is_run, found))], ids="::".join
)
def test_a_reader_can_copy_the_commands(
    section: Section, worlds: Served, environment: dict[str, str], mongod: Mongod
) -> None:
    """Each heading's commands run in one shell without a failure, and print the documented output."""
    scripts = [block.text for block in SECTIONS[section] if is_run(block)]
    with ExitStack() as running:
        if scripts[0].rstrip().endswith(UNTIL_STOPPED):
            # A reader who has just started it has set nothing.
            world = worlds.empty({})
            world.names["mongodb://localhost:27017/?replicaSet=rs0"] = environment["MONGO_URI"]
            running.enter_context(world.started(scripts.pop(0)))
        elif section == RESTORE:
            world = worlds.empty(dict(environment))
            with world.serving():
                world.run("secret-manager backup vault-2026-11-24.tar")
            world.settings["MONGO_URI"] = running.enter_context(new_database(mongod))
        else:
            world = worlds.of(section)
            world.run(*BEFORE.get(section, ()))
        PRINTED.get(section, contains())(world.run(*scripts))


@pytest.mark.process
@pytest.mark.parametrize(
    "block",
    [one for found in SECTIONS.values() for one in found if not is_run(one)],
    ids=lambda one: one.heading,
)
def test_what_is_not_run_is_at_least_a_script(block: Block) -> None:
    """A block that is not run here is valid bash, and only its first line explains why."""
    assert NOT_RUN[block.first_line]
    read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_every_reason_is_needed() -> None:
    """Each reason has a block that gives it, and each expectation its section."""
    given = {block.first_line for found in SECTIONS.values() for block in found}
    assert set(NOT_RUN) <= given
    assert {*SETTINGS, *BEFORE, *PRINTED, RESTORE} <= set(SECTIONS)


def test_what_ci_is_said_to_run_it_runs() -> None:
    """Each line of the blocks attributed to CI is one of CI's own."""
    own = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    for found in SECTIONS.values():
        for block in found:
            if block.first_line == "# CI runs this too.":
                lines = [line.partition("  #")[0].rstrip() for line in block.text.splitlines()[1:]]
                assert set(lines) <= set(own)


def test_the_hooks_run_what_ci_runs() -> None:
    """The hooks of pre-commit run exactly the checks of scripts/lint.sh."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    hooks = {re.sub(r"^bash -c '(.+)'$", r"\1", entry) for entry in entries}
    _, _, checks = (ROOT / "scripts" / "lint.sh").read_text().partition("scripts/install.sh test\n")
    assert hooks == set(checks.splitlines())
