"""The forms of settings in the log: without credentials in URLs."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vault.common.config.validators import MEMORY

#: Values of settings that are unset.
EMPTY = (None, (), b"")


def plain(value: Any) -> Any:
    """Return *value* for JSON: the items of a tuple as texts, and only the names of a mapping."""
    if value in EMPTY:
        return None
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return sorted(value) if isinstance(value, Mapping) else value


def presence(_: object) -> str:
    """Return that a value exists, such as one that is too long to be of use."""
    return "set"


def mongodb(uri: str) -> str:
    """Return hosts and database, without credentials and options: some options are secret, too."""
    # As in `validators.mongo_uri`.
    from vault.common.mongodb_uri import parse_mongodb_uri

    if uri == MEMORY:
        return uri
    parts = parse_mongodb_uri(uri)
    scheme = "mongodb+srv" if parts.is_srv else "mongodb"
    hosts = ",".join(_host(host, port) for host, port in parts.hosts)
    return f"{scheme}://{hosts}/{parts.database}"


def _host(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def url(text: str) -> str:
    """Return the URL without credentials, query and fragment."""
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
