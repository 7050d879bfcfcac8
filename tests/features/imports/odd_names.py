"""A check that an import takes all names that OpenBao takes."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.support.commands import run_command
from tests.support.openbao import Servers


def require_names(servers: Servers, path: str, names: Sequence[str], folder: Path) -> None:
    """Require that an import of *path* from OpenBao is equal to it, and that the trail has its *names*."""
    source = {"VAULT_ADDR": servers.real.url, "VAULT_TOKEN": servers.real.tokens["admin"]}
    options = ("vault", "--path", path, "--namespace", "imported", "--json")
    done = run_command("import", *options, environment=servers.ours.environment | source, folder=folder)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    totals = {row["total"]: row["secrets"] for row in rows if "total" in row}
    count = len(names)
    assert [totals[one] for one in ("imported", "different here", "compared")] == [count, 0, count]
    assert [row["equal"] for row in rows if "equal" in row] == [True]
    created = servers.ours.entries("--action", "create", "--limit", "5000")
    imported = [one["details"]["name"] for one in created if one["details"].get("namespace") == "imported"]
    assert sorted(imported) == sorted(names)
