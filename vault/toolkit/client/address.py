"""Addresses of the service: their form, and whether they keep what is sent to them from others."""

import re
from urllib.parse import urlsplit

from vault.common.networks import is_loopback

DEFAULT = "http://localhost:8000"


def checked(url: str) -> str:
    """Return *url* without a slash at its end.

    Raises:
        ValueError: It is not an address of the service; the message says which form one has.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    is_plain = re.fullmatch("[!-~]+", url) and not {"?", "#", "@"} & set(url)
    if not (is_address and is_plain):
        raise ValueError("must be http://… or https://…, without a user name, a query or a fragment")
    return url.rstrip("/")


def is_private(url: str) -> bool:
    """Return whether no one else can read what is sent to *url*: with TLS, or on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname)
