"""The start of commands for people: which modules they load."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import command_environment

pytestmark = pytest.mark.process

#: Each of these takes longer to load than a command may take.
HEAVY = [
    "pymongo",
    "mongoengine",
    "flask",
    "gevent",
    "marshmallow",
    "cryptography",
    "prometheus_client",
    "yaml",
]

COMMANDS = [
    *(["login"], ["logout"], ["whoami"], ["completion", "bash"]),
    *(["secret", "get", "a"], ["secret", "set", "a"], ["secret", "list"], ["secret", "describe", "a"]),
    ["secret", "export"],
    *(["secret", "delete", "a"], ["secret", "restore", "a"], ["secret", "run", "--env", "A=a", "--", "true"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_loads_no_heavy_module(tmp_path: Path, command: list[str]) -> None:
    """A command of people starts without what only the service and operators need."""
    program = (
        "import sys\n"
        "from vault.cli import commands\n"
        f"try: commands({command!r})\n"
        "except SystemExit: pass\n"
        f"found = set({HEAVY!r}) & set(sys.modules)\n"
        "assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=command_environment({"VAULT_URL": "http://localhost:1", "XDG_CONFIG_HOME": str(tmp_path)}),
        input="v",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
