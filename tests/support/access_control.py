"""A MongoDB with access control, as in `deploy/stack.secure.yml`: one member, its key, and its users."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.support.commands import invoke
from vault.clients.dev.mongod import Mongod

KEY = "akeythatthemembersshare"
ROOT = "rootspassword"
Client = MongoClient[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Locked:
    """A server that requires a password. The database is `vault`."""

    address: str
    #: Has the files of the key and of the administrator's password.
    folder: Path

    def uri(self, user: str = "secret-manager:itspassword", database: str = "vault") -> str:
        """Return the connection string of *user*, by default the service's own."""
        return f"mongodb://{user}@{self.address}/{database}?replicaSet=rs0"

    @property
    def root(self) -> str:
        """The administrator's connection string."""
        return self.uri(f"root:{ROOT}", "admin")

    def initiate(self, *, audit_ttl_days: int = 0) -> None:
        """Do the work of the secure stack's job at each deployment."""
        files = ("--key-file", "key", "--root-password-file", "password")
        settings = {"MONGO_URI": self.uri(), "AUDIT_TTL_DAYS": str(audit_ttl_days)}
        done = invoke("replicaset", "initiate", *files, environment=settings, folder=self.folder)
        assert done.returncode == 0, done.stderr


@contextmanager
def locked_mongod(folder: Path) -> Iterator[Locked]:
    """Run a server with access control, with its data in *folder*, and with the users that it needs."""
    key_file = folder / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o400)
    (folder / "password").write_text(ROOT)
    options = ("--keyFile", str(key_file))
    server = Mongod(folder / "db", replica_set="rs0", options=options, initiate=False)
    server.start()
    try:
        locked = Locked(server.address, folder)
        locked.initiate()
        yield locked
    finally:
        server.kill()
