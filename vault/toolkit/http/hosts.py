"""`ALLOWED_HOSTS`: the host names of the service, against DNS rebinding.

A page can make a visitor's browser send requests to an address that the visitor reaches, under the page's own
host name. Without `AUTH_ENABLED`, the host name is all that tells these requests from the visitor's own.
"""

import re
from collections.abc import Container
from functools import lru_cache, partial
from ipaddress import ip_address

from flask import Flask, request

from vault.common.errors import HostRefusedError
from vault.toolkit.http.application import unwrapped

#: Key of the application's extensions: endpoints for orchestrators and load balancers, which use addresses.
FOR_EVERYONE = "secret-manager-for-everyone"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")


def init_app(app: Flask, allowed: tuple[str, ...]) -> None:
    """Refuse requests to other hosts than the *allowed* ones, before anything else in them; empty: none."""
    app.extensions[FOR_EVERYONE] = for_everyone = {"Health.live", "Health.ready"}
    if allowed:
        app.before_request(partial(_check, frozenset(allowed), for_everyone))


def _check(allowed: frozenset[str], for_everyone: Container[str | None]) -> None:
    req = unwrapped(request)
    if host_of(req.environ.get("HTTP_HOST", "")) not in allowed and req.endpoint not in for_everyone:
        raise HostRefusedError


@lru_cache(256)
def host_of(header: str) -> str:
    """Return the host in a `Host` *header*, in lower case and without its port; empty if it is malformed."""
    match = _HOST.fullmatch(header)
    return match[1].lower() if match else ""


def is_address(host: str) -> bool:
    """Return whether *host*, from `host_of`, is an address, which no DNS can rebind."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
