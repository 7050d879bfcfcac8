"""Values under a passphrase: in the documented form, and only under what they are bound to."""

import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.features.links.passphrase import Cipher, new_salt, salt_of

BOUND_TO = b"secret-manager share\x00id"


def test_the_form_is_as_documented() -> None:
    """Another implementation of scrypt and AES-GCM reads what `encrypt` writes, and salts differ."""
    salt = new_salt()
    assert len({salt, new_salt()}) == 2
    encrypted = Cipher("corre\u0301ct", salt).encrypt(b"value", BOUND_TO)
    assert salt_of(encrypted) == encrypted[:16] == salt
    key = hashlib.scrypt("corréct".encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    assert AESGCM(key).decrypt(encrypted[16:28], encrypted[28:], BOUND_TO) == b"value"


def test_a_value_needs_its_passphrase_and_its_binding() -> None:
    """With another passphrase, salt, binding or ciphertext, there is no value."""
    cipher = Cipher("right", b"s" * 16)
    encrypted = cipher.encrypt(b"value", BOUND_TO)
    assert cipher.decrypt(encrypted, BOUND_TO) == b"value"
    assert cipher.decrypt(encrypted, BOUND_TO + b"x") is None
    assert cipher.decrypt(encrypted[:-1] + bytes([encrypted[-1] ^ 1]), BOUND_TO) is None
    for other in (Cipher("Right", b"s" * 16), Cipher("right", b"t" * 16)):
        assert other.decrypt(encrypted, BOUND_TO) is None
