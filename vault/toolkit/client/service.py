"""The service as its clients see it: calls of its API over HTTP."""

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from vault.common.errors import ServiceRefusedError, ServiceUnavailableError
from vault.common.text import printable, quantity
from vault.toolkit.client import address
from vault.toolkit.client.http import USER_AGENT, Failure, HTTPClient, RequestFailedError, Waits

#: A request can take 20 s in MongoDB, after its body has arrived. Between parts of a reply, it is the same.
_TIMEOUT = Waits(connect=5, read=35)

#: The service sends at most 11 MB.
_MAX_REPLY_BYTES = 16 * 1_048_576

#: The maximum number of characters that an error quotes.
_MAX_REASON_LENGTH = 400

#: The maximum number of fields that an error names.
_MAX_FIELDS = 5

#: Statuses of a service, or of a proxy in front of it, that cannot serve for now.
_AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})

#: What to do about a credential that is missing or invalid.
LOGIN = "run `secret-manager login`, or set VAULT_TOKEN to a valid token"

#: The same for a JWT, whose role or age can be why it is refused. A login would keep it past its end.
_NEW_JWT = "use a new JWT, and name its role with --role or VAULT_ROLE"

#: What to do about a refusal, by its code.
_HINTS = {
    "name_taken": "see `secret-manager secret describe` for its newest version, or if the secret is deleted, "
    "`secret-manager secret list --deleted`",
    "outside_paths": "`secret-manager whoami` shows the paths of your token",
    "scope_missing": "`secret-manager whoami` shows your scopes; use a token that has this one",
    "secret_not_deleted": "delete it first, or name an older version with --version",
    "secret_not_found": "see `secret-manager secret list`, also with --deleted, for versions "
    "`secret-manager secret describe`, and for your paths `secret-manager whoami`",
    "secret_too_large": "store a shorter value, such as a key to it",
    "version_conflict": "`secret-manager secret describe` shows the newest version",
}

#: The code of a path that the service does not have.
_NO_PATH = "not_found"

#: The form of a receipt, of which each is a line in a file.
_RECEIPT = re.compile(r"v1\.[A-Za-z0-9_-]{1,8000}\.[A-Za-z0-9_-]{86}")

#: A number of seconds, as this service sends it.
_RETRY_AFTER = re.compile("[0-9]{1,6}")

_REDIRECTS = range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)

#: What to do about a request that has no reply.
_FAILURE_HINTS = {
    Failure.NO_TLS: "check the address",
    Failure.UNREACHABLE: "check VAULT_URL, or --url",
    Failure.UNTRUSTED: "name its CA with --ca-cert",
}


