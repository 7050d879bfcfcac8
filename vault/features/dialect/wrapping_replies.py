"""Wrapping of replies in Vault's dialect: with `X-Vault-Wrap-TTL`, the reply is a token for the reply."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus

from flask import Response, g, request
from werkzeug.exceptions import BadRequest

from vault.common import clock, kv_values
from vault.common.errors import InvalidWrappingTokenError
from vault.common.timestamps import moment
from vault.core.secrets.wrapping import MAX_LIFETIME, Basis, Origin, WrappingToken
from vault.features.dialect.envelopes import PREFIX, duration, envelope
from vault.toolkit.operations.blueprint import current_attempt, services

_HEADER = "X-Vault-Wrap-TTL"
_BEFORE = "wrapped_before"


def lifetime() -> int:
    """Return the seconds for which the request asks to keep its reply; 0 if it is not to be wrapped.

    Raises:
        BadRequest: It is not a duration, or too long.
    """
    found = duration(request.headers.get(_HEADER), f"{_HEADER} header")
    if found > MAX_LIFETIME:
        raise BadRequest(f"error parsing {_HEADER} header: at most {MAX_LIFETIME.days} days")
    # A shorter life than a second must not return the reply itself.
    return math.ceil(found.total_seconds())


def end_with(origin: Origin) -> None:
    """End the wrapped reply to the current request as its former wrapping, of this *origin*, would have."""
    setattr(g, _BEFORE, origin)


def wrapped(view: Callable[[], Response], *, has_body: bool) -> Response:
    """Return the reply of *view*, or a wrapping token for it if the request asks for one.

    Only successes that have a body are wrapped, and the entry of the request says so.

    Raises:
        InvalidWrappingTokenError: The reply ends within a second, by `end_with`.
    """
    seconds = lifetime()
    if not seconds or not has_body:
        return view()
    token = WrappingToken.new()
    current_attempt().success_details |= {"wrapped": True, "accessor": token.accessor}
    reply = view()
    if reply.status_code != HTTPStatus.OK:
        return reply
    origin = _origin(seconds, clock.now())
    content = reply.get_data()
    has_canary = "canary" in current_attempt().details
    origin = services().wrapping.keep(token, content, origin, has_canary=has_canary)
    info = {
        "token": token.text,
        "accessor": token.accessor,
        "ttl": origin.seconds,
        "creation_time": origin.created_at,
        "creation_path": origin.path,
        **_wrapped_accessor(content),
    }
    return envelope(None, wrap_info=info, request_id="")


def _origin(seconds: int, now: datetime) -> Origin:
    """Return the origin of the reply to the current request, wrapped *now*, for *seconds* at most."""
    before: Origin | None = g.pop(_BEFORE, None)
    path = request.path.removeprefix(PREFIX)
    if before is None:
        return Origin(path, moment(now), seconds, Basis.of(current_attempt()))
    # Rounded down: otherwise, each further wrapping would prolong it.
    left = (before.end - now) // timedelta(seconds=1)
    if left < 1:
        raise InvalidWrappingTokenError("unknown")
    return Origin(path, moment(now), min(seconds, left), before.basis)


def _wrapped_accessor(content: bytes) -> dict[str, str]:
    """Return the accessor of the client token in a wrapped reply with *content*, if there is one."""
    # By name, this is an envelope's first field. Large replies do not have it.
    if content.startswith(b'{"auth":null,'):
        return {}
    found = kv_values.restore(content)["auth"]
    return {"wrapped_accessor": found["accessor"]} if found and found["accessor"] else {}
