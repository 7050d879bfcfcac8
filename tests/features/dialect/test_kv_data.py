"""Values of KV, version 2: returned as they are stored where possible, and otherwise in turn with others."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.service.test_large_values import require_memory_until_sent
from tests.support.access import bearer, make_token
from tests.support.dialect import DialectClient
from tests.support.kv import Ask, read, rest, trail, written
from tests.support.rotation import Stored
from vault.common import deadline, kv_values
from vault.common.errors import OverloadedError
from vault.core.secrets.queries import SecretQueries
from vault.features.dialect.long_work import MAX_VALUE_BYTES, VALUE_MEMORY, pause
from vault.toolkit.http import connections
from vault.toolkit.operations.blueprint import REPLY_MEMORY, SLOTS

PATCH_TYPE = {"Content_Type": "application/merge-patch+json"}

#: A value of more than 16 KiB of JSON.
LARGE = {"numbers": list(range(10_000))}


def stored_by_rest(client: FlaskClient, app: Flask, name: str, raw: bytes) -> None:
    rest(client, app, "create", {"name": name, "secret": b64encode(raw).decode()})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the values that are decoded from now on."""
    found: list[bytes] = []
    decode = kv_values.decode

    def note(text: bytes, *args: Any) -> Any:
        found.append(text)
        return decode(text, *args)

    monkeypatch.setattr(kv_values, "decode", note)
    return found


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return the turns that requests take from now on."""
    found: list[None] = []
    monkeypatch.setattr(connections.current.get(), "take_turn", lambda: found.append(None))
    return found


@pytest.mark.promise("vault")
def test_a_canonical_value_is_decoded_once(ask: Ask, decoded: list[bytes]) -> None:
    """A worker decodes a version at its first read; from then on, it returns the stored bytes as they are."""
    value = {"b": [1, 2.5, {"ü": None}], "a": '"\\\n'}
    written(ask, "a", value, LARGE)
    decoded.clear()
    first = ask("GET", "data/a?version=1").json["data"]
    assert len(decoded) == 1
    for _ in range(2):
        assert ask("GET", "data/a?version=1").json["data"] == first
        assert first["data"] == value
    assert len(decoded) == 1
    assert read(ask("GET", "data/a")) == read(ask("GET", "data/a")) == LARGE
    assert len(decoded) == 2


def test_no_time_shows_that_two_values_are_equal(ask: Ask, decoded: list[bytes]) -> None:
    """A value is decoded at the first read of each secret and version that has it."""
    written(ask, "a", LARGE, LARGE)
    written(ask, "b", LARGE)
    decoded.clear()
    for path in ("data/a", "data/a?version=1", "data/b"):
        read(ask("GET", path))
    assert len(decoded) == 3


@pytest.mark.promise("vault")
def test_a_value_of_rest_is_returned_in_vaults_form(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """Bytes that REST stored are returned as Vault would write them, or in base64, at each read."""
    values: list[tuple[bytes, object]] = [
        (b'{"b":1, "a":2}', {"a": 2, "b": 1}),
        (b'{"a":1.0,"b":1E2,"c":9007199254740993}', {"a": 1, "b": 100, "c": 9007199254740992}),
        (b'{"a":"\\u00fc"}', {"a": "ü"}),
        (b"null", None),
        # Texts that could break out of their place in the reply, or that readers understand differently.
        *(
            (raw, {"secret": b64encode(raw).decode()})
            for raw in (
                b'{"a":1},"metadata":{"version":9}',
                b'{}},"auth":{"client_token":"x"',
                b'{"a":1,"a":2}',
                b'{"a":"\xff"}',
                b'{"a":"\\ud800"}',
                b'\xef\xbb\xbf{"a":1}',
                b'{"a":NaN}',
                b'{"a":' * 300 + b"1" + b"}" * 300,
                b"[1]",
            )
        ),
    ]
    writer = bearer(make_token(app, "rest", role="writer"))
    for number, (raw, value) in enumerate(values):
        body = {"name": f"a/{number}", "secret": b64encode(raw).decode()}
        assert client.post("/vault/secret/create", json=body, headers=writer).status_code == 200
        for _ in range(3):
            reply = ask("GET", f"data/a/{number}")
            assert reply.data == canonical(reply.json)
            assert reply.json["data"]["data"] == value
            assert set(reply.json["data"]) == {"data", "metadata"}
            assert reply.json["auth"] is None


def canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@contextmanager
def without_memory(app: Flask) -> Iterator[None]:
    """Reserve all memory for values."""
    with ExitStack() as held:
        for source in ("a", "b"):
            held.enter_context(app.extensions[VALUE_MEMORY].reserve(MAX_VALUE_BYTES // 2, source)).keep()
        yield


#: The calls that decode a large value.
CALLS: dict[str, Callable[[DialectClient], TestResponse]] = {
    "read": lambda root: root.ask("GET", "secret/data/rest"),
    "subkeys": lambda root: root.ask("GET", "secret/subkeys/rest"),
    "patch": lambda root: root.ask("PATCH", "secret/data/rest", {"data": {"a": 1}}, **PATCH_TYPE),
    "write": lambda root: root.ask("POST", "secret/data/new", {"data": LARGE}),
    "wrap": lambda root: root.ask("POST", "sys/wrapping/wrap", LARGE, X_Vault_Wrap_TTL="60"),
}


@pytest.mark.promise("vault")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_large_value_needs_memory_and_a_turn(
    app: Flask,
    root: DialectClient,
    client: FlaskClient,
    stored: Stored,
    turns: list[None],
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[DialectClient], TestResponse],
) -> None:
    """Without memory, a call that decodes a large value is 503 without an effect; with it, it takes turns."""
    monkeypatch.setattr("vault.toolkit.http.memory._WAIT_TIMEOUT_SECONDS", 0.05)
    stored_by_rest(client, app, "rest", json.dumps(LARGE).encode())
    before = trail(stored)
    with without_memory(app):
        assert call(root).status_code == 503
    assert trail(stored) == before
    assert not turns
    assert call(root).status_code == 200
    assert len(turns) > 4
    assert not app.extensions[VALUE_MEMORY]._used


def test_a_call_that_gets_no_slot_again_gives_its_memory_back(
    app: Flask, root: DialectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all slots are taken while a call waits for memory, it is 503 and keeps no memory."""
    root("POST", "secret/data/a", {"data": LARGE})
    memory, slots = app.extensions[VALUE_MEMORY], app.extensions[SLOTS]
    reserve = memory.reserve

    def reserve_as_slots_run_out(*args: Any) -> Any:
        reservation = reserve(*args)
        slots.clear()
        return reservation

    with monkeypatch.context() as full:
        full.setattr(memory, "reserve", reserve_as_slots_run_out)
        assert root.ask("GET", "secret/subkeys/a").status_code == 503
    assert not memory._used
    slots.append(None)
    assert root.ask("GET", "secret/subkeys/a").status_code == 200