class Service:
    """The service at *url*, for the holder of *token*; an empty one for callers without a credential.

    A JWT as *token* acts with the *role* of this name; tokens ignore it.

    No call is repeated: after a failure, the service may or may not have made the change. Redirects are not
    followed and proxies are not used, so the token and the values reach no other server. `requests` would
    take proxies and credentials from the environment and `~/.netrc`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        role: str = "",
        ca_file: str | None = None,
        credential_hint: str = LOGIN,
        on_receipt: Callable[[str], object] | None = None,
        timeout: Waits | float = _TIMEOUT,
        max_reply_bytes: int = _MAX_REPLY_BYTES,
    ) -> None:
        """Trust the certificates of *ca_file* in place of the system's. The *timeout* is one of `HTTPClient`.

        *credential_hint* says what to do about a missing or invalid token; JWTs have a hint of their own.
        *on_receipt* gets the receipt of each success, which is not verified; without it, none is asked for.

        Raises:
            ValueError: *url* is not an address of the service, or *token* or *role* cannot be in a header.
            OSError: *ca_file* has no certificates.
        """
        self.url = address.checked(url)
        for name, text in (("token", token), ("role", role)):
            if not re.fullmatch("[!-~]*", text):
                raise ValueError(f"the {name} must have visible ASCII characters only")
        #: For a task elsewhere that acts for the holder.
        self.token = token
        self.role = role
        self.ca_file = ca_file
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if role:
            self._headers["X-Role"] = role
        self._on_receipt = on_receipt
        if on_receipt:
            self._headers["X-Receipt"] = "1"
        # A JWT has three parts, and a token one.
        self._credential_hint = _NEW_JWT if token.count(".") == 2 else credential_hint
        self._root = urlsplit(self.url).path
        self._timeout = timeout
        self._http = HTTPClient(self.url, max_bytes=max_reply_bytes, ca_file=ca_file)

    def call(self, path: str, body: Mapping[str, Any], *, request_id: str = "") -> dict[str, Any]:
        """Post *body* to *path*, such as `/vault/secret/fetch-batch`, and return the reply.

        A field that is None is not sent: to the service, null means that it is absent, and an earlier version
        of the service may not know the field.

        The *request_id* is in the audit entry; without one, the service makes one.

        Raises:
            ServiceRefusedError: The service refuses the request.
            ServiceUnavailableError: It cannot be reached or cannot serve, or is another server.
        """
        sent = {name: value for name, value in body.items() if value is not None}
        try:
            reply = self._http.request(
                "POST",
                self._root + path,
                headers=self._headers | ({"X-Request-ID": request_id} if request_id else {}),
                body=json.dumps(sent).encode(),
                timeout=self._timeout,
            )
        except RequestFailedError as error:
            hint = _FAILURE_HINTS.get(error.failure, "")
            if error.failure is Failure.BROKEN_OFF and not self.url.startswith("https:"):
                hint = "if it expects TLS, use https://"
            raise ServiceUnavailableError(f"{self.url} {error}", hint=hint) from None
        content = _object(reply.content)
        if reply.status == HTTPStatus.OK and content is not None:
            if self._on_receipt:
                for receipt in _receipts(reply.receipt, content.get("receipts")):
                    self._on_receipt(receipt)
            return content
        raise self.refusal(reply.status, content or {}, reply.retry_after)

    def has_page(self, path: str) -> bool:
        """Return whether the service has a page for people at *path*; True if that is not certain."""
        try:
            reply = self._http.request(
                "GET", self._root + path, headers={"User-Agent": USER_AGENT}, timeout=self._timeout
            )
        except RequestFailedError:
            return True
        return reply.status != HTTPStatus.NOT_FOUND

    def refusal(
        self, status: int, problem: Mapping[str, Any], retry_after: str = ""
    ) -> ServiceUnavailableError | ServiceRefusedError:
        """Return the error for a *problem* of the service, of a request or of an item of a batch.

        *retry_after* is the header of the reply.
        """
        code = problem.get("code")
        if status in _REDIRECTS:
            return ServiceUnavailableError(
                f"{self.url} redirects", hint="use the address of the service itself"
            )
        # Each path that this client asks for exists, but not below another one.
        if not isinstance(code, str) or code == _NO_PATH:
            return self.odd_reply(f"answers with status {status}")
        hint = _HINTS.get(code, self._credential_hint if status == HTTPStatus.UNAUTHORIZED else "")
        seconds = int(retry_after) if _RETRY_AFTER.fullmatch(retry_after) else 0
        if seconds:
            hint = f"try again in {quantity(seconds, 'second')}"
        message = f"the service answers {status}: {self._reason(problem, is_short=bool(hint))}"
        if status in _AWAY:
            return ServiceUnavailableError(message, hint=hint)
        return ServiceRefusedError(
            message,
            status=status,
            code=code,
            request_id=_text(problem.get("request_id")),
            hint=hint,
            retry_after=seconds,
        )

    def odd_reply(self, problem: str = "sends another reply than expected") -> ServiceUnavailableError:
        """Return the error for a reply that the service does not send; *problem* follows the address."""
        return ServiceUnavailableError(
            f"{self.url} {problem}, not as this service does", hint="check the address in VAULT_URL, or --url"
        )

    def _reason(self, problem: Mapping[str, Any], *, is_short: bool) -> str:
        """Return the reason of a *problem*, as one line without the token: another server may echo it.

        A short one is the first sentence: the next ones say what callers of the API can do.
        """
        reason = _text(problem.get("detail")) or _text(problem.get("title")) or _text(problem["code"])
        if is_short:
            reason = reason.partition(". ")[0]
        if fields := _fields(problem.get("errors")):
            reason = f"{reason.rstrip('.')}: {', '.join(fields)}"
        if self.token:
            reason = reason.replace(self.token, "…")
        return printable(reason)[:_MAX_REASON_LENGTH].rstrip(".")


def _object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object *content*; None if it is not one."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _receipts(of_request: str, of_items: Any) -> list[str]:
    found = [of_request, *(of_items if isinstance(of_items, list) else [])]
    return [one for one in found if isinstance(one, str) and _RECEIPT.fullmatch(one)]


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _fields(found: Any) -> list[str]:
    problems = [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []
    return [
        f"{_text(error.get('field'))} {_text(error.get('message')).rstrip('.')}".strip()
        for error in problems[:_MAX_FIELDS]
    ]
