"""What schemathesis holds the service's replies against, beside its own checks: see `fuzz.py`."""

import json
import re

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

#: What a body is refused for that OpenAPI 3.0 has no words for: what a cursor, a network and a key of a label
#: look like, what can be printed, and that an Idempotency-Key was used before.
_BEYOND_WORDS = {"action", "labels", "networks", "principal"}
_BEYOND_SHAPES = {
    "the cursor is not one that a query returned",
    "this Idempotency-Key was used with another body",
}

_MORE = re.compile(r"[0-9]+ more errors?\.")

#: Shorter texts may be in a reply by chance.
_SOME = 12


@schemathesis.check
def good_data_is_taken(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Refuse what the document allows only for what it cannot express; schemathesis knows no exception."""
    if response.status_code == 422:
        problem = json.loads(response.content)
        named = {name for name, texts in problem.get("errors", {}).items() if not _only_counts(texts)}
        if problem["detail"] in _BEYOND_SHAPES or (named and named <= _BEYOND_WORDS):
            return
    positive_data_acceptance(ctx, response, case)


@schemathesis.check
def refusals_tell_no_secret(
    _ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """No refusal holds the value that was sent, and every reply has its id and asks not to be kept."""
    secret = case.body.get("secret") if isinstance(case.body, dict) else None
    if response.status_code != 200 and isinstance(secret, str) and len(secret) >= _SOME:
        _require(secret not in response.content.decode(), "a refusal quotes the secret")
    _require("x-request-id" in response.headers, "the reply has no id")
    if case.path.startswith("/vault/"):
        _require(response.headers.get("cache-control") == ["no-store"], "the reply may be kept")


def _only_counts(texts: object) -> bool:
    """Return whether *texts* name no error, only the number of those that are not listed."""
    return isinstance(texts, list) and all(_MORE.fullmatch(text) for text in texts)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