def test_an_unwrap_without_memory_keeps_the_reply(
    app: Flask, root: DialectClient, turns: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no memory for a large reply, its wrapping token stays valid."""
    monkeypatch.setattr("vault.toolkit.http.memory._WAIT_TIMEOUT_SECONDS", 0.05)
    holder = root.having(root.wrap(LARGE))
    turns.clear()
    with without_memory(app):
        assert holder.ask("POST", "sys/wrapping/unwrap").status_code == 503
    assert not turns
    assert holder("POST", "sys/wrapping/unwrap")["data"] == LARGE
    assert len(turns) > 4


def test_a_value_that_is_spliced_needs_no_memory(app: Flask, root: DialectClient, turns: list[None]) -> None:
    """A canonical value that was read before takes no turn, whatever its size."""
    root("POST", "secret/data/a", {"data": LARGE})
    root("GET", "secret/data/a")
    turns.clear()
    with without_memory(app):
        assert root("GET", "secret/data/a")["data"]["data"] == LARGE
    assert not turns


@pytest.mark.promise("vault")
@pytest.mark.parametrize("path", ["auth/approle/login", "auth/jwt/login", "sys/wrapping/lookup"])
def test_a_body_of_a_stranger_takes_turns(root: DialectClient, turns: list[None], path: str) -> None:
    """A small body that takes long to decode does not keep other requests waiting meanwhile."""
    body = b'{"role_id":[' + b"1," * 8_000 + b"1]}"
    assert root.having(None).ask("POST", path, body).status_code == 400
    assert len(turns) > 4


def test_a_large_list_takes_turns(
    root: DialectClient, turns: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply of thousands of names is made in pieces."""
    monkeypatch.setattr(SecretQueries, "level", lambda *_, **__: [str(number) for number in range(5_000)])
    assert len(root("LIST", "secret/metadata/")["data"]["keys"]) == 5_000
    assert len(turns) > 4


def test_work_ends_at_the_deadline(turns: list[None]) -> None:
    """A request that is past its deadline does not work on."""
    pause()
    with deadline.Within(-1), pytest.raises(OverloadedError):
        pause()
    assert len(turns) == 2


@pytest.mark.promise("network")
@pytest.mark.parametrize("path", ["data/a", "subkeys/a"])
def test_a_large_value_has_memory_until_it_was_sent(app: Flask, ask: Ask, path: str) -> None:
    """A client that does not read a large reply holds memory that others can get."""
    value = {f"key{number:04}": "x" * 10 for number in range(2_000)}
    assert ask("PUT", "data/a", {"data": value}).status_code == 200
    require_memory_until_sent(lambda: ask("GET", path), app.extensions[REPLY_MEMORY])
