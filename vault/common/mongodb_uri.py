"""MongoDB's connection strings, and their parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.uri_parser import parse_uri

_SRV_SCHEME = "mongodb+srv://"
_PLAIN_SCHEME = "mongodb://"


@dataclass(frozen=True, slots=True)
class MongoURI:
    """The parts of a MongoDB connection string, as PyMongo reads them."""

    is_srv: bool
    #: Host names and ports. An SRV record names the ports, so there is no port with `is_srv`.
    hosts: tuple[tuple[str, int | None], ...]
    #: This and the next three are empty if the connection string names none.
    database: str
    collection: str
    username: str
    password: str = field(repr=False)
    #: By their documented names, whatever their case was. Some are secret, too.
    options: Mapping[str, Any] = field(repr=False)


def parse_mongodb_uri(uri: str) -> MongoURI:
    """Parse a connection string without looking up SRV records: the client does that when it connects.

    Raises:
        PyMongoError: The connection string or one of its options is invalid.
        ValueError: The same.
        OSError: A file that an option names cannot be read.
    """
    is_srv = uri.startswith(_SRV_SCHEME)
    parts = parse_uri(_PLAIN_SCHEME + uri.removeprefix(_SRV_SCHEME) if is_srv else uri)
    return MongoURI(
        is_srv=is_srv,
        hosts=tuple((host, None if is_srv else port) for host, port in parts["nodelist"]),
        database=parts["database"] or "",
        collection=parts["collection"] or "",
        username=parts["username"] or "",
        password=parts["password"] or "",
        options=parts["options"],
    )
