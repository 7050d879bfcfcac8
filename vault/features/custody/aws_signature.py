"""Signatures of requests to AWS, version 4."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of AWS, temporary if they have a session token."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def signed(
    credentials: Credentials,
    *,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
    at: datetime,
) -> dict[str, str]:
    """Return *headers* and those that sign a POST of *body* to *url*, which has no query."""
    parts = urlsplit(url)
    time = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    sent = dict(headers) | {"Host": parts.netloc, "X-Amz-Date": time}
    if credentials.session_token:
        sent["X-Amz-Security-Token"] = credentials.session_token
    lines = sorted((name.lower(), value.strip()) for name, value in sent.items())
    names = ";".join(name for name, _ in lines)
    canonical = "\n".join(
        [
            *("POST", parts.path or "/", ""),
            *(f"{name}:{value}" for name, value in lines),
            *("", names, hashlib.sha256(body).hexdigest()),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}".encode(), "sha256").hex()
    signer = f"Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return sent | {"Authorization": f"AWS4-HMAC-SHA256 {signer}"}
