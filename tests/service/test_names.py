"""Names over HTTP: unique within a namespace, and never usable by anonymous callers."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.lifecycle import (
    BOB,
    CALLS,
    EVE,
    Caller,
    b64,
    document,
    in_past,
    put,
    trail,
    unswept,
)
from tests.support.rotation import Stored
from vault.core.crypto import MasterKey
from vault.core.principal import ANONYMOUS

NAME = "billing/db-password"
TOKEN, WRAPPING_TOKEN = f"smt_{'aB3' * 12}zz", f"smw_{'a-B_3' * 8}zzz"


@pytest.mark.promise("names")
@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("name", [NAME, "not/there"])
def test_by_name_anonymous_callers_get_nothing(alice: Caller, stored: Stored, action: str, name: str) -> None:
    """Without a credential, every call by name is 401, whether or not the secret exists."""
    secret_id = alice.create(name=NAME)
    before = document(stored, secret_id)
    alice.become(ANONYMOUS)
    reply = alice.post(action, {"name": name, **CALLS[action]})
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert document(stored, secret_id) == before
    [recorded] = trail(stored)[1:]
    assert recorded == {
        "action": action,
        "status": "denied",
        "principal": "anonymous",
        "details": {"name": name, "namespace": "default", "reason": "needs a credential"},
    }


@pytest.mark.promise("credentials")
@pytest.mark.parametrize(
    ("action", "body"),
    [
        *((action, {"name": TOKEN, **fields}) for action, fields in CALLS.items()),
        ("create", {"secret": "YQ==", "name": f"billing/{TOKEN}/db"}),
        ("create", {"secret": "YQ==", "name": f"x{WRAPPING_TOKEN}"}),
        ("list", {"name_prefix": TOKEN}),
        ("fetch-batch", {"name_prefix": f"{TOKEN}/"}),
        ("fetch-batch", {"secrets": [{"name": TOKEN}]}),
        ("create-batch", {"secrets": [{"secret": "YQ==", "name": TOKEN}]}),
        ("purge", {"name": TOKEN}),
    ],
)
def test_a_token_is_no_name(
    alice: Caller, stored: Stored, caplog: pytest.LogCaptureFixture, action: str, body: dict[str, Any]
) -> None:
    """A token in place of a name is refused, and is in neither the reply, nor the log, nor the trail."""
    reply = alice.post(action, body)
    assert reply.status_code == 422
    assert [error["message"] for error in reply.json["errors"]] == ["Must not contain a token."]
    assert (found := trail(stored))[0]["status"] == "bad_request"
    for token in (TOKEN, WRAPPING_TOKEN):
        assert token not in f"{reply.text}{caplog.text}{found}"


def test_a_named_secret_is_readable_by_its_id(alice: Caller) -> None:
    """The ID alone gives access to a secret, even if it has a name."""
    secret_id = alice.create(name=NAME)
    alice.become(ANONYMOUS)
    assert alice.fetch(secret_id) == b64(b"value")


def test_each_namespace_has_its_own_names(alice: Caller) -> None:
    """The same name in two namespaces belongs to two secrets."""
    first = alice.create(b"one", name=NAME)
    second = alice.become(EVE).create(b"two", name=NAME)
    assert first != second
    assert alice("fetch", name=NAME) == {"secret": b64(b"two")}
    assert alice.become(BOB)("fetch", name=NAME) == {"secret": b64(b"one")}


def test_a_taken_name_is_409(alice: Caller, stored: Stored) -> None:
    """A second secret with the same name is refused, nothing of it is stored, and the first stays."""
    secret_id = alice.create(b"one", name=NAME)
    before = document(stored, secret_id)
    assert alice.refused("create", secret="YQ==", name=NAME) == 409
    assert list(stored.secrets.find()) == [before]
    [_, refused] = trail(stored)
    assert refused["status"] == "bad_request"
    assert refused["details"] == {"name": NAME, "namespace": "default"}


@pytest.mark.parametrize("removed", [False, True], ids=["new", "of a removed secret"])
def test_a_name_requested_concurrently_belongs_to_one_secret(
    alice: Caller, stored: Stored, key: MasterKey, removed: bool
) -> None:
    """Of 16 concurrent creates of one name, exactly one succeeds, and the others see the reason."""
    # The sweep would interfere: here the creates themselves must notice that the secret is gone.
    with unswept(stored), ThreadPoolExecutor(16) as pool:
        for round_number in range(3):
            name = f"wanted/{round_number}"
            if removed:
                put(stored, key, name=name, expires_at=in_past(minutes=1), purge_at=in_past(minutes=1))
            bodies = [{"secret": b64(b"%d" % number), "name": name} for number in range(16)]
            replies = list(pool.map(lambda body: alice.post("create", body), bodies))
            assert sorted(reply.status_code for reply in replies) == [200] + [409] * 15
            [winner] = [number for number, reply in enumerate(replies) if reply.status_code == 200]
            assert alice("fetch", name=name) == {"secret": b64(b"%d" % winner)}
    assert stored.secrets.count_documents({"pending": None}) == 3


@pytest.mark.parametrize("name", ["a/" * 255 + "aa", "ä b/$@:+=/.日本"])
def test_any_path_of_visible_characters_is_a_name(alice: Caller, name: str) -> None:
    """Visible characters between single slashes form a name of up to 512 bytes."""
    alice.create(b"here", name=name)
    assert alice("fetch", name=name) == {"secret": b64(b"here")}
