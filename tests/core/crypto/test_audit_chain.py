"""The guarantees of an audit entry's hash, link and signature."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.core.crypto.reference import hkdf
from vault.core.crypto import MasterKey, audit_chain
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "audit-chain-1.json").read_text())
MASTER_KEY = MasterKey(bytes(range(32)))
KEY = SigningKey(MASTER_KEY)
OTHER = SigningKey(MasterKey(bytes(32)))
SEALS = ("hash", "signer", "signature")
GARBAGE = (None, 5, "", "zz", "ab" * 32, "ab" * 64, "\ud800", [], {}, b"\x00" * 64)

ENTRY: dict[str, Any] = {
    "ts": "2026-11-24T15:30:00.000Z",
    "action": "fetch",
    "status": "success",
    "principal": "anonymous",
    "ua": 'Zażółć "curl" \\ \U0001f511',
    "details": {"b": [1, 2.5, None, True], "a": {"ß": ""}},
    "stream": "5e" * 16,
    "seq": 3,
    "previous": "00" * 32,
}


def reference(value: Any) -> str:
    """Return the canonical form by the module's description, without `json.dumps` of a whole."""
    if isinstance(value, dict):
        # Python orders strings by their code points.
        return "{" + ",".join(f"{reference(key)}:{reference(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(reference, value)) + "]"
    if isinstance(value, str):
        return '"' + re.sub(r'["\\\x00-\x1f]', _escaped, value) + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _escaped(match: re.Match[str]) -> str:
    short = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
    return "\\" + short.get(match[0], f"u{ord(match[0]):04x}")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_stored_trails_stay_verifiable(vector: dict[str, Any]) -> None:
    """Hash, link and signature of a stored entry never change."""
    record = vector["record"]
    assert audit_chain.canonical(record).decode() == vector["canonical"]
    assert audit_chain.digest(record) == record["hash"]
    assert audit_chain.link(record) == vector["link"]
    key = SigningKey(MasterKey(bytes.fromhex(vector["master_key"])))
    assert key.public.raw.hex() == vector["public_key"]
    if "signature" in record:
        assert key.public.signer == record["signer"]
        assert key.sign(record["hash"].encode()) == record["signature"]
        assert key.public.verifies(record["signature"], record["hash"].encode())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_follow_from_the_description(vector: dict[str, Any]) -> None:
    """A second implementation, made from the description alone, gives the same vectors."""
    record = vector["record"]
    content = reference({name: value for name, value in record.items() if name not in SEALS})
    assert content == vector["canonical"]
    assert sha256(content) == record["hash"]
    assert sha256(reference({name: record[name] for name in SEALS if name in record})) == vector["link"]
    public_key = bytes.fromhex(vector["public_key"])
    if "signature" in record:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(bytes.fromhex(record["signature"]), record["hash"].encode())
        assert record["signer"] == hashlib.sha256(public_key).hexdigest()[:16]


def test_the_vectors_chain() -> None:
    """Each vector with a `previous` follows the one before it."""
    for before, vector in pairwise(VECTORS):
        assert vector["record"].get("previous", before["link"]) == before["link"]


texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
contents = st.dictionaries(texts.filter(lambda name: name not in SEALS), json_values, max_size=4)


@given(record=contents)
def test_the_form_matches_the_description(record: dict[str, Any]) -> None:
    """The description alone determines the form of every record, which no other record shares."""
    form = audit_chain.canonical(record)
    assert form == reference(record).encode("utf-8")
    # MongoDB and export tools may store the fields of an object in another order.
    assert form == audit_chain.canonical(dict(reversed(record.items())))
    assert repr(_sorted(json.loads(form))) == repr(_sorted(record))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", [name for name in ENTRY if name != "details"])
def test_every_field_is_hashed(name: str) -> None:
    """A changed, removed or added field changes the hash, also within `details`."""
    changed = [
        ENTRY | {name: "other"},
        {key: value for key, value in ENTRY.items() if key != name},
        ENTRY | {"added": None},
        ENTRY | {"details": {"b": [1, 2.5, None, 1], "a": {"ß": ""}}},
        ENTRY | {"details": {"b": [1, 2.5, None, True], "a": {"ß": " "}}},
        ENTRY | {"seq": 3.0},
        ENTRY | {"seq": "3"},
    ]
    assert audit_chain.digest(ENTRY) not in {audit_chain.digest(record) for record in changed}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"bytes", {1, 2}], ids=repr)
def test_a_value_without_a_json_form_is_refused(value: object) -> None:
    """An entry with values that are not JSON has no hash, since others could not compute it."""
    with pytest.raises((TypeError, ValueError)):
        audit_chain.digest(ENTRY | {"details": {"a": value}})


@pytest.mark.parametrize(
    "value", ["00" * 32, "0a" * 32, "AB" * 32, "0a" * 31, '0"' * 32, "٣" * 64, 7, 10**63, None]
)
def test_the_link_is_of_the_canonical_form_of_any_hash(value: object) -> None:
    """The link of an unsigned entry is the SHA-256 of its canonical seals, also if its hash is none."""
    assert audit_chain.link(ENTRY | {"hash": value}) == sha256(reference({"hash": value}))


