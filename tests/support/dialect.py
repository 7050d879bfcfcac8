"""A client of Vault's dialect, for tests in this process."""

from dataclasses import dataclass, replace
from typing import Any, Self

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.access import make_token

DENIED = {"errors": ["permission denied"]}
FORBIDDEN = {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
NO_WRAPPING_TOKEN = {"errors": ["wrapping token is not valid or does not exist"]}


@dataclass(frozen=True)
class DialectClient:
    """A client that sends *token*, if there is one, in Vault's header."""

    client: FlaskClient
    token: str | None = None

    @classmethod
    def of(cls, app: Flask, name: str = "root", **grant: Any) -> Self:
        """Return a client of *app* with a new token, by default with all rights."""
        return cls(app.test_client(), make_token(app, name, **(grant or {"role": "admin"})))

    def having(self, token: str | None) -> Self:
        """Return a client with another *token*."""
        return replace(self, token=token)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> TestResponse:
        """Return the answer; a *body* that is neither bytes nor nothing is sent as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent["X-Vault-Token"] = self.token
        content = {"data": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        return self.client.open(f"/v1/{path}", method=method, headers=sent, **content)

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Return the body of the answer, which must be 200."""
        reply = self.ask(method, path, body, **headers)
        assert reply.status_code == 200, reply.text
        return reply.json

    def refused(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Return status and body of the answer, which must be a refusal in Vault's form."""
        reply = self.ask(method, path, body, **headers)
        assert reply.status_code >= 400, reply.text
        assert reply.content_type == "application/json"
        return reply.status_code, reply.json

    def wrap(self, content: object, ttl: str = "60") -> str:
        """Return a wrapping token for *content*."""
        return str(self("POST", "sys/wrapping/wrap", content, X_Vault_Wrap_TTL=ttl)["wrap_info"]["token"])


#: The fields of a credential in a reply.
AUTH = {
    "client_token",
    "accessor",
    "policies",
    "token_policies",
    "metadata",
    "lease_duration",
    "renewable",
    "entity_id",
    "token_type",
    "orphan",
    "mfa_requirement",
    "num_uses",
}


def seconds(found: Any, expected: int) -> bool:
    """Return whether *found* is *expected*, less the time that has passed."""
    return bool(expected - 60 <= found <= expected)
