"""Refusals of the broker, as the problem documents (RFC 9457) that its clients get."""

import json
from collections.abc import Mapping
from http import HTTPStatus

CONTENT_TYPE = "application/problem+json"

_NONE: Mapping[str, str] = {}


class RefusedError(Exception):
    """A request is refused; *detail* is for its sender, and quotes nothing of other parties."""

    def __init__(self, status: int, code: str, detail: str, *, headers: Mapping[str, str] = _NONE) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def document(self) -> bytes:
        """Return the problem document."""
        title = self.code.replace("_", " ").capitalize()
        return json.dumps(
            {"title": title, "status": self.status, "code": self.code, "detail": self.detail}
        ).encode()


def malformed(flaw: str) -> RefusedError:
    """Return the refusal of a request whose form has a *flaw*."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "request_malformed", f"The request {flaw}.")


def bad_reply(flaw: str) -> RefusedError:
    """Return the refusal of a reply of the host that has a *flaw*."""
    return RefusedError(HTTPStatus.BAD_GATEWAY, "reply_refused", f"The reply of the host {flaw}.")
