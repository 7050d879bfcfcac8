"""Addresses of the service."""

import pytest

from vault.toolkit.client import address


@pytest.mark.parametrize(
    "url", ["http://localhost:8000", "https://secrets.example.com/below", "http://[::1]:8000"]
)
def test_an_address_is_kept(url: str) -> None:
    """An address keeps its port and path, and loses the slash at its end."""
    assert address.checked(url) == address.checked(url + "/") == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8000", "ftp://localhost", "http://", "http://[::1", "http://a:0", "http://a:99999"),
        *("http://user:pass@a", "http://a?b", "http://a#b", "http://a b", "http://ä", "http://a\r\nX: y"),
    ],
)
def test_another_text_is_refused(url: str) -> None:
    """A text is refused if it is not an address, or has parts that would be lost or sent elsewhere."""
    with pytest.raises(ValueError, match="must be http"):
        address.checked(url)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://secrets.example.com", True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:8000", True),
        ("http://secrets.example.com", False),
        ("http://localhost.example.com", False),
    ],
)
def test_privacy_needs_tls_or_this_machine(url: str, *, private: bool) -> None:
    """Only TLS, or an address of this machine, keeps what is sent from others."""
    assert address.is_private(url) is private
