"""Every command in the documents runs, or states in its first line why it does not run here."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from configparser import ConfigParser
from itertools import chain
from pathlib import Path
from sysconfig import get_path

import pytest
import yaml

from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks, sections
from tests.docs.world import UNTIL_STOPPED, World
from tests.support.databases import history, new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod, free_port

#: The first line of the block with what a release publishes.
_LATER = "# With the first release."

#: The first lines of blocks that are not run here, each with the reason. Readers see the line as well.
NOT_RUN = {
    "# On a manager of the swarm.": "needs a Docker Engine: tests/qa/deployment has one",
    "# On one machine, with Docker.": "the same: tests/qa/deployment deploys so, on an empty engine",
    "# On an administrator's machine.": "needs access control: cli/test_mongodb_commands.py",
    "# As root, with systemd 257 or newer.": "needs it as the first process: systemd/test_units.py has one",
    "# With MongoDB's database tools.": "bsondump is not part of this project",
    "# From Vault or OpenBao.": "needs a server to move from: cli/test_imports.py runs them on one",
    _LATER: "nothing is published: tests/qa/deployment/test_release.py does so, on this machine",
    "# With pipx.": "a build takes a minute: scripts/test_build.py (.ci/nightly)",
    "# Through your own proxy.": "docs/test_proxy.py does so through each of them",
    "./scripts/dev.sh   # until Ctrl-C": "docs/test_first_minutes.py runs it, and the commands below it",
    "# Asks for the token.": "needs a terminal: cli/test_login.py",
    "# Asks for the value.": "the same: cli/test_secret_values.py, docs/test_first_minutes.py",
    "# With an API of your own.": "needs one: clients/broker/test_programs.py",
    "# With your own database.": "needs one: tests/features/rotation has several",
    "# With your own providers.": "needs an HSM and OpenBao: tests/features/custody",
    "# With your own witnesses.": "needs an authority: features/proofs/commands has one",
    "# With people who hold shares, and MONGO_URI of an empty MongoDB.": "the same",
    "# The tests, except slow ones that start programs.": "this is one of them",
    "# Tested with every change.": "tests/qa/clients runs them, with the tools that they need",
    "# Tested before a release.": "the same",
    "# CI runs this too.": "it does: test_what_ci_is_said_to_run_it_runs",
    "# Takes minutes; the test suite runs a shorter version.": (
        "tests/qa/loadtest, tests/qa/faults, tests/qa/fuzz, tests/qa/hostile"
    ),
}

SECTIONS = sections("bash")

Section = tuple[str, str]

#: Names in the documents, and their replacements here.
NAMES = {
    # A few tests stand for all of the folder.
    "tests/core/crypto ": "tests/core/crypto/test_audit_chain.py ",
    # The packages of this installation are there, with pip, so that none is downloaded.
    "python3 -m venv venv": f"""python3 -m venv --without-pip venv
    echo {get_path("purelib")} > "$(echo venv/lib/python3*/site-packages)/shared.pth"
    printf '#!/bin/sh\\nexec venv/bin/python -m pip "$@"\\n' > venv/bin/pip && chmod +x venv/bin/pip""",
}

#: A login, and secrets that other sections store.
_PERSON = (
    "secret-manager tokens create --name people --role writer | secret-manager login",
    "secret-manager secret set billing/api-key --generate 32",
    "secret-manager secret set team/license --from-file LICENSE",
)

#: The earlier steps.
BEFORE: dict[Section, Sequence[str]] = {
    **{section: _PERSON for section in SECTIONS if section[0] == "docs/cli.md"},
    ("docs/evidence.md", "Exposure: who knows which value"): [
        "secret-manager tokens create --name people --role writer | secret-manager login",
        "secret-manager secret set billing/db-password --generate 32",
    ],
    ("docs/tutorial.md", "A program with its own password"): [
        "secret-manager tokens create --name people --role admin | secret-manager login"
    ],
    ("docs/ci.md", "Manage issuers and roles"): [
        "secret-manager issuers create github --issuer a --audience b --jwks-url https://c",
        "secret-manager roles create api-main --issuer github --claim repository_id=1 --scope audit:read",
    ],
    # The same lines as those of a sink.
    ("docs/audit.md", "A second sink"): ["secret-manager audit export > audit.jsonl.1", ": > audit.jsonl"],
    ("docs/runbook.md", "A token has leaked"): ["secret-manager tokens create --name ci --role reader"],
    ("docs/runbook.md", "The master key has leaked"): [
        "secret-manager tokens create --name app --role reader"
    ],
    ("docs/backup.md", "Restore"): ["rm -f *.tar", "secret-manager backup vault-2026-11-24.tar"],
}

#: A section that needs an empty database, which is not the running service's.
RESTORE = ("docs/backup.md", "Restore")

#: A section that needs a service with metrics, which only a start as in production has.
METRICS = ("docs/monitoring.md", "Metrics")


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
    ("docs/backup.md", "Back up regularly"): contains("the last drill of vault-"),
    ("docs/backup.md", "Restore"): contains("restored, as of", "intact"),
    METRICS: contains("secret_manager_build_info"),
    ("docs/runbook.md", "The master key has leaked"): contains("altered"),
    ("docs/runbook.md", "Runbook"): contains('"ok"', "2 of 2"),
    ("docs/vault-api.md", "The command bao"): contains(
        "a first password", "a second password", "map[team:billing]"
    ),
}


def is_run(block: Block) -> bool:
    return block.first_line not in NOT_RUN


@pytest.fixture(scope="module")
def served(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Service]]:
    """Run a service for all documents."""
    with history(mongod.uri), new_database(mongod) as uri:
        folder = tmp_path_factory.mktemp("world")
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "HOME": str(folder)}
        world = World(folder, settings, dict(NAMES))
        with world.serving() as service:
            yield world, service


@pytest.mark.process
@pytest.mark.parametrize(
    "section", [key for key, found in SECTIONS.items() if any(map(is_run, found))], ids="::".join
)
def test_a_reader_can_copy_the_commands(
    section: Section, served: tuple[World, Service], mongod: Mongod, tmp_path: Path
) -> None:
    """Each heading's commands run in one shell without a failure, and print the documented output."""
    scripts = [block.text for block in SECTIONS[section] if is_run(block)]
    world, service = served
    with new_database(mongod) as uri:
        if scripts[0].rstrip().endswith(UNTIL_STOPPED):
            # A reader who has just started it has set nothing.
            names = {**NAMES, "mongodb://localhost:27017/?replicaSet=rs0": uri}
            with World(tmp_path, {"PIP_NO_BUILD_ISOLATION": "0"}, names).started(scripts[0]):
                return
        if section == METRICS:
            bind = f"127.0.0.1:{free_port()}"
            settings = {"MASTER_KEY": world.settings["MASTER_KEY"], "MONGO_URI": uri, "METRICS_BIND": bind}
            with Service(settings, folder=tmp_path):
                world.names["127.0.0.1:9464"] = bind
                PRINTED[section](world.run(*scripts))
            return
        world.begin_again(service)
        world.run(*BEFORE.get(section, ()))
        printed = world.run(*scripts, **({"MONGO_URI": uri} if section == RESTORE else {}))
    PRINTED.get(section, contains())(printed)


