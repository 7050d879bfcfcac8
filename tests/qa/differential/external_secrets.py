"""The requests of the External Secrets Operator, replayed from its resources (its provider for Vault, v1)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.openbao import Reply, Server


class Operator:
    """Fetches an `ExternalSecret` through a `ClusterSecretStore`, like the operator does."""

    def __init__(self, server: Server, store: Mapping[str, Any], token: str) -> None:
        """Read the provider of *store*; the cluster's secret contains *token*."""
        self._vault = store["spec"]["provider"]["vault"]
        assert self._vault["version"] == "v2"
        self._server = server
        self._token = token

    def is_valid(self) -> bool:
        """Return whether the store is ready: its token must be valid for another minute."""
        found = self._send("auth/token/lookup-self").body["data"]
        return found["type"] != "batch" and (found["expire_time"] is None or found["ttl"] > 60)

    def secret(self, resource: Mapping[str, Any]) -> dict[str, str]:
        """Return the data of the cluster's secret that *resource* describes."""
        found: dict[str, str] = {}
        for source in resource["spec"].get("dataFrom", ()):
            if "extract" in source:
                found |= self._read(source["extract"]["key"])
            else:
                found |= dict(self._find(source["find"]))
        for entry in resource["spec"].get("data", ()):
            remote = entry["remoteRef"]
            found[entry["secretKey"]] = self._read(remote["key"])[remote["property"]]
        return found

    def _find(self, find: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in self._names(find["path"]):
            if re.search(find["name"]["regexp"], name):
                # Characters that no key of a cluster's secret may have are replaced.
                yield re.sub(r"[^-._a-zA-Z0-9]", "_", name), str(self._read(name))

    def _names(self, folder: str) -> Iterator[str]:
        listed = self._send(f"{self._vault['path']}/metadata/{folder}?list=true")
        for key in listed.body["data"]["keys"]:
            name = f"{folder.rstrip('/')}/{key}"
            if key.endswith("/"):
                yield from self._names(name)
            else:
                yield name

    def _read(self, name: str) -> dict[str, str]:
        value: dict[str, str] = self._send(f"{self._vault['path']}/data/{name}").body["data"]["data"]
        return value

    def _send(self, path: str) -> Reply:
        headers = {"X-Vault-Token": self._token, "X-Vault-Request": "true"}
        reply = self._server.send("GET", f"/v1/{path}", headers=headers)
        assert reply.status == 200, (path, reply)
        return reply
