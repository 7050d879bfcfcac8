"""The operators' command `import vault`."""

import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.features.imports.moving import Tree
from tests.support.commands import Done, command_environment, invoke, start_command
from tests.support.leaks import Marks
from tests.support.rotation import Stored, connected
from tests.support.trail import block_trail
from tests.support.unrecorded import unrecorded
from tests.support.waiting import wait_until
from vault.cli import commands
from vault.features.imports import commands as imports

pytestmark = [pytest.mark.process, pytest.mark.slow]

Run = Callable[..., Done]

HASHES = re.compile(r"^hash .*: ([0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture
def source(tree: Tree, environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of an import from the tree."""
    return {**environment, "VAULT_ADDR": tree.bao.url, "VAULT_TOKEN": tree.token}


@pytest.fixture
def run(tree: Tree, source: dict[str, str], tmp_path: Path) -> Run:
    """Return a function that runs `secret-manager import vault` on the tree."""

    def run(*arguments: object, **environment: str) -> Done:
        options = ("vault", "--mount", tree.mount, *arguments)
        return invoke("import", *options, environment=source | environment, folder=tmp_path)

    return run


def has_equal_hashes(done: Done) -> bool:
    """Return whether *done* has printed two equal hashes, and says so."""
    there, here = HASHES.findall(done.stdout)
    return bool(there == here and done.stdout.endswith("the hashes are equal\n"))


@pytest.mark.promise("purges")
@pytest.mark.new_database
def test_a_tree_moves_in(tree: Tree, run: Run, stored: Stored) -> None:
    """A dry run lists what an import stores; the import is complete, and can be repeated and verified."""
    tree.put("a/b", {"n": 1}, {"n": 2})
    tree.put("c", {"n": 1})
    tree.describe("d", {"custom_metadata": {"a": "b"}})
    planned = run("--dry-run")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert planned.stdout.splitlines() == [
        "to import: a/b: versions 1, 2",
        "to import: c: versions 1",
        "to import: d: versions none",
        "to import: 3 secrets, 3 versions",
        "already here: 0 secrets, 0 versions",
        "different here: 0 secrets, 0 versions",
        "not importable: 0 secrets, 0 versions",
    ]
    assert stored.list_collection_names() == []
    missing = run("--verify")
    assert missing.returncode == 1
    assert "not here: c: it is not here" in missing.stdout
    assert missing.stdout.endswith("the hashes DIFFER\n")
    moved = run()
    assert (moved.returncode, moved.stderr) == (0, "")
    assert moved.stdout.startswith("imported: 3 secrets, 3 versions\nalready here: 0 secrets")
    assert has_equal_hashes(moved)
    again = run()
    assert again.returncode == 0
    assert again.stdout.startswith("imported: 0 secrets, 0 versions\nalready here: 3 secrets, 3 versions\n")
    verified = run("--verify")
    assert verified.returncode == 0
    assert verified.stdout.startswith("compared: 3 secrets, 3 versions\n")
    assert has_equal_hashes(verified)
    assert stored.secrets.count_documents({}) == stored.audit_logs.count_documents({"action": "create"}) == 3
    assert stored["keys"].find_one("claims")["workers"] == []
    assert unrecorded(stored) == {}


def test_what_does_not_arrive_is_named_once(tree: Tree, run: Run, stored: Stored) -> None:
    """Each secret that needs a look has its line, others are imported, and the exit status is 1."""
    tree.put("good", {"n": 1})
    tree.put("taken", {"n": 1})
    tree.put("a*b", {"n": 1})
    tree.put("deleted", {"n": 1}, {"n": 2})
    tree.change("delete", "deleted", [1])
    assert run("--path", "taken").returncode == 0
    tree.put("taken", {"n": 2})
    done = run()
    assert done.returncode == 1
    assert done.stdout.splitlines()[:7] == [
        "not importable: a*b: no secret here can have this name: it must not contain *",
        "not copied: deleted: the values of deleted versions, which the source does not return: 1",
        "different here: taken: the secret here has other content",
        "imported: 2 secrets, 3 versions",
        "already here: 0 secrets, 0 versions",
        "different here: 1 secret, 2 versions",
        "not importable: 1 secret, 0 versions",
    ]
    assert done.stdout.endswith("the hashes DIFFER\n")
    assert done.stdout.count("a*b") == done.stdout.count("taken") == 1
    assert run("--dry-run").returncode == 1
    assert stored.secrets.count_documents({}) == 3


@pytest.mark.promise(3)
def test_a_killed_import_is_completed(
    tree: Tree, source: dict[str, str], run: Run, mongo_uri: str, stored: Stored, tmp_path: Path
) -> None:
    """After `kill -9` halfway, a repeated import leaves both sides with equal hashes, all on record."""
    tree.fill(250, versions=1)
    with connected(mongo_uri):
        pass  # The creation of an index would wait, too.
    with stored.client.start_session() as session, session.start_transaction():
        # The second of three batches waits for the name.
        held = {"namespace": "default", "name": "folder-5/secret-5"}
        stored.secrets.insert_one(held, session=session)
        process = start_command("import", "vault", "--mount", tree.mount, environment=source, folder=tmp_path)
        wait_until(lambda: stored.secrets.count_documents({}) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        session.abort_transaction()
    assert process.returncode == -signal.SIGKILL
    assert unrecorded(stored) == {}
    assert 0 < stored.secrets.count_documents({}) < 250
    done = run("--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "compared: 250 secrets, 250 versions\n" in done.stdout
    assert has_equal_hashes(done)
    assert stored.secrets.count_documents({"pending": None}) == 250
    assert stored.secrets.count_documents({"pending": True}) == 0
    assert unrecorded(stored) == {}


@pytest.mark.promise(3)
def test_without_their_entries_no_secrets_arrive(tree: Tree, run: Run, stored: Stored) -> None:
    """If the trail cannot be written, nothing is stored."""
    tree.put("s", {"n": 1})
    block_trail(stored)
    done = run()
    assert done.returncode == 1
    assert done.stderr.endswith("error: the audit trail cannot be written\n")
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.promise("purges")
def test_no_value_and_no_token_leaks(
    tree: Tree, source: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """Outputs, errors, the list of processes and the database have neither a value nor the token."""
    value, refused = secrets.token_urlsafe(18), secrets.token_urlsafe(18)
    tree.put("a/b", {"password": value})
    tree.put("a/c", {"password": refused * 6})
    tree.put("a*b", {"password": refused})
    token = tree.allow(
        'path "~/*" { capabilities = ["read", "list"] } path "~/data/a/d" { capabilities = ["deny"] }'
    )
    tree.put("a/d", {"password": value})
    settings = {**source, "VAULT_TOKEN": "", "MAX_SECRET_BYTES": "100", "LOG_LEVEL": "debug"}
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "vault.cli", "import", "vault", "--mount", tree.mount, "--token-file", file],
        cwd=tmp_path,
        env=command_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listed = Path(f"/proc/{process.pid}/cmdline").read_text()
    outputs = "".join(process.communicate())
    assert process.returncode == 1
    assert "not importable: a/d: the token cannot read it" in outputs
    assert "not importable: a/c: version 1 has more than MAX_SECRET_BYTES" in outputs
    kept = "".join(str(list(stored[name].find())) for name in stored.list_collection_names())
    marks = Marks(value=value, refused=refused, token=token)
    assert marks.found(listed + outputs + kept) == set()
    assert stored.secrets.count_documents({}) == 1


def test_the_token_can_come_from_standard_input(tree: Tree, source: dict[str, str]) -> None:
    """With `-` in place of a file, the token is read from standard input, and no variable is used.

    As with OpenBao's client, BAO_ADDR and BAO_TOKEN override those of Vault's.
    """
    tree.put("s", {})
    options = ("--mount", tree.mount, "--dry-run", "--token-file", "-")
    environment = {**source, "VAULT_TOKEN": "wrong"}
    done = CliRunner().invoke(
        commands, ["import", "vault", *options], env=environment, input=f"{tree.token}\n"
    )
    assert done.exit_code == 0, done.output
    assert "to import: s: versions 1" in done.output
    environment |= {"VAULT_ADDR": "x", "BAO_ADDR": tree.bao.url, "BAO_TOKEN": tree.token}
    done = CliRunner().invoke(commands, ["import", "vault", *options[:3]], env=environment)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("option", ["--dry-run", "--verify"])
def test_an_empty_source_is_an_error(tree: Tree, run: Run, option: str) -> None:
    """A wrong path must not look like a success."""
    tree.put("s", {})
    done = run("--path", "other/", option)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the source has no secrets at this path\n"


def test_progress_is_shown(
    tree: Tree, run: Run, source: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a long import, lines on standard error count the secrets."""
    tree.fill(3, versions=1)
    assert run("--quiet").returncode == 0
    for seconds, lines in ((600, 0), (0, 3)):
        monkeypatch.setattr(imports, "_PROGRESS_INTERVAL_SECONDS", seconds)
        options = ("--mount", tree.mount, "--verify")
        done = CliRunner().invoke(commands, ["import", "vault", *options], env=source)
        assert done.exit_code == 0
        compared = ["1 secret compared", "2 secrets compared", "3 secrets compared"]
        assert done.stderr.splitlines() == compared[:lines]


@pytest.mark.promise("purges")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "http://vault.example:8200"], "must be https://"),
        (["--address", "ftp://127.0.0.1"], "must be https://"),
        (["--address", "https://user:password@vault.example"], "must not have a user name"),
        (["--address", "https://vault.example/?x=1"], "must not have a query"),
        (["--address", "https://vault.example/#x"], "must not have a query"),
        (
            ["--path", "a* b"],
            "must be a name of a secret, or a folder such as billing/, which must not contain *",
        ),
        (["--prefix", "a"], "must be a folder"),
        (["--mount", "../sys"], "must be the path of a secrets engine"),
        (["--source-namespace", "a b"], "visible ASCII"),
        (["--dry-run", "--verify"], "Use either --dry-run or --verify"),
    ],
)
def test_wrong_options_are_refused(options: list[str], message: str) -> None:
    """An address on which others could read the values, and names without a meaning, are refused."""
    environment = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "token"}
    done = CliRunner().invoke(commands, ["import", "vault", *options], env=environment)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"VAULT_TOKEN": "token"}, "Missing option '--address'"),
        ({"VAULT_ADDR": "http://127.0.0.1:1"}, "Set VAULT_TOKEN"),
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "two\nlines"}, "visible ASCII"),
    ],
)
def test_an_import_needs_an_address_and_a_token(environment: dict[str, str], message: str) -> None:
    """The error names the missing setting, and never shows a token that no header can hold."""
    unset = dict.fromkeys(("BAO_ADDR", "BAO_TOKEN", "VAULT_ADDR", "VAULT_TOKEN"))
    done = CliRunner().invoke(commands, ["import", "vault"], env={**unset, **environment})
    assert done.exit_code == 2
    assert message in done.output
    assert "lines" not in done.output
