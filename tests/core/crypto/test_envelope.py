"""Confidentiality and integrity of one encrypted value."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.crypto.reference import Sealed
from vault.common.errors import DecryptionError
from vault.core.crypto import Binding, MasterKey
from vault.core.crypto import envelope as envelopes
from vault.core.documents.stored_secret import encoded

_FIRST, _SECOND, _CANARIES, _RULED = (
    json.loads((Path(__file__).parents[2] / "vectors" / name).read_text())
    for name in ("envelope-1.json", "envelope-2.json", "canary-1.json", "envelope-4.json")
)
#: Secrets of format 1 have no name: there, the word is the name of the vector.
VECTORS = [{**vector, "title": vector["name"], "name": None} for vector in _FIRST]
VECTORS += _SECOND + _CANARIES + _RULED
KEY = MasterKey(bytes(range(32)))
BINDING = Binding(
    secret_id="550e8400-e29b-41d4-a716-446655440000",
    version=1,
    namespace="default",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    max_reads=3,
)
NAMED = replace(BINDING, name="billing/db-password")
RULED = replace(NAMED, use_rules=encoded([{"hosts": ["api.example.com"]}]))


def encrypt(plaintext: bytes = b"correct horse", binding: Binding = BINDING) -> bytes:
    return envelopes.encrypt(plaintext, key=KEY, binding=binding)


def decrypt(envelope: bytes, binding: Binding = BINDING) -> bytes:
    return envelopes.decrypt(envelope, key=KEY, bindings=[binding])[0]


def binding_of(vector: dict[str, Any]) -> Binding:
    milliseconds = vector["expires_at_milliseconds"]
    return Binding(
        secret_id=vector["secret_id"],
        version=vector["version"],
        namespace=vector["namespace"],
        expires_at=None
        if milliseconds is None
        else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds),
        max_reads=vector["max_reads"],
        name=vector["name"],
        is_canary=vector.get("is_canary", False),
        use_rules=encoded(vector.get("use_rules")),
    )


@pytest.mark.promise(1)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["title"])
def test_stored_envelopes_stay_readable(vector: dict[str, Any]) -> None:
    """An existing envelope of either format stays readable permanently."""
    key = MasterKey(bytes.fromhex(vector["master_key"]))
    bindings = [binding_of(vector)]
    plaintext, _ = envelopes.decrypt(bytes.fromhex(vector["envelope"]), key=key, bindings=bindings)
    assert plaintext.hex() == vector["plaintext"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["title"])
def test_the_vectors_follow_from_the_description(vector: dict[str, Any]) -> None:
    """A second implementation, made from the description, creates the same envelopes."""
    parts = {name: value for name, value in vector.items() if name not in ("title", "envelope")}
    for name in ("master_key", "nonce", "plaintext"):
        parts[name] = bytes.fromhex(parts[name])
    assert Sealed(**parts).envelope().hex() == vector["envelope"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["title"])
def test_new_envelopes_have_the_pinned_format(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same nonce, a new envelope equals the vector byte for byte."""
    monkeypatch.setattr(os, "urandom", lambda size: bytes.fromhex(vector["nonce"])[:size])
    key = MasterKey(bytes.fromhex(vector["master_key"]))
    envelope = envelopes.encrypt(bytes.fromhex(vector["plaintext"]), key=key, binding=binding_of(vector))
    assert envelope.hex() == vector["envelope"]


@given(plaintext=st.binary(max_size=4096))
def test_an_envelope_decrypts_to_its_plaintext(plaintext: bytes) -> None:
    """Decrypting an envelope returns the plaintext, whatever its bytes are."""
    assert decrypt(encrypt(plaintext)) == plaintext


@pytest.mark.promise(1)
def test_every_flipped_bit_is_refused() -> None:
    """An envelope with any flipped bit is refused."""
    envelope = encrypt()
    for position in range(len(envelope) * 8):
        altered = bytearray(envelope)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(DecryptionError):
            decrypt(bytes(altered))


