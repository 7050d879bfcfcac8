"""Networks, and the addresses in them."""

from ipaddress import ip_network

import pytest

from vault.common.networks import contain, cover, is_loopback, network, source, unmapped

NETWORKS = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("2001:db8::1", True),
        ("::1", False),
        ("", False),
        ("x", False),
    ],
)
def test_an_address_is_in_a_network_or_not(address: str, expected: bool) -> None:
    """Addresses of both families match networks of both; an invalid address matches none."""
    assert contain(NETWORKS, address) is expected
    assert not contain([], address)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.0.0.0/8", True),
        ("10.1.0.0/16", True),
        ("0.0.0.0/0", False),
        ("2001:db8:1::/48", True),
        ("::/0", False),
    ],
)
def test_a_network_is_covered_as_a_whole(network: str, expected: bool) -> None:
    """A network is covered only by one that contains all of it."""
    assert cover(NETWORKS, ip_network(network)) is expected


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "fe80::1%\ud800", "fe80::/64%x", "::ffff:10.0.0.0/104", "10.0.0.1/8", "", "all"]
)
def test_an_unmatchable_network_is_invalid(text: str) -> None:
    """A network with a scope or IPv4-mapped addresses, which no client's address can match, is invalid."""
    with pytest.raises(ValueError):  # noqa: PT011 - another test checks the message
        network(text)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0", "::/0"])
def test_a_network_or_an_address_is_valid(text: str) -> None:
    """A network is accepted in its usual forms."""
    assert network(text) == ip_network(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_is_counted_as_its_source(address: str, expected: str) -> None:
    """IPv6 counts by /64 without zone, IPv4-mapped as IPv4; an invalid address is unchanged."""
    assert source(unmapped(address)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("localhost", True), ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True)),
        *(("192.0.2.7", False), ("localhost.example", False), ("", False), (None, False)),
    ],
)
def test_a_host_of_this_machine_is_known_by_its_form(host: str | None, expected: bool) -> None:
    """The name `localhost` and all loopback addresses are this machine; no name is looked up."""
    assert is_loopback(host) is expected
