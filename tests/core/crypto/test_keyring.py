"""The key that encrypts and the keys that decrypt."""

import pytest

from vault.common.errors import DecryptionError
from vault.core.crypto import Binding, Keyring, MasterKey

OLD, NEW, FOREIGN = (MasterKey(bytes([number]) * 32) for number in (1, 2, 3))
BINDING = Binding(secret_id="550e8400-e29b-41d4-a716-446655440000", version=1, namespace="default")


def test_the_primary_key_encrypts() -> None:
    """A new envelope names the primary key, not a fallback."""
    envelope = Keyring(NEW, [OLD]).encrypt(b"value", BINDING)
    assert envelope[1:9].hex() == NEW.id


def test_fallback_keys_decrypt() -> None:
    """A value of the previous key stays readable while that key is a fallback."""
    envelope = Keyring(OLD).encrypt(b"value", BINDING)
    assert Keyring(NEW, [OLD]).decrypt(envelope, [BINDING])[0] == b"value"


def test_a_missing_key_decrypts_nothing() -> None:
    """A value whose key was dropped is refused like any other that does not verify."""
    envelope = Keyring(OLD).encrypt(b"value", BINDING)
    with pytest.raises(DecryptionError):
        Keyring(NEW, [FOREIGN]).decrypt(envelope, [BINDING])


def test_a_keyring_finds_its_keys_by_id() -> None:
    """A keyring finds each key by its ID and holds it once."""
    keyring = Keyring(NEW, [OLD, NEW])
    assert OLD.id in keyring
    assert FOREIGN.id not in keyring
    assert [key.id for key in keyring] == [NEW.id, OLD.id]


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    """A master key that is not 32 bytes long is never used, not even stretched."""
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKey(bytes(size))


def test_no_representation_shows_a_key() -> None:
    """The `repr` of a keyring, as in debuggers and logs, contains no key."""
    material = bytes(range(100, 132))
    for shown in (repr(MasterKey(material)), repr(Keyring(MasterKey(material)))):
        assert material.hex() not in shown
        assert repr(material)[2:-1] not in shown
        assert MasterKey(material).id in shown


@pytest.mark.promise(1)
def test_each_purpose_has_its_own_key() -> None:
    """Keys derived for different purposes or with different salts are unrelated."""
    derived = {OLD.derive(b"a"), OLD.derive(b"b"), OLD.derive(b"a", salt=b"1"), NEW.derive(b"a")}
    assert len(derived) == 4
