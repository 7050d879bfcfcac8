"""The client's address, and `ALLOWED_NETWORKS`: the addresses that may use the service."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import Flask, Request, current_app, request

from vault.common.errors import AddressRefusedError
from vault.common.networks import Network, contain
from vault.toolkit.http.application import header, unwrapped
from vault.toolkit.http.prefixes import CONSOLE, operations

#: Key of the application's configuration: networks whose `X-Forwarded-For` is trusted.
TRUSTED_PROXIES = "TRUSTED_PROXIES"

#: Key of the application's configuration: networks of clients that may use the service; empty: all.
ALLOWED_NETWORKS = "ALLOWED_NETWORKS"

#: Endpoints for orchestrators and load balancers, which have their own addresses.
_FOR_EVERYONE = ("Health.live", "Health.ready")


def init_app(app: Flask) -> None:
    """Check the address of requests that are not operations; operations call `require_allowed`, audited.

    What the console serves besides its operations checks it itself.
    """
    app.before_request(_check)


def require_allowed(address: str) -> None:
    """Require that clients at *address* may use the service.

    Raises:
        AddressRefusedError: They may not.
    """
    allowed = current_app.config[ALLOWED_NETWORKS]
    if allowed and not contain(allowed, address):
        raise AddressRefusedError


def address_of(req: Request) -> str:
    """Return the address of the client that sent *req*."""
    forwarded_for = header(req, "X-Forwarded-For") or ""
    return client_address(req.remote_addr or "", forwarded_for, current_app.config[TRUSTED_PROXIES])


@lru_cache(256)
def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return the address of the client behind *peer*, the other end of the connection.

    Each proxy appends to *forwarded_for* the address from which it received the request. The list is read
    from its end, as long as the hop that appended the entry is in a *trusted* network. Earlier entries could
    be forged by the client.
    """
    address = _parse(peer)
    if address is None:
        return peer
    for hop in reversed(forwarded_for.split(",")):
        written = _parse(hop.strip())
        if written is None or not any(address in network for network in trusted):
            break
        address = written
    return str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in *text*, which may have a port; None without one."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    # Without the zone, which the client of a proxy can have chosen.
    return address.ipv4_mapped or IPv6Address(int(address))


def _check() -> None:
    req = unwrapped(request)
    # Without a rule, the path is unknown or does not support the method.
    is_operation = req.url_rule is not None and req.path.startswith((*operations(current_app), CONSOLE))
    if not is_operation and req.endpoint not in _FOR_EVERYONE:
        require_allowed(address_of(req))
