"""Destinations of webhooks: the service connects to public addresses, and to allowed networks."""

import socket
from ipaddress import ip_network
from threading import BoundedSemaphore

import pytest

from vault.features.webhooks import destination
from vault.features.webhooks.destination import TooManyLookUpsError, addresses
from vault.features.webhooks.errors import WebhookAddressError

#: Hosts that lead to this machine, to networks that are not public, or to cloud metadata.
INTERNAL = [
    "0.0.0.0",  # noqa: S104 - an address to refuse
    *("127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001", "0177.0.0.1", "localhost"),
    *("0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255"),
    *("192.168.0.1", "100.64.0.1", "100.100.100.200", "169.254.169.254", "0xa9fea9fe", "168.63.129.16"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::1]", "[2001:0:7f00:1::1]"),
    *("[fe80::1]", "[fec0::1]", "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]", "[2001:db8::1]", "[100::1]"),
    *("192.0.0.9", "[2001:1::1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[3fff::1]"),
]


@pytest.mark.parametrize("host", INTERNAL)
def test_an_internal_address_is_refused(host: str) -> None:
    """No form of an internal address is connected to, unless operators allow its network."""
    for port in ("", ":8443"):
        with pytest.raises(WebhookAddressError):
            addresses(f"https://{host}{port}/hook", ())


@pytest.mark.parametrize(
    ("url", "networks", "allowed"),
    [
        ("https://1.1.1.1/x", (), ["1.1.1.1"]),
        ("https://[2606:4700::1111]/x", (), ["2606:4700::1111"]),
        ("https://10.1.2.3/x", ("10.1.0.0/16",), ["10.1.2.3"]),
        ("https://10.2.2.3/x", ("10.1.0.0/16",), []),
        ("https://[::ffff:10.1.2.3]/x", ("10.1.0.0/16",), ["10.1.2.3"]),
        ("http://127.0.0.1:9/x", ("127.0.0.0/8",), ["127.0.0.1"]),
        ("http://127.0.0.1:9/x", (), []),
        ("http://10.1.2.3/x", ("10.1.0.0/16",), []),
        ("http://1.1.1.1/x", (), []),
    ],
)
def test_operators_allow_networks(url: str, networks: tuple[str, ...], allowed: list[str]) -> None:
    """Operators allow networks; http is for this machine alone."""
    try:
        assert addresses(url, tuple(map(ip_network, networks))) == allowed
    except WebhookAddressError:
        assert allowed == []


def test_only_checked_addresses_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host with public and internal addresses, only the public ones are left."""
    found = [(socket.AF_INET, 0, 0, "", (address, 443)) for address in ("10.0.0.1", "1.1.1.1", "1.1.1.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert addresses("https://mixed.example/", ()) == ["1.1.1.1"]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "no-such-host.invalid"])
def test_a_host_without_an_address_is_an_error(host: str) -> None:
    """An invalid name, or one that does not resolve, is an error of the network."""
    with pytest.raises(OSError):  # noqa: PT011 - of any kind
        addresses(f"https://{host}/", ())


def test_few_hosts_are_looked_up_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name servers that do not answer leave some of the threads for look-ups to the rest of the service."""
    monkeypatch.setattr(destination, "_MAX_WAIT_SECONDS", 0)
    with pytest.raises(TooManyLookUpsError, match="too many hosts"):
        addresses("https://1.1.1.1/", (), BoundedSemaphore(0))
