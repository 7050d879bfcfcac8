"""The client's address, and `ALLOWED_NETWORKS`: the addresses that may use the service."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import Flask, current_app, request

from vault.core.errors import AddressRefusedError
from vault.core.networks import Network, contain

#: Key of the application's configuration: networks whose `X-Forwarded-For` is believed.
TRUSTED_PROXIES = "TRUSTED_PROXIES"


def address_of_request() -> str:
    """Return the address of the client that sent this request."""
    forwarded_for = request.headers.get("X-Forwarded-For", "")
    return client_address(request.remote_addr or "", forwarded_for, current_app.config[TRUSTED_PROXIES])


@lru_cache(256)
def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return the address of the client behind *peer*, the other end of the connection.

    *forwarded_for* is what proxies appended to, each the address that it got the request from. It is believed
    from its end for as long as the hop that wrote the entry is in a *trusted* network: what comes before
    the first hop that is not could have been written by the client itself.
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
    """Return the address that *text* holds, with or without a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


#: Key of the application's configuration.
ALLOWED_NETWORKS = "ALLOWED_NETWORKS"

#: Orchestrators and load balancers ask from addresses of their own.
_FOR_EVERYONE = ("Health.live", "Health.ready")


def init_app(app: Flask) -> None:
    """Refuse requests of *app* that are for no operation; operations call `require` themselves, on record."""
    app.before_request(_check)


def require_allowed(address: str) -> None:
    """Return if clients at *address* may use the service.

    Raises:
        AddressRefusedError: They may not.
    """
    allowed = current_app.config[ALLOWED_NETWORKS]
    if allowed and not contain(allowed, address):
        raise AddressRefusedError


def _check() -> None:
    # Without a rule it is an unknown path, or a method that the path does not take.
    is_operation = request.url_rule is not None and request.path.startswith("/vault/")
    if not is_operation and request.endpoint not in _FOR_EVERYONE:
        require_allowed(address_of_request())
