"""Services that have Vault's API, each with authentication and a login with AppRole."""

import os
import secrets
import subprocess
import sys

from baselines.processes import OpenBao, SecretManager

_NAME = "load"
_TOKEN_HEADER = "X-Vault-Token"  # noqa: S105 - the name of a header

#: `reader` is a role of this service, so that both can create tokens with it.
_POLICIES = {
    "reader": 'path "secret/data/*" { capabilities = ["read"] }',
    _NAME: """
        path "secret/data/*" { capabilities = ["create", "read", "update", "delete"] }
        path "secret/metadata/*" { capabilities = ["list"] }
        path "auth/token/create" { capabilities = ["update"] }
    """,
}


class SecretManagerDialect(SecretManager):
    """This service with an administrator's token, which its REST API requires too."""

    def environment(self) -> dict[str, str]:
        """Return the settings."""
        return super().environment() | {"AUTH_ENABLED": "true"}

    def prepare(self) -> None:
        """Create the token. Its name is the `role_id`, and the token itself is the `secret_id`."""
        made = subprocess.run(
            [sys.executable, "-m", "vault.cli", "tokens", "create", "--name", _NAME, "--role", "admin"],
            env={**os.environ, **self.environment()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        token = made.stdout.strip()
        self.header = (_TOKEN_HEADER, token)
        self.login = {"role_id": _NAME, "secret_id": token}


class OpenBaoDialect(OpenBao):
    """OpenBao with a token limited by policies, because OpenBao checks no policy for its root token."""

    def prepare(self) -> None:
        """Create the policies, an AppRole and the token."""
        super().prepare()
        for name, policy in _POLICIES.items():
            self.post(f"/v1/sys/policies/acl/{name}", {"policy": policy})
        self.post("/v1/sys/auth/approle", {"type": "approle"})
        self.login = {"role_id": _NAME, "secret_id": secrets.token_hex(16)}
        role = f"/v1/auth/approle/role/{_NAME}"
        self.post(role, {"token_policies": ["reader"], "token_ttl": "1h"})
        self.post(f"{role}/role-id", {"role_id": self.login["role_id"]})
        self.post(f"{role}/custom-secret-id", {"secret_id": self.login["secret_id"]})
        made = self.post("/v1/auth/token/create", {"policies": list(_POLICIES), "ttl": "24h"})
        self.header = (_TOKEN_HEADER, str(made["auth"]["client_token"]))  # type: ignore[index]
