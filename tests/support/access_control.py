"""A MongoDB with access control, as in `deploy/stack.secure.yml`: one member, its key, and its users."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from vault.cli.dev.mongod import Mongod
from vault.cli.operator.replicaset import ReplicaSet

KEY = "akeythatthemembersshare"
ROOT = "rootspassword"
Client = MongoClient[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Locked:
    """A server that requires a password. The database is `vault`."""

    address: str

    def uri(self, user: str = "secret-manager:itspassword", database: str = "vault") -> str:
        """Return the connection string of *user*, by default the service's own."""
        return f"mongodb://{user}@{self.address}/{database}?replicaSet=rs0"

    @property
    def root(self) -> str:
        """The administrator's connection string."""
        return self.uri(f"root:{ROOT}", "admin")

    def initiate(self, *, audit_ttl_days: int = 0) -> None:
        """Do the work of the secure stack's job at each deployment."""
        ReplicaSet(self.uri(), key=KEY).initiate(
            root_password=ROOT, audit_ttl_days=audit_ttl_days, timeout_seconds=60
        )


@contextmanager
def locked_mongod(folder: Path) -> Iterator[Locked]:
    """Run a server with access control, with its data in *folder*, and with the users that it needs."""
    key_file = folder / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o400)
    options = ("--keyFile", str(key_file))
    server = Mongod(folder / "db", replica_set="rs0", options=options, initiate=False)
    server.start()
    try:
        locked = Locked(server.address)
        locked.initiate()
        yield locked
    finally:
        server.kill()
