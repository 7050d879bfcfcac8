"""The command `secret-manager` itself: its help, and the modules that a command loads."""

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from tests.commands import command_environment
from vault.cli import commands

NAMES = ["audit", "backup", "dev", "drill", "keys", "ready", "replicaset", "restore", "serve", "tokens"]


def test_the_help_has_every_command() -> None:
    """`--help` lists all commands in alphabetical order, each with what it does."""
    listed = CliRunner().invoke(commands, ["--help"]).output.partition("Commands:\n")[2]
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    assert [name for name, _ in lines] == NAMES


def test_a_name_that_is_almost_a_command_s_leads_to_it() -> None:
    """A mistyped command's message names the one that may be meant, though none was loaded before."""
    done = CliRunner().invoke(commands, ["keyz"])
    assert done.exit_code == 2
    assert "Did you mean 'keys'?" in done.output


def test_no_command_waits_for_what_others_need(tmp_path: Path) -> None:
    """Modules that take longer to load than most commands take are loaded by those that need them."""
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
