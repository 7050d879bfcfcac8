"""Requests to the service's published port at a certain node."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from vault.common.text import printable

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 20
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply to a request; without one, a status of 0."""

    status: int
    body: Mapping[str, Any]
    #: Why there is no reply, or what the service says.
    reason: str
    #: The address from which the request was sent.
    sender: str = ""

    @property
    def refusal(self) -> str:
        """Why the request failed."""
        return f"status {self.status}: {self.reason}" if self.status else f"no answer: {self.reason}"


class Ports:
    """The service's port at all nodes. Behind a certificate, *url* has the name in it."""

    def __init__(self, port: int, *, url: str, ca_cert: str, headers: Mapping[str, str]) -> None:
        self._port = port
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._prefix = parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_cert or None) if parts.scheme == "https" else None
        self._headers = {"Content-Type": "application/json", **headers}

    def post(self, address: str, path: str, body: Mapping[str, Any], request_id: str) -> Reply:
        """Return the reply to a request at *address*."""
        try:
            connection = socket.create_connection((address, self._port), _CONNECT_SECONDS)
        except OSError as error:
            return _none(error)
        with closing(connection):
            connection.settimeout(_ANSWER_SECONDS)
            sender = connection.getsockname()[0]
            try:
                status, content = self._exchange(connection, path, body, request_id)
            except (OSError, HTTPException) as error:
                return _none(error, sender)
        return Reply(status=status, sender=sender, **_read(content))

    def _exchange(
        self, connection: socket.socket, path: str, body: Mapping[str, Any], request_id: str
    ) -> tuple[int, bytes]:
        http = HTTPConnection(self._host)
        with closing(http):
            http.sock = (
                self._tls.wrap_socket(connection, server_hostname=self._host) if self._tls else connection
            )
            headers = {**self._headers, "X-Request-ID": request_id}
            http.request("POST", self._prefix + path, json.dumps(body), headers)
            reply = http.getresponse()
            return reply.status, reply.read()


def _read(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return {"body": {}, "reason": printable(content.decode(errors="replace")[:_SHOWN_CHARACTERS])}
    return {"body": body, "reason": printable(str(body.get("detail") or body)[:_SHOWN_CHARACTERS])}


def _none(error: Exception, sender: str = "") -> Reply:
    return Reply(status=0, body={}, reason=_reason(error), sender=sender)


def _reason(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError():
            return "timed out"
        case ssl.SSLCertVerificationError():
            return "its certificate is not trusted, or has another name than VAULT_URL"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return type(error).__name__
