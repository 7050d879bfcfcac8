"""The command `secret-manager` itself: its help, and the modules that a command loads."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.commands import command_environment
from vault.cli import commands

NAMES = [
    *("audit", "backup", "completion", "dev", "drill", "import", "issuers", "keys", "login", "logout"),
    *("ready", "replicaset", "restore", "roles", "secret", "serve", "swarm", "swarm-driver", "tokens"),
    "whoami",
]


def test_the_help_has_every_command() -> None:
    """`--help` lists all commands in alphabetical order, each with a description."""
    listed = CliRunner().invoke(commands, ["--help"]).output.partition("Commands:\n")[2]
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    assert [name for name, _ in lines] == NAMES


def test_a_mistyped_command_gets_a_suggestion() -> None:
    """The error for a mistyped command suggests a similar one, although none was loaded before."""
    done = CliRunner().invoke(commands, ["keyz"])
    assert done.exit_code == 2
    assert "did you mean `keys`?" in done.output


@pytest.mark.process
def test_no_command_loads_what_only_others_need(tmp_path: Path) -> None:
    """Modules that load slowly are loaded only by the commands that need them."""
    program = (
        "import sys\n"
        "from vault.cli import commands\n"
        "commands(['serve', '--help'], standalone_mode=False)\n"
        "assert not {'mongoengine', 'vault.documents', 'vault.operations'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=command_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
