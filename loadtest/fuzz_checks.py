"""Additional schemathesis checks of the service's responses; `fuzz.py` loads them."""

from collections.abc import Iterator
from typing import Any

import schemathesis

#: Minimum length of a secret to search for: a shorter text can occur in a response by chance.
_SOME = 12


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Add null to nullable enums: generators of clients need it left out, and the service accepts it."""
    for part in _parts(raw_schema["components"]["schemas"]):
        if part.get("nullable") and "enum" in part:
            part["enum"].append(None)


def _parts(shape: Any) -> Iterator[dict[str, Any]]:
    """Yield *shape* and every object in it."""
    if isinstance(shape, dict):
        yield shape
    for below in shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else ():
        yield from _parts(below)


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


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
