"""The servers in a connection string: which option is wrong, and what answered."""

from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.core.documents import members
from vault.core.documents.members import explanation

GHOST = {"isWritablePrimary": False, "isreplicaset": True}
MEMBER = {"isWritablePrimary": False, "setName": "rs0", "hosts": ["a:1", "b:1"]}
NEW = "a:1 has no replica set yet; `secret-manager replicaset initiate` creates it once all members answer"
REFUSED = (
    "b:2: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 1000.0ms), Timeout: 3.0s, "
    "Topology Description: <TopologyDescription id: 6b, servers: [<ServerDescription b:2>]>"
)


@pytest.mark.parametrize(
    ("options", "hello", "expected"),
    [
        (
            "?replicaSet=rs1",
            MEMBER,
            "a:1 belongs to the replica set rs0; replicaSet=rs1 in MONGO_URI is wrong",
        ),
        (
            "?replicaSet=rs0",
            {"isWritablePrimary": True},
            "a:1 is a standalone server; start its mongod with --replSet rs0",
        ),
        ("?replicaSet=rs0", GHOST, NEW),
        ("", GHOST, NEW),
        ("?replicaSet=rs0", MEMBER, "a:1 knows no primary"),
        (
            "?replicaSet=rs0",
            {**MEMBER, "primary": "b:1"},
            "a:1 says that b:1 is the primary; it must be reachable from here",
        ),
        ("?replicaSet=rs0", REFUSED, "b:2: [Errno 111] Connection refused"),
        ("?replicaSet=rs0", {**MEMBER, "isWritablePrimary": True}, ""),
        ("", {"isWritablePrimary": True}, ""),
    ],
)
def test_the_wrong_option_is_named(
    monkeypatch: pytest.MonkeyPatch, options: str, hello: Any, expected: str
) -> None:
    """The explanation names the server that answered, its answer, and the option to change."""

    class Client(dict[str, Any]):
        def __init__(self, server: str, **_: Any) -> None:
            assert server == "a:1"
            self.admin = self

        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def command(self, _name: str) -> Any:
            if isinstance(hello, str):
                raise ServerSelectionTimeoutError(hello)
            return hello

    monkeypatch.setattr(members, "MongoClient", Client)
    assert explanation(f"mongodb://a:1/{options}") == expected


@pytest.mark.process
def test_one_usable_primary_is_enough(mongod: Mongod, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one of the servers is the primary, MongoDB is available, whatever the others answer."""
    monkeypatch.setattr(members, "_TIMEOUT_MILLISECONDS", 1_000)
    there = mongod.address
    wrong = (
        f"127.0.0.1:1: [Errno 111] Connection refused; {there} belongs to the replica set dev; "
        "replicaSet=prod in MONGO_URI is wrong"
    )
    # On a busy machine, MongoDB may answer later.
    wait_until(lambda: explanation(f"mongodb://127.0.0.1:1,{there}/?replicaSet=dev") == "")
    wait_until(lambda: explanation(f"mongodb://127.0.0.1:1,{there}/?replicaSet=prod") == wrong)


def test_an_unknown_cluster_is_explained() -> None:
    """A cluster whose SRV record does not exist is reported without a part of the connection string."""
    assert explanation("mongodb+srv://user:hunter2@cluster.invalid/") == (
        "the host name in MONGO_URI cannot be looked up"
    )
