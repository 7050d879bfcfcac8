"""Additional schemathesis checks of the service's responses; `fuzz.py` loads them."""

import json
import re

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

#: Reasons for a 422 that OpenAPI 3.0 cannot express: the forms of cursors, networks and label keys, printable
#: text, and an Idempotency-Key that was used before.
_BEYOND_WORDS = {"action", "labels", "networks", "principal"}
_BEYOND_SHAPES = {
    "Invalid `cursor`: send the one that an earlier reply returned.",
    "This Idempotency-Key was already used with a different body.",
}

_MORE = re.compile(r"[0-9]+ more errors?\.")

#: Minimum length of a secret to search for: a shorter text can occur in a response by chance.
_SOME = 12


@schemathesis.check
def good_data_is_taken(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Accept valid data, except for rules that OpenAPI cannot express."""
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
    """Check that no refusal quotes the secret, and that each response has a request ID and `no-store`."""
    secret = case.body.get("secret") if isinstance(case.body, dict) else None
    if response.status_code != 200 and isinstance(secret, str) and len(secret) >= _SOME:
        _require(secret not in response.content.decode(), "a refusal quotes the secret")
    _require("x-request-id" in response.headers, "the response has no request ID")
    if case.path.startswith("/vault/"):
        _require(response.headers.get("cache-control") == ["no-store"], "the response allows caching")


def _only_counts(texts: object) -> bool:
    """Return whether *texts* contain only the number of unlisted errors."""
    return isinstance(texts, list) and all(_MORE.fullmatch(text) for text in texts)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
