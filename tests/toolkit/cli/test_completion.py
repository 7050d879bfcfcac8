"""The command `completion`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.commands import command_environment
from vault.cli import commands


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    """`completion` prints a script that calls the command back."""
    script = CliRunner().invoke(commands, ["completion", shell]).stdout
    assert f"_SECRET_MANAGER_COMPLETE={shell}_complete" in script


@pytest.mark.process
def test_bash_completes_commands(tmp_path: Path) -> None:
    """The script makes bash complete a command's name."""
    script = CliRunner().invoke(commands, ["completion", "bash"]).stdout
    (tmp_path / "secret-manager").write_text(f'#!/bin/sh\nexec {sys.executable} -m vault.cli "$@"\n')
    (tmp_path / "secret-manager").chmod(0o755)
    program = (
        f"PATH={tmp_path}:$PATH\n{script}\n"
        "COMP_WORDS=(secret-manager secret des) COMP_CWORD=2\n"
        "compopt() { :; }\n"
        "_secret_manager_completion secret-manager\n"
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=tmp_path,
        env=command_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "describe\n", done.stderr
