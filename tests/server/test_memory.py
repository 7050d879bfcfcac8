"""The memory of a worker: which modules it does without."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import unmeasured

pytestmark = pytest.mark.process

#: What only features that are off, refusals or commands need.
UNUSED = [
    *("authlib", "docker", "joserfc", "limits", "opentelemetry", "psycopg", "pymysql", "redis", "sqlite3"),
    *("unittest", "urllib3", "vault.clients", "vault.service.commands", "vault.toolkit.cli"),
]

PROGRAM = f"""
import sys
import vault.server.gunicorn_conf
from vault.app import from_environment
client = from_environment().test_client()
assert client.get("/health/live").status_code == 200
found = sorted(set({UNUSED!r}) & set(sys.modules))
assert not found, found
"""


def test_a_worker_loads_only_what_it_needs(master_key: str, tmp_path: Path) -> None:
    """A worker loads nothing that only features that are off, refusals or commands need."""
    environment = {**unmeasured(), "MASTER_KEY": master_key, "MONGO_URI": "mongodb://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