def test_the_link_covers_hash_signature_and_signer() -> None:
    """Any change, addition, removal or shift in an entry's seal breaks the chain."""
    sealed = {"hash": "aa", "signer": "bb", "signature": "cc"}
    variants: list[dict[str, Any]] = [
        sealed,
        sealed | {"hash": "ab"},
        sealed | {"signer": "bc"},
        sealed | {"signature": "cd"},
        {"hash": "aa", "signer": "bbc", "signature": "c"},
        {"hash": "aab", "signer": "b", "signature": "cc"},
        {"hash": "aa", "signature": "bbcc"},
        {"hash": "aa", "signer": "bbcc"},
        {"hash": "aa", "signer": "", "signature": ""},
        {"hash": "aa", "signature": ""},
        {"hash": "aa", "signature": None},
        {"hash": "aa"},
        {},
    ]
    assert len({audit_chain.link(ENTRY | variant) for variant in variants}) == len(variants)
    assert audit_chain.link(ENTRY | sealed) == audit_chain.link(sealed)


def test_a_signature_verifies() -> None:
    """A signature is valid for its message and key, and for no others."""
    signature = KEY.sign(b"message")
    assert KEY.public.verifies(signature, b"message")
    assert not KEY.public.verifies(signature, b"another")
    assert not OTHER.public.verifies(signature, b"message")


@pytest.mark.parametrize("signature", GARBAGE, ids=repr)
def test_garbage_is_no_signature(signature: object) -> None:
    """Garbage in place of a signature is an invalid signature, never an error."""
    assert KEY.public.verifies(signature, b"message") is False


def test_a_signature_has_one_form() -> None:
    """A signature in another notation is invalid, even with the same value."""
    signature = KEY.sign(b"message")
    for other in (signature.upper(), f" {signature}", f"{signature[:2]} {signature[2:]}", f"{signature}\n"):
        assert not KEY.public.verifies(other, b"message")


def test_each_master_key_has_its_own_signing_key() -> None:
    """The signing key follows from the master key alone, by HKDF, and differs for each."""
    again = SigningKey(MasterKey(bytes(range(32))))
    assert again.public.raw == KEY.public.raw != OTHER.public.raw
    assert again.public.signer == KEY.public.signer != OTHER.public.signer
    seed = hkdf(bytes(range(32)), info=b"secret-manager audit signing", size=32)
    assert MASTER_KEY.derive(b"secret-manager audit signing") == seed


def test_no_representation_shows_a_signing_key() -> None:
    """The `repr` of a signing key, as in debuggers and logs, shows neither it nor the master key."""
    seed = MASTER_KEY.derive(b"secret-manager audit signing")
    for shown in (repr(KEY), str(KEY), repr(vars(KEY)), repr(KEY.public)):
        for secret in (bytes(range(32)), seed):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_a_key_is_read_back_from_hexadecimal() -> None:
    """A stored verifying key is the same when it is read."""
    key = VerifyingKey.of(KEY.public.raw.hex())
    assert key is not None
    assert (key.raw, key.signer) == (KEY.public.raw, KEY.public.signer)


@pytest.mark.parametrize("text", [value for value in GARBAGE if value != "ab" * 32], ids=repr)
def test_garbage_is_no_key(text: object) -> None:
    """Garbage in place of a stored key is not a key, and never an error."""
    assert VerifyingKey.of(text) is None


def test_keys_are_read_from_a_bundle() -> None:
    """A PEM file may contain several keys, in order, with text around them."""
    bundle = f"current\n{KEY.public.pem()}\nuntil 2026: {OTHER.public.pem()}the end\n"
    read = VerifyingKey.from_pem(bundle.replace("until 2026: ", "until 2026:\n").encode())
    assert [key.signer for key in read] == [KEY.public.signer, OTHER.public.signer]
    assert [key.raw for key in VerifyingKey.from_pem(KEY.public.pem().encode())] == [KEY.public.raw]


def other_pem() -> str:
    key = generate_private_key(SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


#: Valid DER of an unknown algorithm.
UNKNOWN = "-----BEGIN PUBLIC KEY-----\nMA0wBQYDKwYBAwQAAAAA\n-----END PUBLIC KEY-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "bundle",
    [
        "",
        "garbage",
        KEY.public.pem()[:60],
        KEY.public.pem().replace("MC", "AA"),
        KEY.public.pem() + other_pem(),
        KEY.public.pem() + UNKNOWN,
        KEY.public.pem() + PRIVATE,
    ],
    ids=["empty", "garbage", "cut off", "broken", "another kind", "unknown kind", "private"],
)
def test_any_other_bundle_is_refused(bundle: str) -> None:
    """A file without a key, or with a key of another kind, is refused, not read as fewer keys."""
    with pytest.raises(ValueError, match=r"."):
        VerifyingKey.from_pem(bundle.encode())


def test_endorsements_name_their_key() -> None:
    """An endorsement of one key is valid for no other, and is not the signature of an entry or checkpoint."""
    assert KEY.public.endorsement != OTHER.public.endorsement
    assert KEY.public.endorsement.startswith(b"secret-manager audit key ")
