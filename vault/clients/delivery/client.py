"""The client of the service: batches of fetches over HTTP, each within a deadline."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from vault import __version__
from vault.clients.delivery.cache import Fetched
from vault.clients.delivery.outcomes import (
    DeniedError,
    LargeValueError,
    NotDeliveredError,
    RefusedError,
    UnavailableError,
)
from vault.clients.delivery.selection import Reference, Task
from vault.toolkit.client.http import Failure, HTTPClient, RequestFailedError

#: The timeout of a request, with connecting. Calls that wait behind a hanging one still have some time.
_TIMEOUT_SECONDS = 1.2

#: After a timeout, calls fail immediately for this time. A manager holds its store's lock while it waits.
_PAUSE_SECONDS = 3

#: The service sends at most 11 MB.
_MAX_REPLY_BYTES = 16 * 1_048_576

#: The API takes a reason of that length.
_MAX_REFUSAL_LENGTH = 256

_PATH = "/vault/secret/"

#: Statuses of a service, or of a proxy in front of it, that cannot serve for now.
_AWAY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

#: Statuses for a credential without the right, and for a secret that does not exist or is out of its reach.
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})

_ODD_REPLY = "the reply of the service is not one of fetch-batch"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A fetch of *reference* for *task*."""

    reference: Reference
    task: Task
    #: The reason why the task may not have it: then the fetch returns no value, and puts this on record.
    refusal: str = ""
    #: The task gets a reference to this canary, which is created if missing. Its value is not fetched.
    is_decoy: bool = False

    def body(self) -> dict[str, Any]:
        """Return the fetch as the API takes it."""
        context = self.task.context()
        if self.refusal:
            context["refusal"] = self.refusal[:_MAX_REFUSAL_LENGTH]
        return self.reference.body() | {"delivery": context}


class TokenFile:
    """The file with the token, which can change at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Return the current token.

        Raises:
            NotDeliveredError: The file has none.
        """
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise NotDeliveredError(f"the token file cannot be read ({type(error).__name__})") from None
        if not token or not token.isprintable() or " " in token:
            raise NotDeliveredError("the token file has no token")
        return token


class Client:
    """Client of the service at *url*; it counts as unavailable until it answers."""

    def __init__(
        self, url: str, token: TokenFile, *, ca_file: str | None = None, agent: str = "swarm-driver"
    ) -> None:
        """Trust the certificates of *ca_file* in place of the system's; *agent* is on record.

        Raises:
            OSError: *ca_file* has no certificates.
        """
        self._url = url
        self._target = urlsplit(url).path.rstrip("/") + _PATH
        self._http = HTTPClient(url, max_bytes=_MAX_REPLY_BYTES, ca_file=ca_file)
        self._token = token
        self._agent = f"secret-manager-{agent}/{__version__}"
        self._paused_until = 0.0

    def fetch(self, fetches: Sequence[Fetch]) -> Sequence[Fetched | NotDeliveredError]:
        """Return the value or the error of each of *fetches*, 1 to 100; a decoy is alone.

        Raises:
            UnavailableError: The service is unavailable.
            RefusedError: It refuses all of them.
            NotDeliveredError: There is no token.
        """
        if fetches[0].is_decoy:
            return [self._decoy(fetches[0].reference.name)]
        items = [fetch.body() for fetch in fetches]
        status, reply, request_id = self._post("fetch-batch", {"secrets": items})
        if status != HTTPStatus.OK:
            raise _refusal(reply, status)
        return _outcomes(reply, len(items), request_id)

    def _decoy(self, name: str) -> Fetched | NotDeliveredError:
        """Return a reference to the canary *name*: anyone who follows it reads that canary."""
        new = {"name": name, "secret": b64encode(token_urlsafe().encode()).decode(), "canary": True}
        known = {"name": name}
        # The last one is for tasks that start at the same time.
        for operation, body in (("describe", known), ("create", new), ("describe", known)):
            status, reply, request_id = self._post(operation, body)
            if status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                break
        if status != HTTPStatus.OK:
            return _refusal(reply, status)
        try:
            if operation == "describe" and not reply.get("canary"):
                return RefusedError(f"the secret {name} exists, and the token sees no canary")
            value = {"url": self._url, "secret_id": reply["secret_id"]}
        except (AttributeError, KeyError, TypeError):
            return UnavailableError("the reply of the service has no ID")
        return Fetched(1, json.dumps(value).encode(), request_id, frozenset({name}))

    def _post(self, operation: str, body: dict[str, Any]) -> tuple[int, Any, str]:
        """Return the status, the JSON and the ID of the request."""
        if monotonic() < self._paused_until:
            raise UnavailableError(f"the service did not answer within the last {_PAUSE_SECONDS} s")
        request_id = uuid4().hex
        headers = {
            "Authorization": f"Bearer {self._token.read()}",
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "X-Request-ID": request_id,
        }
        try:
            reply = self._http.request(
                "POST",
                self._target + operation,
                headers=headers,
                body=json.dumps(body).encode(),
                timeout=_TIMEOUT_SECONDS,
            )
        except RequestFailedError as error:
            raise self._away(error) from None
        return reply.status, _json(reply.content), request_id

    def _away(self, error: RequestFailedError) -> UnavailableError:
        if error.failure is Failure.LATE:
            self._paused_until = monotonic() + _PAUSE_SECONDS
            return UnavailableError(f"the service did not answer within {_TIMEOUT_SECONDS} s")
        hint = "name its CA with --ca-cert" if error.failure is Failure.UNTRUSTED else ""
        return UnavailableError(f"the service {error}", hint=hint)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _outcomes(body: Any, count: int, request_id: str) -> Sequence[Fetched | NotDeliveredError]:
    items = body.get("secrets") if isinstance(body, dict) else None
    if not isinstance(items, list) or len(items) != count:
        raise UnavailableError(_ODD_REPLY)
    return [_outcome(item, request_id) for item in items]


def _outcome(item: Any, request_id: str) -> Fetched | NotDeliveredError:
    try:
        if problem := item.get("problem"):
            return _refusal(problem, problem["status"])
        references = frozenset(filter(None, (str(item["secret_id"]), item.get("name"))))
        value = b64decode(item["secret"], validate=True)
        return Fetched(int(item["version"]), value, request_id, references)
    except (AttributeError, KeyError, TypeError, ValueError):
        return UnavailableError(_ODD_REPLY)


def _refusal(problem: Any, status: int) -> NotDeliveredError:
    code = problem.get("code") if isinstance(problem, dict) else None
    if code == "too_large_for_batch":
        return LargeValueError("the value is too large for a batch")
    kind: type[NotDeliveredError] = RefusedError
    if status in _AWAY:
        kind = UnavailableError
    elif status in _DENIED:
        kind = DeniedError
    return kind(f"the service answers {status}" + (f" ({code})" if isinstance(code, str) else ""))