def test_every_truncation_is_refused() -> None:
    """An envelope truncated to any length, even zero, is refused."""
    envelope = encrypt()
    for length in range(len(envelope)):
        with pytest.raises(DecryptionError):
            decrypt(envelope[:length])


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    "change",
    [
        {"secret_id": "550e8400-e29b-41d4-a716-446655440001"},
        {"version": 2},
        {"namespace": "other"},
        {"expires_at": datetime(2030, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1)},
        {"expires_at": None},
        {"max_reads": 4},
        {"max_reads": None},
        {"name": "billing/db-passwore"},
        {"name": ""},
        {"is_canary": True},
        {"use_rules": encoded([{"hosts": ["evil.example.com"]}])},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("binding", [BINDING, NAMED, RULED], ids=["unnamed", "named", "ruled"])
def test_a_changed_binding_is_refused(binding: Binding, change: dict[str, Any]) -> None:
    """A ciphertext does not decrypt for another secret, version, namespace, limit, name, canary or rule."""
    envelope = encrypt(binding=binding)
    with pytest.raises(DecryptionError):
        decrypt(envelope, replace(binding, **change))


@pytest.mark.parametrize("binding", [BINDING, NAMED], ids=["unnamed", "named"])
def test_one_format_never_reads_as_the_other(binding: Binding) -> None:
    """A name can be neither added nor removed by a change of the format byte."""
    other = BINDING if binding is NAMED else NAMED
    envelope = encrypt(binding=binding)
    assert envelope[0] == (1 if binding is BINDING else 2)
    for format_byte in (0, 1, 2, 3, 255):
        altered = bytes([format_byte]) + envelope[1:]
        with pytest.raises(DecryptionError):
            decrypt(altered, other)
        if altered != envelope:
            with pytest.raises(DecryptionError):
                decrypt(altered, binding)


@pytest.mark.promise(1)
def test_use_rules_can_be_neither_added_nor_removed() -> None:
    """A ciphertext with use rules never reads as one without them, whatever its format byte is."""
    for binding, other in ((NAMED, RULED), (RULED, NAMED)):
        envelope = encrypt(binding=binding)
        assert envelope[0] == (4 if binding is RULED else 2)
        for format_byte in (1, 2, 3, 4):
            with pytest.raises(DecryptionError):
                decrypt(bytes([format_byte]) + envelope[1:], other)


def test_another_key_is_refused() -> None:
    """An envelope does not decrypt with another master key."""
    with pytest.raises(DecryptionError):
        envelopes.decrypt(encrypt(), key=MasterKey(bytes(32)), bindings=[BINDING])


@pytest.mark.promise(1)
def test_encrypting_twice_gives_unrelated_envelopes() -> None:
    """Two envelopes of the same value do not reveal that it is the same."""
    first, second = encrypt(b"a" * 64), encrypt(b"a" * 64)
    assert first[9:] != second[9:]


bindings = st.builds(
    Binding,
    secret_id=st.text(st.characters(codec="utf-8"), max_size=40),
    version=st.integers(0, 2**63 - 1),
    namespace=st.text(st.characters(codec="utf-8"), max_size=40),
    expires_at=st.none()
    | st.datetimes(timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    max_reads=st.none() | st.integers(0, 2**63 - 1),
    name=st.none() | st.text(st.characters(codec="utf-8"), max_size=40),
    is_canary=st.booleans(),
    use_rules=st.just(b"") | st.binary(min_size=1, max_size=40),
)


@given(binding=bindings, header=st.binary(max_size=12))
def test_associated_data_matches_the_description(binding: Binding, header: bytes) -> None:
    """The description alone is enough to read every part of associated data."""
    data = binding.associated_data(header)
    parts = []
    while data:
        length = int.from_bytes(data[:4], "big")
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expiry = "" if binding.expires_at is None else (binding.expires_at - epoch) // timedelta(milliseconds=1)
    described = [header, binding.secret_id, binding.version, binding.namespace, expiry]
    described.append("" if binding.max_reads is None else binding.max_reads)
    if binding.use_rules:
        described += [binding.name or "", binding.use_rules]
    elif binding.name is not None:
        described.append(binding.name)
    described += ["canary"] if binding.is_canary else []
    assert parts == [
        part
        if isinstance(part, bytes)
        else part.encode()
        if isinstance(part, str)
        else part.to_bytes(8, "big", signed=True)
        for part in described
    ]


@pytest.mark.promise(1)
@given(first=bindings, second=bindings, plaintext=st.binary(max_size=64))
def test_an_envelope_opens_for_its_binding_alone(first: Binding, second: Binding, plaintext: bytes) -> None:
    """An envelope created for one binding never opens for another."""
    envelope = encrypt(plaintext, first)
    assert decrypt(envelope, first) == plaintext
    if first != second:
        with pytest.raises(DecryptionError):
            decrypt(envelope, second)


@given(envelope=st.binary(max_size=200) | st.binary(max_size=120).map(lambda end: encrypt()[:9] + end))
def test_a_forged_envelope_is_refused(envelope: bytes) -> None:
    """Forged bytes are refused with one error, even behind a genuine beginning."""
    with pytest.raises(DecryptionError):
        decrypt(envelope)
