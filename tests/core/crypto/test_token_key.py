"""The hashes and seals of tokens, and the storage of their key."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.core.crypto.reference import hkdf
from vault.common.errors import DecryptionError
from vault.core.crypto import Binding, Keyring, MasterKey
from vault.core.crypto.token_key import TokenKey, TokenKeyBinding

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "token-1.json").read_text()
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_stored_tokens_stay_valid(vector: dict[str, Any]) -> None:
    """A stored token can be found and verified permanently."""
    key = TokenKey(bytes.fromhex(vector["token_key"]))
    assert key.hash(vector["token"]) == vector["hash"]
    assert key.sealed(vector["record"], vector["seal"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_follow_from_the_description(vector: dict[str, Any]) -> None:
    """Hash and seal are HMAC-SHA256 after a purpose each, over the token and over canonical JSON."""
    key = bytes.fromhex(vector["token_key"])
    fields = sorted(vector["record"].items())
    record = (
        "{" + ",".join(f'"{name}":{json.dumps(value, separators=(",", ":"))}' for name, value in fields) + "}"
    )
    for purpose, message, expected in (
        (b"secret-manager token\x00", vector["token"], vector["hash"]),
        (b"secret-manager token record\x00", record, vector["seal"]),
    ):
        assert hmac.new(key, purpose + message.encode(), hashlib.sha256).hexdigest() == expected


def test_the_secret_of_a_webhook_follows_from_the_key() -> None:
    """The signing secret of a webhook stays the same permanently: receivers keep it."""
    key = bytes.fromhex(VECTORS[0]["token_key"])
    expected = hmac.new(key, b"secret-manager webhook secret\x000f8b", hashlib.sha256).digest()
    assert TokenKey(key).webhook_secret("0f8b") == expected


def test_another_key_finds_and_seals_nothing() -> None:
    """Without the token key, neither a hash nor a seal can be computed."""
    one, other = (TokenKey(TokenKey.new_material()) for _ in range(2))
    assert one.hash("smt_x") != other.hash("smt_x")
    seal = one.seal({"a": 1})
    assert one.sealed({"a": 1}, seal)
    assert not other.sealed({"a": 1}, seal)
    for record in ({"a": 2}, {"a": "1"}, {"a": 1.0}, {"b": 1}, {}):
        assert not one.sealed(record, seal)


def test_the_token_key_cannot_be_read_as_a_secret(keyring: Keyring) -> None:
    """The token key's envelope cannot be fetched as a secret, nor the reverse."""
    # Even with a binding that gives the same salt.
    binding = Binding(secret_id="", version=0, namespace="")
    envelope = keyring.encrypt(b"the token key", TokenKeyBinding())
    with pytest.raises(DecryptionError):
        keyring.decrypt(envelope, [binding])
    with pytest.raises(DecryptionError):
        keyring.decrypt(keyring.encrypt(b"a secret", binding), [TokenKeyBinding()])
    assert keyring.decrypt(envelope, [TokenKeyBinding()])[0] == b"the token key"


def test_no_representation_shows_a_key() -> None:
    """The `repr` of the token key, as in debuggers and logs, does not show it."""
    material = MasterKey(bytes(range(32))).derive(b"test")
    shown = repr(TokenKey(material))
    assert material.hex() not in shown
    assert repr(material) not in shown


def test_a_stored_token_key_stays_readable() -> None:
    """An existing envelope of format 3 stays readable permanently."""
    file = Path(__file__).parents[2] / "vectors" / "token-key-3.json"
    vector = {name: bytes.fromhex(value) for name, value in json.loads(file.read_text()).items()}
    keyring = Keyring(MasterKey(vector["master_key"]))
    assert keyring.decrypt(vector["envelope"], [TokenKeyBinding()])[0] == vector["token_key"]


def test_the_stored_token_key_follows_from_the_description() -> None:
    """Format 3 is format byte, key ID, nonce and AES-256-GCM, with a key for this purpose alone."""
    file = Path(__file__).parents[2] / "vectors" / "token-key-3.json"
    vector = {name: bytes.fromhex(value) for name, value in json.loads(file.read_text()).items()}
    header = b"\x03" + hkdf(vector["master_key"], info=b"secret-manager key id", size=8)
    envelope = vector["envelope"]
    assert envelope[:9] == header
    key = hkdf(vector["master_key"], info=b"secret-manager token key", size=32)
    assert AESGCM(key).decrypt(envelope[9:21], envelope[21:], header) == vector["token_key"]


def test_a_credential_is_for_the_holder_of_its_session() -> None:
    """Neither another session nor another token key decrypts a credential, or has its form token."""
    one, other = (TokenKey(TokenKey.new_material()) for _ in range(2))
    encrypted = one.encrypt_credential("smt_x", "session")
    assert encrypted != one.encrypt_credential("smt_x", "session")
    assert one.decrypt_credential(encrypted, "session") == "smt_x"
    for key, session in ((one, "other"), (other, "session")):
        with pytest.raises(InvalidTag):
            key.decrypt_credential(encrypted, session)
        assert key.form_token(session) != one.form_token("session")
