"""Secrets to move in: a secrets engine KV, version 2, of its own on OpenBao."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.support.openbao import OpenBao
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Tree:
    """The secrets of one mount."""

    bao: OpenBao
    mount: str = field(default_factory=lambda: f"kv-{secrets.token_hex(6)}")

    def __post_init__(self) -> None:
        self._do("POST", f"sys/mounts/{self.mount}", {"type": "kv", "options": {"version": "2"}})
        # Until then, it refuses everything.
        wait_until(lambda: self.bao.ask("GET", f"{self.mount}/config").status == 200)

    @property
    def token(self) -> str:
        """The token that may do everything."""
        return self.bao.tokens["admin"]

    def put(self, name: str, *values: object) -> None:
        """Write each of *values* as a version."""
        for value in values:
            self._do("POST", f"{self.mount}/data/{name}", {"data": value})

    def fill(self, count: int, versions: int = 3) -> None:
        """Write *count* secrets with *versions* each, in ten folders."""

        def put(number: int) -> None:
            values = [{"password": secrets.token_hex(12), "number": place} for place in range(versions)]
            self.put(f"folder-{number % 10}/secret-{number}", *values)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(count)))

    def change(self, action: str, name: str, versions: Sequence[int]) -> None:
        """Delete, undelete or destroy versions."""
        self._do("POST", f"{self.mount}/{action}/{name}", {"versions": list(versions)})

    def describe(self, name: str, metadata: dict[str, Any]) -> None:
        """Write the metadata of a secret."""
        self._do("POST", f"{self.mount}/metadata/{name}", metadata)

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a secret."""
        found: dict[str, Any] = self.bao.ask("GET", f"{self.mount}/metadata/{name}").body["data"]
        return found

    def allow(self, policy: str) -> str:
        """Return a token with this *policy*, in which `~` stands for the mount."""
        name = secrets.token_hex(6)
        self._do("PUT", f"sys/policies/acl/{name}", {"policy": policy.replace("~", self.mount)})
        created = self.bao.ask("POST", "auth/token/create", {"policies": [name]}).body
        return str(created["auth"]["client_token"])

    def _do(self, method: str, path: str, body: object) -> None:
        reply = self.bao.ask(method, path, body)
        assert reply.status < 300, (path, reply)
