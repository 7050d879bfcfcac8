"""The headers of replies, as the OpenAPI document describes them."""

from typing import Any

from apispec import APISpec

from vault.toolkit.http.refusals import RETRY_AFTER_SECONDS
from vault.toolkit.http.request_log import REQUEST_ID_PATTERN

#: The header that asks for a receipt, and that has it.
RECEIPT = "X-Receipt"

#: The receipt of a fetch.
RECEIPT_EXAMPLE = (
    "v1."
    "eyJhY3Rpb24iOiJmZXRjaCIsImF0IjoiMjAyNi0xMS0yNFQxNTozMDowMC4wMDBaIiwiaGFzaCI6IjJlYzk4OWRiNDMxNjAxM2E0"
    "YTFlNTMxYTU1NzdkZjdhYzg1ODg1OTMxYzI4MTcwYjMzYjBlYjUwYmYwZGU3N2IiLCJuYW1lIjoiYmlsbGluZy9kYi1wYXNzd29y"
    "ZCIsInByaW5jaXBhbCI6ImNpIiwicmVxdWVzdF9pZCI6InItMjA0MSIsInNlY3JldF9pZCI6IjU1MGU4NDAwLWUyOWItNDFkNC1h"
    "NzE2LTQ0NjY1NTQ0MDAwMCIsInNlcSI6Nywic3RyZWFtIjoiMi0wZjFlMmQzYzRiNWE2OTc4ODc5NmE1YjRjM2QyZTEiLCJ2ZXJz"
    "aW9uIjoyfQ"
    "._hIr_JUibcyUuP7FdXMmgW_EzjsJwEqQ1dct1w-Ke7e1riuBC9GxepKY1DmY3Xvs38B70ec23F0e2h-jN6B9DA"
)

#: OpenAPI's header objects by name.
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The request's ID in the logs and the audit trail; yours, if valid.",
        "required": True,
        "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN, "example": "r-2041"},
    },
    "X-Content-Type-Options": {
        "description": "`nosniff`: browsers must not guess another content type.",
        "required": True,
        "schema": {"type": "string", "enum": ["nosniff"], "example": "nosniff"},
    },
    "Cache-Control": {
        "description": "`no-store`: replies must not be stored.",
        "required": True,
        "schema": {"type": "string", "enum": ["no-store"], "example": "no-store"},
    },
    "RateLimit-Policy": {
        "description": "Each limit: its name, maximum number of requests (`q`), window in seconds (`w`). "
        "Only with `RATE_LIMIT`, as `RateLimit`.",
        "schema": {"type": "string", "example": '"requests";q=100;w=60'},
    },
    "RateLimit": {
        "description": "The limit that applies here: requests (`r`) and seconds (`t`) left in its window.",
        "schema": {"type": "string", "example": '"requests";r=99;t=12'},
    },
    "Retry-After": {
        "description": "Seconds to wait before a retry.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "example": RETRY_AFTER_SECONDS},
    },
    RECEIPT: {
        "description": "The receipt of the request's audit entry, if the request has `X-Receipt: 1`.",
        "schema": {
            "type": "string",
            "pattern": r"^v1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$",
            "example": RECEIPT_EXAMPLE,
        },
    },
    "WWW-Authenticate": {
        "description": "`Bearer`, with the error if a credential was sent (RFC 6750).",
        "schema": {"type": "string", "example": "Bearer"},
    },
    "Allow": {
        "description": "The methods that this path supports.",
        "required": True,
        "schema": {"type": "string", "example": "POST"},
    },
}

#: Names of the headers of every reply.
ALWAYS = ("X-Request-ID", "X-Content-Type-Options")

#: Names of the headers of an operation's replies.
OF_OPERATIONS = (*ALWAYS, "Cache-Control", "RateLimit-Policy", "RateLimit")

#: Names of the headers of an operation's successes.
OF_SUCCESSES = (*OF_OPERATIONS, RECEIPT)

#: Names of further headers of a refusal, by its status.
OF_STATUS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def references(*names: str) -> dict[str, str]:
    """Return references to the headers with these *names*, for a reply in the document."""
    return {name: name for name in names}


def document(spec: APISpec) -> None:
    """Add every header to *spec*, for replies to refer to."""
    for name, header in _HEADERS.items():
        spec.components.header(name, header, lazy=True)
