"""MongoDB's connection strings."""

import pytest
from pymongo.errors import PyMongoError

from vault.common.mongodb_uri import parse_mongodb_uri


def test_an_srv_record_is_not_looked_up() -> None:
    """A `mongodb+srv` URI is parsed without DNS, and has no port."""
    parts = parse_mongodb_uri("mongodb+srv://app:pass@cluster.invalid/other?replicaSet=rs0")
    assert (parts.is_srv, parts.hosts) == (True, (("cluster.invalid", None),))
    assert (parts.database, parts.username, parts.password) == ("other", "app", "pass")


def test_an_option_has_its_documented_name() -> None:
    """Options in any case are found by the name in MongoDB's documentation."""
    parts = parse_mongodb_uri("mongodb://a/?authsource=admin&REPLICASET=rs0")
    assert (parts.options["authSource"], parts.options["replicaSet"]) == ("admin", "rs0")


def test_hosts_have_their_ports() -> None:
    """Each host has its own port or MongoDB's default; an IPv6 address loses its brackets."""
    parts = parse_mongodb_uri("mongodb://[::1]:5,a,b:7")
    assert parts.hosts == (("::1", 5), ("a", 27017), ("b", 7))
    assert (parts.database, parts.collection, parts.username, parts.password) == ("", "", "", "")


def test_quoted_credentials_are_unquoted() -> None:
    """Percent-encoded characters in user and password are decoded; a repr shows no password."""
    parts = parse_mongodb_uri("mongodb://a%40b:p%2Fw%3A%40@[::1]/vault.things")
    assert (parts.username, parts.password) == ("a@b", "p/w:@")
    assert (parts.database, parts.collection) == ("vault", "things")
    assert "p/w" not in repr(parts)


@pytest.mark.parametrize(
    "uri", ["", "http://a", "mongodb://", "mongodb://a:b@c@d", "mongodb://a/?journal=maybe", "mongodb://[::1"]
)
def test_an_invalid_connection_string_is_refused(uri: str) -> None:
    """A wrong scheme, unquoted credentials and invalid option values are errors."""
    with pytest.raises((PyMongoError, ValueError)):
        parse_mongodb_uri(uri)
