"""How the API document describes a refusal."""

from dataclasses import dataclass, field
from typing import Any

from marshmallow import fields

from vault.api.fields import Reply, a_text
from vault.api.problems import CONTENT_TYPE, RETRY_AFTER_SECONDS, TITLES

_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The id under which logs and audit trail know this request; yours, if you sent one.",
        "schema": {"type": "string"},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "`Bearer`, and what was wrong with the credential if one was sent (RFC 6750).",
        "schema": {"type": "string", "example": "Bearer"},
    }
}
_HEADERS = {
    401: _CHALLENGE,
    403: _CHALLENGE,
    429: {
        name: {"description": text, "schema": {"type": "integer", "example": example}}
        for name, text, example in (
            ("Retry-After", "Seconds to wait.", 12),
            ("RateLimit-Limit", "Requests in a window.", 100),
            ("RateLimit-Remaining", "Requests that are left in this window.", 0),
            ("RateLimit-Reset", "Seconds until the next window.", 12),
        )
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait.",
            "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS},
        }
    },
}


class Problem(Reply):
    """Problem details (RFC 9457)."""

    type = a_text("Always `about:blank`: `status` says all.", "about:blank", required=True)
    title = a_text("The status in words.", "Not Found", required=True)
    status = fields.Integer(required=True, metadata={"description": "The HTTP status.", "example": 404})
    detail = a_text("What was wrong with this request.", "Secret not found", required=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(),
        metadata={
            "description": "What was wrong, by field.",
            "example": {"secret": ["Missing data for required field."]},
        },
    )


@dataclass(frozen=True, slots=True)
class Documented:
    """One kind of refusal, as readers of the API document see it."""

    status: int
    description: str
    detail: str
    errors: dict[str, list[str]] = field(default_factory=dict)

    def response(self) -> dict[str, Any]:
        """Return it as OpenAPI's response object."""
        example = {
            "type": "about:blank",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            example["errors"] = self.errors
        headers = _REQUEST_ID | _HEADERS.get(self.status, {})
        return {
            "description": self.description,
            "headers": headers,
            "content": {CONTENT_TYPE: {"schema": Problem, "example": example}},
        }
