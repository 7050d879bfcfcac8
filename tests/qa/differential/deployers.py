"""The requests of deployers that read Vault's KV, as in the source of the versions in docs/vault-api.md."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.support.openbao import Reply, Server


class Dokploy:
    """References in variables: `packages/server/src/utils/vault/hashicorp.ts` of Dokploy/dokploy."""

    #: What Node.js adds.
    _HEADERS: Mapping[str, str] = {
        "Accept": "*/*",
        "Accept-Language": "*",
        "Sec-Fetch-Mode": "cors",
        "User-Agent": "node",
    }

    def __init__(self, server: Server, token: str) -> None:
        self._server, self._headers = server, {**self._HEADERS, "X-Vault-Token": token}

    def test(self) -> int:
        """Return the status of the button "Test Connection"."""
        return self._get("auth/token/lookup-self").status

    def value(self, reference: str) -> str:
        """Return the value of a reference such as `shop/db:password`."""
        path, _, field = reference.rpartition(":")
        found = self._fields(path)[field]
        return found if isinstance(found, str) else json.dumps(found)

    def names(self, path: str = "") -> Iterator[str]:
        """Yield what it offers for completion below *path*."""
        folder = f"/{quote(path.rstrip('/'))}" if path else ""
        listed = self._get(f"secret/metadata{folder}?list=true")
        for key in listed.body["data"]["keys"] if listed.status == 200 else ():
            if key.endswith("/"):
                yield from self.names(path + key)
            else:
                yield from (f"{path}{key}:{field}" for field in self._fields(path + key))

    def _fields(self, path: str) -> dict[str, Any]:
        reply = self._get(f"secret/data/{quote(path)}")
        assert reply.status == 200, (path, reply)
        fields: dict[str, Any] = reply.body["data"]["data"]
        return fields

    def _get(self, path: str) -> Reply:
        return self._server.send("GET", f"/v1/{path}", headers=self._headers)


class _GoClient:
    """The library of both programs below: `api` of openbao/openbao and of hashicorp/vault."""

    def __init__(self, server: Server, token: str, **headers: str) -> None:
        self._server = server
        self._headers = {"User-Agent": "Go-http-client/1.1", "X-Vault-Request": "true", **headers}
        self._token = token

    def _send(self, method: str, path: str, body: object = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "X-Vault-Token": self._token}
        reply = self._server.send(method, f"/v1/{path}", data, headers)
        assert reply.status == 200, (path, reply)
        return reply


class DocoCd(_GoClient):
    """References in `external_secrets`: `internal/secretprovider/openbao` of kimdre/doco-cd."""

    def __init__(self, server: Server, token: str) -> None:
        # Its namespace, if a reference names none.
        super().__init__(server, token, **{"X-Vault-Namespace": "root"})

    def value(self, reference: str) -> str:
        """Return the value of a reference such as `kv:secret:shop/db:password`."""
        _, mount, name, key = reference.split(":")
        value: str = self._send("GET", f"{mount}/data/{name}").body["data"]["data"][key]
        return value


class Terraform(_GoClient):
    """`internal/provider/meta.go` and `…/ephemeral/kv_secret_v2.go` of hashicorp/terraform-provider-vault."""

    _CHILD: Mapping[str, object] = {
        "display_name": "terraform",
        "ttl": "1200s",
        "explicit_max_ttl": "1200s",
        "renewable": False,
        "num_uses": 0,
        "type": "",
        "entity_alias": "",
    }

    def configure(self, *, skip_child_token: bool) -> str:
        """Return the version of the server, as the provider has it before it reads."""
        self._send("GET", "auth/token/lookup-self")
        if not skip_child_token:
            reply = self._send("POST", "auth/token/create", self._CHILD)
            self._token = reply.body["auth"]["client_token"]
        version: str = self._send("GET", "sys/seal-status").body["version"]
        return version

    def secret(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return the attributes of an ephemeral `vault_kv_secret_v2`."""
        query = "" if version is None else f"?version={version}"
        found = self._send("GET", f"secret/data/{name}{query}").body["data"]
        metadata = found["metadata"]
        assert {"created_time", "deletion_time", "destroyed"} <= metadata.keys()
        return {"data_json": json.dumps(found["data"], sort_keys=True), **metadata}
