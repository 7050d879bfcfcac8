"""The command without the extra `server`: only the packages in requirements/client.txt are installed."""

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from click import Context, Group

from tests.docs.documents import ROOT
from tests.support.commands import command_environment
from vault.cli import commands
from vault.common.outcomes import Exit
from vault.toolkit.cli.lazy_group import LazyGroup

pytestmark = pytest.mark.process

#: The commands that need no package of the service; of the others, none works.
FOR_PEOPLE = {
    *(
        "broker",
        "completion",
        "compose",
        "credentials",
        "login",
        "logout",
        "mcp",
        "secret",
        "swarm",
        "swarm-driver",
        "tokens",
        "whoami",
    ),
    *("audit", "audit query", "audit tail"),
}

PROGRAM = """
import json
from click import Context
from vault.cli import commands
from vault.common.errors import ExtraMissingError
found = {}
def look(group, *words):
    context = Context(group, info_name="secret-manager")
    group.get_help(context)
    for name in group.list_commands(context):
        try:
            command = group.get_command(context, name)
        except ExtraMissingError as error:
            found[" ".join([*words, name])] = str(error)
            continue
        command.get_help(Context(command))
        found[" ".join([*words, name])] = ""
        if name == "audit":
            look(command, name)
look(commands)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages that the base installs, and no others."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "vault").symlink_to(ROOT / "vault")
    for name in re.findall(
        r"^([a-z0-9-]+)[\[=]", (ROOT / "requirements/client.txt").read_text(), re.MULTILINE
    ):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            # It is one for another system.
            continue
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(Path(str(package.locate_file(top))))
    return folder


def run(base: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages in *base* alone."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=base,
        env=command_environment({"PYTHONPATH": str(base), "XDG_CONFIG_HOME": str(base), **environment}),
        input="smt_x\n",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_base_has_the_commands_for_people(base: Path) -> None:
    """Commands for people and the driver need only the base; each other one says what to install."""
    done = run(base, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name for name, refusal in found.items() if not refusal} == FOR_PEOPLE
    needs = (
        r"`secret-manager \S+` needs packages of the service, such as \w+; install its wheel with the extra"
    )
    refusals = [refusal for refusal in found.values() if refusal]
    assert refusals
    assert all(re.match(needs, refusal) for refusal in refusals)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("secret get a", "http://localhost:1 cannot be reached"),
        ("login --url http://localhost:1", "http://localhost:1 cannot be reached"),
        ("tokens list", "http://localhost:1 cannot be reached"),
        ("audit query", "http://localhost:1 cannot be reached"),
        ("swarm-driver --check --socket no-socket", "no reply on no-socket"),
    ],
)
def test_the_base_suffices_to_run_them(base: Path, command: str, answer: str) -> None:
    """Commands for people and the driver get as far as their service with the packages of the base."""
    done = run(base, "-m", "vault.cli", *command.split(), VAULT_URL="http://localhost:1", VAULT_TOKEN="t")
    assert done.stderr.startswith(f"error: {answer}")


def test_a_missing_extra_is_one_line(base: Path) -> None:
    """A command of the service says in one line which extra to install; completion does not fail with it."""
    done = run(base, "-m", "vault.cli", "keys", "generate")
    assert (done.returncode, done.stdout) == (Exit.FAILED, "")
    assert done.stderr.startswith("error: `secret-manager keys` needs packages of the service, such as ")
    assert done.stderr.endswith("`pipx install --force 'WHEEL[server]'`\n")
    words = {"COMP_WORDS": "secret-manager keys ", "COMP_CWORD": "2"}
    done = run(base, "-m", "vault.cli", _SECRET_MANAGER_COMPLETE="bash_complete", **words)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [(), ("audit",)], ids=["secret-manager", "audit"])
def test_a_summary_is_the_first_sentence_of_the_help(words: tuple[str, ...]) -> None:
    """The list of commands has each command's own summary, in whole, although it loads none."""
    group: Group = commands
    for word in words:
        found = group.get_command(Context(group), word)
        assert isinstance(found, LazyGroup)
        group = found
    assert isinstance(group, LazyGroup)
    own = {name: group.get_command(Context(group), name) for name in group.list_commands(Context(group))}
    assert group._summaries == {name: one.get_short_help_str(200) for name, one in own.items() if one}
    # The list cuts longer ones.
    assert [text for text in group._summaries.values() if len(text) > 60] == []
