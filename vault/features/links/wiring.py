"""The services of links."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.features.links.requests import Requests
from vault.features.links.shares import Shares


def services(parts: Parts) -> Iterator[object]:
    """Yield the services: shares, and requests for values."""
    max_bytes = parts.settings.max_secret_bytes
    yield Shares(parts.keyring, parts.guard, parts.secrets, parts.token_keys.find, max_bytes=max_bytes)
    yield Requests(parts.token_keys, parts.secrets, max_bytes=max_bytes)
