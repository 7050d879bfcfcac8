"""The client's address, as far as it can be trusted."""

from ipaddress import ip_network
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app
from vault.toolkit.http.client_ip import client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        # A peer that is not a trusted proxy can send any header.
        ("192.0.2.1", "198.51.100.7, 10.0.0.1", "192.0.2.1"),
        # One trusted proxy: its entry is the last; the client writes everything before it.
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "10.9.9.9, 198.51.100.7", "198.51.100.7"),
        # Several trusted proxies.
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        # An invalid address ends the trusted part of the header.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, _hidden, 10.0.0.2", "10.0.0.2"),
        # Forms of an address.
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("fd00::1", "198.51.100.7", "198.51.100.7"),
        # A zone can be any text, and is not part of an address.
        ("10.0.0.1", "fe80::7%<b>any text", "fe80::7"),
        ("10.0.0.1", "[fe80::7%eth0]:4711", "fe80::7"),
        ("10.0.0.1", "198.51.100.7%eth0", "10.0.0.1"),
        ("fd00::1%eth0", "198.51.100.7", "198.51.100.7"),
        ("", "198.51.100.7", ""),
    ],
)
def test_an_address_is_trusted_as_far_as_trusted_hops_reach(
    peer: str, forwarded_for: str, expected: str
) -> None:
    """A client cannot choose its own address, with any header and through any number of proxies."""
    assert client_address(peer, forwarded_for, TRUSTED) == expected


def fetch(client: FlaskClient, *forwarded_for: str) -> None:
    headers = [("X-Forwarded-For", value) for value in forwarded_for]
    client.post("/vault/secret/fetch", json={}, headers=headers)


@pytest.mark.promise(3)
def test_a_forged_header_does_not_reach_the_entry(
    client: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """Without trusted proxies, the entry has the address of the connection."""
    fetch(client, "198.51.100.7")
    assert [entry["ip"] for entry in stored.audit_logs.find()] == ["127.0.0.1"]


def test_a_trusted_proxy_s_header_reaches_the_entry(
    environment: dict[str, str], stored: MongoDatabase[dict[str, Any]]
) -> None:
    """Behind a trusted proxy, the entry has the client's address, even if the header is split."""
    with running_app({**environment, "TRUSTED_PROXIES": "127.0.0.0/8, 10.0.0.0/8"}) as app:
        fetch(app.test_client(), "203.0.113.9, 198.51.100.7", "10.0.0.2")
    assert [entry["ip"] for entry in stored.audit_logs.find()] == ["198.51.100.7"]
