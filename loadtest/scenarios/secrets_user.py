"""A Locust user that checks every response."""

import os
import random
from base64 import b64encode
from typing import Any, ClassVar

from locust import FastHttpUser, constant
from locust.contrib.fasthttp import ResponseContextManager

_KEPT = 200
_VALUE_BYTES = 32
_TOKEN = os.environ.get("SECRET_MANAGER_TOKEN")


class SecretsUser(FastHttpUser):
    """A user that creates and fetches secrets, and reports each wrong response as a failure.

    It sends the token in the variable `SECRET_MANAGER_TOKEN`, if there is one.
    """

    abstract = True
    #: No pause between requests: the number of users determines the load.
    wait_time = constant(0)
    default_headers: ClassVar = {"Authorization": f"Bearer {_TOKEN}"} if _TOKEN else {}

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        #: Values of the secrets that this user created, by ID.
        self.known: dict[str, str] = {}

    def on_start(self) -> None:
        """Create a first secret to fetch."""
        self.create()

    def create(self, **options: object) -> str | None:
        """Create a secret and return its ID, or None after a failure."""
        secret = b64encode(os.urandom(_VALUE_BYTES)).decode()
        with self._post("create/", {"secret": secret, **options}) as reply:
            secret_id = self._field(reply, "secret_id")
            if secret_id is None:
                return None
        if len(self.known) >= _KEPT:
            self.known.pop(next(iter(self.known)))
        self.known[secret_id] = secret
        return secret_id

    def fetch(self, secret_id: str | None = None) -> None:
        """Fetch a secret of this user and compare it with the created value."""
        if not self.known:
            return
        secret_id = secret_id or random.choice(list(self.known))  # noqa: S311 - not for security
        with self._post("fetch", {"secret_id": secret_id}) as reply:
            secret = self._field(reply, "secret")
            if secret is not None and secret != self.known[secret_id]:
                reply.failure("the value differs from the created one")

    def fetch_nothing(self, secret_id: str) -> None:
        """Check that a secret is not found."""
        with self._post("fetch", {"secret_id": secret_id}, name="fetch (gone)") as reply:
            if reply.status_code == 404:
                reply.success()
            else:
                reply.failure(f"{reply.status_code} instead of 404")

    def _post(self, call: str, body: object, *, name: str | None = None) -> ResponseContextManager:
        return self.client.post(  # type: ignore[no-any-return]
            f"/vault/secret/{call}", json=body, name=name or call.strip("/"), catch_response=True
        )

    def _field(self, reply: ResponseContextManager, field: str) -> str | None:
        """Return a field of a 200 response; report any other response as a failure."""
        try:
            if reply.status_code == 200:
                return str(reply.json()[field])
            # Not the whole body: it has the ID of the request, and the table a row for each text.
            reply.failure(f"{reply.status_code} {reply.json()['code']}")
        except (KeyError, TypeError, ValueError):
            reply.failure(f"{reply.status_code}, in an unexpected form")
        return None