@pytest.mark.process
def test_what_is_not_run_is_at_least_a_script() -> None:
    """A block that is not run here is valid bash, and only its first line explains why."""
    for block in chain.from_iterable(SECTIONS.values()):
        if not is_run(block):
            assert NOT_RUN[block.first_line]
            read = subprocess.run(
                ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
            )
            assert (read.returncode, read.stderr) == (0, ""), block


def test_every_reason_is_needed() -> None:
    """Each reason has a block that gives it, and each expectation its section."""
    given = {block.first_line for found in SECTIONS.values() for block in found}
    assert set(NOT_RUN) <= given
    assert {*BEFORE, *PRINTED, RESTORE} <= set(SECTIONS)


def test_what_ci_is_said_to_run_it_runs() -> None:
    """Each line of the blocks attributed to CI is one of CI's own."""
    own = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    for found in SECTIONS.values():
        for block in found:
            if block.first_line == "# CI runs this too.":
                lines = [line.partition("  #")[0].rstrip() for line in block.text.splitlines()[1:]]
                assert set(lines) <= set(own)


def checks() -> list[str]:
    """Return the commands of scripts/lint.sh."""
    _, _, found = (ROOT / "scripts" / "lint.sh").read_text().partition("scripts/install.sh test\n")
    # The list of words finds nothing wrong.
    return [check for check in found.splitlines() if check.startswith(".venv/")]


def test_the_hooks_run_what_ci_runs() -> None:
    """The hooks of pre-commit run exactly the checks of scripts/lint.sh."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    hooks = {re.sub(r"^bash -c '(.+)'$", r"\1", entry) for entry in entries}
    assert hooks == set(checks())


def test_the_linters_are_installed_with_the_tests() -> None:
    """No check of scripts/lint.sh needs a program of the system, and those for Python come first."""
    programs = [check.split()[0] for check in checks()]
    assert {str(Path(program).parent) for program in programs} == {".venv/bin"}
    assert programs.index(".venv/bin/shellcheck") == len(programs) - 1


def test_the_workflow_has_every_supported_version_of_python() -> None:
    """CI tests each version of Python that the package's classifiers name, from the oldest supported one."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    classified = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["unit"]["strategy"]["matrix"]["python"] == classified
    assert setup["options"]["python_requires"] == f">={classified[0]}"


def test_the_package_is_not_installed_by_its_name_before_its_first_release() -> None:
    """Documents and hints install this package from its wheel: on PyPI, anyone could still take its name."""
    texts = [*DOCUMENTS.values(), *(file.read_text() for file in (ROOT / "vault").rglob("*.py"))]
    installs = [
        found for text in texts for found in re.findall("pipx install.*|pip install.*secret.manager.*", text)
    ]
    [later] = [block for block in blocks("README.md", "bash") if block.first_line == _LATER]
    assert [line for line in installs if ".whl" not in line and "WHEEL" not in line] == [
        line for line in later.text.splitlines() if line.startswith("pipx")
    ]
    assert later.text.splitlines()[1] in (ROOT / "scripts/rehearse.sh").read_text()
    first, *_ = blocks("README.md", "bash")
    assert first.text.startswith("./scripts/dev.sh")
