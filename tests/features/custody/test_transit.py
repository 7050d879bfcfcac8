"""The scheme `transit`: a real OpenBao with a token that may only decrypt, and servers that misbehave."""

import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.custody.conftest import Request, Stub, TransitEngine
from vault.features.custody import http
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import context_of
from vault.features.custody.transit import Transit

KEY, CONTEXT, OTHER = bytes(range(32)), context_of("1" * 16), context_of("2" * 16)


def at(stub: Stub, **settings: str) -> Transit:
    """Return the provider for *stub*."""
    return Transit(f"{stub.url}/v1/transit/keys/sm", {"TRANSIT_TOKEN": "token"} | settings)


@pytest.mark.promise(7)
def test_a_replica_needs_a_token_that_may_only_decrypt(transit: TransitEngine) -> None:
    """The operator wraps, the replica's token may only unwrap, and blobs bind their context."""
    operator = Transit(transit.kek, transit.settings("admin"))
    replica = Transit(transit.kek, transit.settings(transit.reader))
    blob = operator.wrap(KEY, CONTEXT)
    found = replica.unwrap(blob, CONTEXT)
    assert found.material == KEY
    assert found.request_id
    with pytest.raises(CustodyRefusedError, match="refused to encrypt, with status 403"):
        replica.wrap(KEY, CONTEXT)
    for forged, context in ((blob, OTHER), (blob[:-6] + b"AAAAAA", CONTEXT), (b"\xff", CONTEXT)):
        with pytest.raises(CustodyRefusedError, match="refused to decrypt"):
            replica.unwrap(forged, context)
    transit.bao.ask("PUT", "transit/keys/sm/rotate", {})
    newer = operator.wrap(KEY, CONTEXT)
    assert int(operator.describe(newer)[1:]) == int(operator.describe(blob)[1:]) + 1
    assert replica.unwrap(blob, CONTEXT).material == replica.unwrap(newer, CONTEXT).material
    replica.close()


def test_the_former_version_of_a_key_is_unwrapped_by_no_one_once_it_is_gone(transit: TransitEngine) -> None:
    """A wrong token, and a key that does not exist, are refusals."""
    for kek, token in ((transit.kek, "wrong"), (transit.kek + "x", "admin")):
        with pytest.raises(CustodyRefusedError):
            Transit(kek, transit.settings(token)).unwrap(b"vault:v1:AAAA", CONTEXT)


@pytest.mark.parametrize(
    "kek",
    [
        "bao:8200/v1/transit/keys/sm",
        "https://bao:8200/v1/transit/sm",
        "https://bao:8200/v1/transit/keys/sm?x=1",
        "https://user:word@bao:8200/v1/transit/keys/sm",
        "https://bao:99999/v1/transit/keys/sm",
        "ftp://bao/v1/transit/keys/sm",
        "https://bao:8200/v1/transit/../sys/keys/sm",
        "https://bao:8200/v1/transit/./keys/sm",
        "https://bao:8200/v1/transit/keys/..",
    ],
)
def test_the_kek_is_the_address_of_a_key(kek: str) -> None:
    """Other addresses are refused before anything is sent."""
    with pytest.raises(CustodyRefusedError, match="not in the form"):
        Transit(kek, {"TRANSIT_TOKEN": "token"})


