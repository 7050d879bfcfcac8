"""`ALLOWED_NETWORKS`: refusing every request from elsewhere, except for health."""

from flask import Flask, current_app, request

from vault.api.client_address import address_of_request
from vault.errors import AddressRefusedError
from vault.networks import contain

#: Key of the application's configuration.
ALLOWED_NETWORKS = "ALLOWED_NETWORKS"

#: Orchestrators and load balancers ask from addresses of their own.
_FOR_EVERYONE = ("Health.live", "Health.ready")


def init_app(app: Flask) -> None:
    """Refuse requests of *app* that are for no operation; operations call `require` themselves, on record."""
    app.before_request(_check)


def require(address: str) -> None:
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
        require(address_of_request())
