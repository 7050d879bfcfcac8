"""A summary of the settings in effect, without secrets and without credentials in URLs."""

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any
from urllib.parse import urlsplit

from vault.config.settings import Settings
from vault.config.validators import MEMORY
from vault.core.mongodb_uri import parse_mongodb_uri


def summary(settings: Settings) -> dict[str, Any]:
    """Return *settings* by name, without their secrets.

    A setting that `Settings` excludes from its `repr` appears as "set", or as its hosts and database.
    """
    return {field.name.upper(): _shown(field, getattr(settings, field.name)) for field in fields(settings)}


def _shown(field: Field[Any], value: Any) -> Any:
    if value in (None, (), b""):
        return None
    if show := _SHOWN.get(field.name):
        return show(value)
    if not field.repr:
        return "set"
    return [str(network) for network in value] if isinstance(value, tuple) else value


def mongodb_address(uri: str) -> str:
    """Return hosts and database, without credentials and options: some options are secret, too."""
    if uri == MEMORY:
        return uri
    parts = parse_mongodb_uri(uri)
    scheme = "mongodb+srv" if parts.is_srv else "mongodb"
    hosts = ",".join(_host(host, port) for host, port in parts.hosts)
    return f"{scheme}://{hosts}/{parts.database}"


def _host(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _url(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


#: Settings with their own form in the summary.
_SHOWN: dict[str, Callable[[Any], Any]] = {
    "mongo_uri": mongodb_address,
    "rate_limit_storage_uri": mongodb_address,
    "jwt_jwks_url": _url,
    "audit_witnesses": lambda urls: [_url(url) for url in urls],
    # The names of those that are set.
    "custody": sorted,
    # Too long to be of use.
    "jwt_public_key": lambda _: "set",
}
