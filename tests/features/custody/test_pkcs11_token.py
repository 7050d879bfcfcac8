"""The flags and errors of tokens that SoftHSM never has, and an unset PIN."""

from typing import Any

import pkcs11
import pytest
from pkcs11 import TokenFlag

from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.pkcs11_token import Token, connect


class Locking:
    """A module with a token of these flags."""

    def __init__(self, flags: TokenFlag) -> None:
        self.flags = flags
        self.logins: list[str] = []

    def get_token(self, **_: str) -> "Locking":
        """Return the token, which is the same object."""
        return self

    def open(self, *, user_pin: str) -> Any:
        """Count a login."""
        self.logins.append(user_pin)


@pytest.mark.promise(7)
@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_FINAL_TRY, TokenFlag.USER_PIN_LOCKED])
def test_a_pin_that_would_lock_is_not_tried(flag: TokenFlag, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login risks the lock of a token."""
    token = Locking(flag)
    monkeypatch.setattr(pkcs11, "lib", lambda _module: token)
    for _ in range(2):
        with pytest.raises(CustodyRefusedError):
            Token({"PKCS11_PIN": "1234"}).unwrap("pkcs11:token=sm;object=kek-1", b"\1", b"")
    assert token.logins == []


def test_a_module_that_is_no_library_is_named() -> None:
    """A module that cannot be loaded is a refusal that names its setting."""
    for settings in ({}, {"PKCS11_MODULE": __file__}):
        with pytest.raises(CustodyRefusedError, match="PKCS11_MODULE is unset, or no PKCS#11 library"):
            Token(settings).unwrap("pkcs11:token=sm;object=kek-1", b"\1", b"")


@pytest.mark.promise(7)
def test_an_unset_pin_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a PIN there is no login, which would be a wrong one."""
    token = Locking(TokenFlag.LOGIN_REQUIRED)
    monkeypatch.setattr(pkcs11, "lib", lambda _module: token)
    with pytest.raises(CustodyRefusedError, match="PKCS11_PIN is unset"):
        Token({}).unwrap("pkcs11:token=sm;object=kek-1", b"\1", b"")
    assert token.logins == []


class Failing:
    """A module whose token, or whose key, fails in general."""

    flags = TokenFlag(0)

    def __init__(self, *, only_decrypts_badly: bool) -> None:
        self._only_decrypts_badly = only_decrypts_badly

    def get_token(self, **_: str) -> "Failing":
        """Return the token, or fail."""
        if not self._only_decrypts_badly:
            raise pkcs11.GeneralError
        return self

    def open(self, **_: str) -> "Failing":
        """Return the session, which is the same object."""
        return self

    def get_objects(self, _: object) -> list["Failing"]:
        """Return the key, which is the same object."""
        return [self]

    def decrypt(self, _: bytes, **__: object) -> bytes:
        """Fail."""
        raise pkcs11.GeneralError


@pytest.mark.parametrize("only_decrypts_badly", [False, True])
def test_a_general_error_is_a_refusal_only_of_a_ciphertext(
    monkeypatch: pytest.MonkeyPatch, *, only_decrypts_badly: bool
) -> None:
    """A token that fails in general is asked again; one that says so of a ciphertext refuses it."""
    module = Failing(only_decrypts_badly=only_decrypts_badly)
    monkeypatch.setattr(pkcs11, "lib", lambda _module: module)
    error = CustodyRefusedError if only_decrypts_badly else CustodyUnavailableError
    for blob in (b"\1", b"\2"):
        with pytest.raises(error, match="GeneralError"):
            connect({"PKCS11_PIN": "1234"})["unwrap"]("pkcs11:token=sm;object=kek-1", blob, b"")