@pytest.mark.parametrize("host", ["b%00", "b%zz", "b,c", "user:word@b"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    """A host that cannot be is a refusal of its slot, whose message does not quote it."""
    with pytest.raises(CustodyRefusedError) as caught:
        Transit(f"https://{host}/v1/transit/keys/sm", {"TRANSIT_TOKEN": "token"}).unwrap(b"", CONTEXT)
    assert host not in str(caught.value)


def test_the_token_is_required_and_stays_private(stub: Stub, tmp_path: Path) -> None:
    """Without a token, with one that cannot be a header, or without TLS, nothing is sent."""
    for settings in ({}, {"TRANSIT_TOKEN": "to\nken"}):
        with pytest.raises(CustodyRefusedError, match="TRANSIT_TOKEN"):
            Transit(f"{stub.url}/v1/transit/keys/sm", settings)
    with pytest.raises(CustodyRefusedError, match="neither https"):
        Transit("http://192.0.2.1/v1/transit/keys/sm", {"TRANSIT_TOKEN": "token"}).wrap(KEY, CONTEXT)
    with pytest.raises(CustodyRefusedError, match="trusted certificates"):
        secure = "https://localhost:1/v1/transit/keys/sm"
        Transit(secure, {"TRANSIT_TOKEN": "token", "TRANSIT_CA": str(tmp_path / "ca")}).wrap(KEY, CONTEXT)
    with pytest.raises(CustodyRefusedError, match="TRANSIT_CA is set"):
        at(stub, TRANSIT_CA=str(tmp_path / "ca"))
    assert stub.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        (503, {}, {"errors": ["Vault is sealed"]}),
        (500, {}, {}),
        (429, {}, {}),
        (412, {}, {"errors": ["required index state not present"]}),
        (307, {"Location": "http://192.0.2.1/"}, {}),
        (200, {"Content-Length": "9"}, {}),
        (200, {}, b" " * 1_000_000),
    ],
    ids=str,
)
def test_an_engine_that_does_not_serve_now_is_unavailable(
    stub: Stub, reply: tuple[int, dict[str, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed, throttled, lagging, redirecting, cut and endless replies let the next slot have its turn."""
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 2)
    stub.answer = lambda _: reply
    with pytest.raises(CustodyUnavailableError):
        at(stub).unwrap(b"vault:v1:AAAA", CONTEXT)


def test_an_engine_that_sends_a_byte_at_a_time_is_unavailable(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply has to end in time: each of its bytes alone does not extend that."""
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.5)

    def drip() -> Iterator[bytes]:
        while True:
            yield b" "
            time.sleep(0.05)

    stub.answer = lambda _: (200, {"Content-Length": "1000"}, drip())
    with pytest.raises(CustodyUnavailableError):
        at(stub).unwrap(b"vault:v1:AAAA", CONTEXT)


def test_an_engine_that_is_away_is_unavailable(closed_port: int) -> None:
    """Without a server, the slot is unavailable."""
    url = f"http://127.0.0.1:{closed_port}/v1/transit/keys/sm"
    with pytest.raises(CustodyUnavailableError, match="cannot be reached"):
        Transit(url, {"TRANSIT_TOKEN": "token"}).unwrap(b"vault:v1:AAAA", CONTEXT)


BODIES: list[object] = [
    b"no JSON",
    b"[" * 10_000,
    [],
    {},
    {"data": 1},
    {"data": {"plaintext": "é", "ciphertext": 1}},
    {"data": {"plaintext": 1, "ciphertext": "vault:v1:" + "A" * 40_000}},
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_reply_of_another_form_is_refused(stub: Stub, body: object) -> None:
    """A lying engine gets neither a slot nor a key accepted."""
    stub.answer = lambda _: (200, {}, body)
    with pytest.raises(CustodyRefusedError, match="without ciphertext"):
        at(stub).wrap(KEY, CONTEXT)
    with pytest.raises(CustodyRefusedError, match="without plaintext"):
        at(stub).unwrap(b"vault:v1:AAAA", CONTEXT)


def test_what_is_sent_is_the_key_its_context_and_the_token(stub: Stub) -> None:
    """The token is in its header, and the key in the body alone."""

    def answer(request: Request) -> tuple[int, dict[str, str], object]:
        del request
        return 200, {}, {"data": {"ciphertext": "vault:v1:AAAA"}}

    stub.answer = answer
    provider = at(stub)
    assert provider.wrap(KEY, CONTEXT) == b"vault:v1:AAAA"
    assert provider.describe(b"other") == ""
    (sent,) = stub.requests
    assert sent.path == "/v1/transit/encrypt/sm"
    assert sent.headers["X-Vault-Token"] == "token"
    assert b64encode(KEY) in sent.body
    assert "token" not in repr(provider)
