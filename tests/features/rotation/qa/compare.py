"""`python -m tests.features.rotation.qa.compare [SECONDS]`: rotation here and by OpenBao, with the same load.

Both change a password of the same PostgreSQL server every 5 seconds, the shortest period of OpenBao's static
roles, for 60 or another number of SECONDS. Print a table for the documents.
"""

import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from tests.features.rotation import servers
from tests.features.rotation.applications import LOGINS_A_SECOND, Record, applications
from tests.features.rotation.conftest import World, rotation_app
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.support.access import services
from tests.support.databases import new_database
from tests.support.openbao import OpenBao
from vault.clients.dev.mongod import Mongod
from vault.features.rotation import run
from vault.features.rotation.sources.postgresql import PostgreSQL

_PERIOD_SECONDS = 5
_FIRST = FIRST_PASSWORD.ljust(32, "-")


def compare(folder: Path, seconds: float) -> dict[str, Record]:
    """Return the record of each, by its name in the table."""
    found = {}
    for name, prepare in (("two users in turn", _two_users), ("OpenBao 2.7.2, a static role", _static_role)):
        with servers.postgresql() as server, prepare(server, folder) as fetch:
            source = PostgreSQL(server.url, 10)
            with applications(fetch, source.login) as record:
                time.sleep(seconds)
            found[name] = record
    return found


@contextmanager
def _two_users(server: Server, folder: Path) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Run this service with a plan, in this process."""
    PostgreSQL(server.url, 10).set_password(USERS[0], _FIRST)
    key = b64encode(secrets.token_bytes(32)).decode()
    with Mongod(folder / "db") as mongod, new_database(mongod) as uri:
        environment = {"MASTER_KEY": key, "MONGO_URI": uri}
        with rotation_app(environment, ROTATION_CHECK_SECONDS="1") as app:
            services(app).startup.attempt()
            world = World(app)
            world.plan(
                "postgresql", server.url, password=_FIRST, every_seconds=_PERIOD_SECONDS, grace_seconds=60
            )

            # It would wait for entries that commit late for longer than the period.
            with patch.object(run, "SETTLED_SECONDS", 1):
                world.runner.start()
                yield world.fetch_as


@contextmanager
def _static_role(server: Server, folder: Path) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Run OpenBao with a static role."""
    parts = urlsplit(server.url)
    connection = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{parts.hostname}:{parts.port}/postgres",
        "username": parts.username,
        "password": parts.password,
    }
    role = {"db_name": "shop", "username": USERS[0], "rotation_period": f"{_PERIOD_SECONDS}s"}
    with OpenBao(folder) as bao:
        for path, body in (
            ("sys/mounts/database", {"type": "database"}),
            ("database/config/shop", connection),
            ("database/static-roles/app", role),
        ):
            reply = bao.ask("POST", path, body)
            assert reply.status in (200, 204), reply.text
        yield lambda _: dict(bao.ask("GET", "database/static-creds/app").body["data"])


def table(records: dict[str, Record]) -> str:
    """Return the table."""
    titles = (f"a rotation every {_PERIOD_SECONDS} s", "passwords", "logins", "failed", "after a new fetch")
    rows = [
        (name, len(record.passwords), f"{record.logins:,}", record.failed, record.failed_again)
        for name, record in records.items()
    ]
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Compare, and print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with TemporaryDirectory() as folder:
        records = compare(Path(folder), seconds)
    print(f"{LOGINS_A_SECOND} logins a second\n\n{table(records)}")  # noqa: T201 - its output


if __name__ == "__main__":
    main()
