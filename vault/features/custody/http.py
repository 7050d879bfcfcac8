"""Requests of providers to HTTP APIs, with the errors of custody."""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import MAX_BLOB_BYTES
from vault.toolkit.client import address
from vault.toolkit.client.http import HTTPClient, Reply, RequestFailedError

#: Seconds for one request. Credentials of a machine can take three before the one that needs them.
_REQUEST_SECONDS = 4.0

#: The server of a URL, which errors quote: never a user name with a password.
_SERVER = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def checked(url: str) -> SplitResult:
    """Return the parts of *url*.

    Raises:
        CustodyRefusedError: It is no address of a server, or has a user name; the message does not quote it.
    """
    # Brackets, or a port, can be impossible.
    with suppress(ValueError):
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.port != 0
        if is_address and re.fullmatch("[!-~]+", url) and _SERVER.fullmatch(parts.netloc):
            return parts
    raise CustodyRefusedError("the provider's address is not https://HOST/…, without a user name")


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    ca_file: str | None = None,
    is_local: bool = False,
) -> Reply:
    """Return the reply to *method* for *url*. Without TLS, the server must be on this machine.

    A metadata service of a cloud *is_local*, too: its address leads to the machine's own hypervisor.

    Raises:
        CustodyUnavailableError: There is no whole reply, or the server does not serve now.
        CustodyRefusedError: *url* is no address, what is sent could be read by others, or *ca_file* has no
            certificates.
    """
    parts = checked(url)
    if not (is_local or address.is_private(url)):
        raise CustodyRefusedError(f"{url} is neither https://… nor on this machine")
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    try:
        client = HTTPClient(url, max_bytes=2 * MAX_BLOB_BYTES, ca_file=ca_file, allows_proxy=not is_local)
    except OSError:
        raise CustodyRefusedError("the file of trusted certificates cannot be read") from None
    try:
        reply = client.request(method, target, headers=headers, body=body, timeout=_REQUEST_SECONDS)
    except RequestFailedError as error:
        raise CustodyUnavailableError(f"{parts.netloc} {error}") from None
    finally:
        client.close()
    # A redirect leads from a standby to the server that serves, which the KEK does not name. A standby that
    # lags behind answers with 412.
    if reply.status >= 500 or reply.status in (412, 429) or 300 <= reply.status < 400:
        raise CustodyUnavailableError(f"{parts.netloc} answers with status {reply.status}")
    return reply


def members(reply: Reply) -> dict[str, Any]:
    """Return the JSON object in *reply*; empty without one."""
    try:
        found = json.loads(reply.content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text(document: Mapping[str, Any], name: str) -> str:
    """Return the text *name* of *document*; empty without one."""
    found = document.get(name)
    return found if isinstance(found, str) else ""


def content(document: Mapping[str, Any], name: str) -> bytes:
    """Return the decoded base64 *name* of *document*.

    Raises:
        CustodyRefusedError: It is missing, empty, too large or no base64.
    """
    try:
        found = b64decode(text(document, name), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not 0 < len(found) <= MAX_BLOB_BYTES:
        raise CustodyRefusedError(f"the provider replied without {name}")
    return found
