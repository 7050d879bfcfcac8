"""The start of commands for people: which modules they load."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import command_environment

pytestmark = pytest.mark.process

#: Each of these takes longer to load than a command may take.
HEAVY = [
    *("pymongo", "mongoengine", "flask", "gevent", "marshmallow", "cryptography", "prometheus_client", "yaml")
]

COMMANDS = [
    *(["login"], ["logout"], ["whoami"], ["completion", "bash"]),
    *(
        ["secret", "get", "a"],
        ["secret", "set", "a", "--generate", "8"],
        ["secret", "list"],
        ["secret", "describe", "a"],
    ),
    ["secret", "export"],
    *(["--help"], ["--version"], ["audit", "--help"], ["tokens", "--help"]),
    *(["secret", "delete", "a"], ["secret", "restore", "a"], ["secret", "run", "--env", "A=a", "--", "true"]),
]


def test_a_command_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Commands of people start without what only the service needs, and `serve` without its documents.

    A health check, which runs every few seconds, loads neither PyMongo nor cryptography.
    """
    program = f"""
import sys
from vault.cli import commands
for command in {COMMANDS!r}:
    try: commands(command)
    except SystemExit: pass
    found = set({HEAVY!r}) & set(sys.modules)
    assert not found, (command, found)
try: commands(["ready"])
except SystemExit: pass
assert not {{"pymongo", "cryptography"}} & set(sys.modules)
commands(["serve", "--help"], standalone_mode=False)
assert not {{"mongoengine", "vault.core.documents", "vault.core.parts"}} & set(sys.modules)
"""
    environment = {"VAULT_URL": "http://localhost:1", "VAULT_TOKEN": "t", "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=command_environment(environment),
        input="v",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
