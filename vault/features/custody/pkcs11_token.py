"""The child process of the scheme `pkcs11`: a token whose key cannot be extracted.

A blob is a byte for the mechanism, and the ciphertext: AES-256-GCM after its nonce, or RSA-OAEP.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from vault.common.processes import harden

if __name__ == "__main__":
    # Before the other modules are loaded: other processes of this user could attach to this one.
    harden()

import pkcs11
from pkcs11 import MGF, Attribute, GCMParams, Mechanism, ObjectClass, TokenFlag

from vault.features.custody.device import Operation, serve
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError

_AES, _RSA = b"\1", b"\2"
_NONCE_BYTES = 12
# SHA-1, as some tokens have no other hash for OAEP. Nothing here depends on its resistance to collisions.
_OAEP = (Mechanism.SHA_1, MGF.SHA1, None)
_URI = re.compile(r"pkcs11:(?:[a-z]+=[A-Za-z0-9\-._~%:@!$'()*+,=&/]*(?:;|$))+")
_LOCKING = TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED

#: Errors that can pass by themselves.
_TRANSIENT = (
    *(pkcs11.DeviceError, pkcs11.DeviceMemory, pkcs11.DeviceRemoved, pkcs11.HostMemory),
    *(pkcs11.NoSuchToken, pkcs11.SessionClosed, pkcs11.SessionCount, pkcs11.SessionHandleInvalid),
    *(pkcs11.TokenNotPresent, pkcs11.FunctionCancelled, pkcs11.FunctionFailed, pkcs11.GeneralError),
)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors as those of custody."""
    try:
        yield
    except _TRANSIENT as error:
        raise CustodyUnavailableError(f"the token does not answer: {type(error).__name__}") from None
    except pkcs11.PKCS11Error as error:
        raise CustodyRefusedError(f"the token refused: {type(error).__name__}") from None


class Token:
    """The token of a module, with at most one login for each token in this process."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._module = settings.get("PKCS11_MODULE", "")
        self._pin = settings.get("PKCS11_PIN", "")
        self._sessions: dict[str, Any] = {}

    @_translated()
    def wrap(self, kek: str, material: bytes, context: bytes) -> bytes:
        """Return *material* wrapped by the key that the URI *kek* names."""
        session, label = self._session(kek)
        key = _found(session, label, ObjectClass.SECRET_KEY)
        if key is not None:
            nonce = os.urandom(_NONCE_BYTES)
            parameters = GCMParams(nonce, context)
            made = key.encrypt(material, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
            return _AES + nonce + bytes(made)
        key = _found(session, label, ObjectClass.PUBLIC_KEY)
        if key is None:
            raise CustodyRefusedError("the token has no such key")
        return _RSA + bytes(key.encrypt(material, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_OAEP))

    @_translated()
    def unwrap(self, kek: str, blob: bytes, context: bytes) -> bytes:
        """Return the key that `wrap` wrapped."""
        session, label = self._session(kek)
        kinds = {_AES: ObjectClass.SECRET_KEY, _RSA: ObjectClass.PRIVATE_KEY}
        key = _found(session, label, kinds[blob[:1]]) if blob[:1] in kinds else None
        if key is None:
            raise CustodyRefusedError("the token has no such key")
        if blob[:1] == _RSA:
            return _decrypted(key, blob[1:], Mechanism.RSA_PKCS_OAEP, _OAEP)
        nonce, rest = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        return _decrypted(key, rest, Mechanism.AES_GCM, GCMParams(nonce, context))

    def _session(self, kek: str) -> tuple[Any, dict[Attribute, Any]]:
        """Return the session of the token, after its only login, and the attributes of the key."""
        if not _URI.fullmatch(kek):
            raise CustodyRefusedError("the KEK is not a URI such as pkcs11:token=NAME;object=NAME")
        parts = dict(part.split("=", 1) for part in kek.removeprefix("pkcs11:").split(";") if part)
        label, key_id, token = parts.pop("object", ""), parts.pop("id", ""), parts.pop("token", "")
        if parts or not token or not (label or key_id):
            raise CustodyRefusedError("the URI needs token and object or id, and may have nothing else")
        named: dict[Attribute, Any] = {Attribute.LABEL: unquote(label)} if label else {}
        named |= {Attribute.ID: unquote_to_bytes(key_id)} if key_id else {}
        name = unquote(token)
        if name not in self._sessions:
            found = self._library().get_token(token_label=name)
            if not self._pin:
                raise CustodyRefusedError("PKCS11_PIN is unset")
            # Until a session is open: a refused PIN is not tried again.
            self._sessions[name] = None
            self._sessions[name] = self._login(found)
        if self._sessions[name] is None:
            raise CustodyRefusedError("the token refused the PIN before; it is not tried again")
        return self._sessions[name], named

    def _library(self) -> Any:
        try:
            return pkcs11.lib(self._module)
        except pkcs11.PKCS11Error:
            raise CustodyRefusedError("PKCS11_MODULE is unset, or no PKCS#11 library") from None

    def _login(self, token: Any) -> Any:
        if token.flags & _LOCKING:
            raise CustodyRefusedError("the token has locked, or would at a wrong PIN: log in by hand")
        return token.open(user_pin=self._pin)


def _found(session: Any, named: dict[Attribute, Any], kind: ObjectClass) -> Any:
    wanted = {Attribute.CLASS: kind, **named}
    if kind is not ObjectClass.PUBLIC_KEY:
        # Anyone without the PIN can add public keys, whose value is known, or which make the name ambiguous.
        wanted[Attribute.PRIVATE] = True
    keys = list(session.get_objects(wanted))
    if len(keys) > 1:
        raise CustodyRefusedError("several keys of the token have this name")
    return keys[0] if keys else None


def _decrypted(key: Any, content: bytes, mechanism: Mechanism, parameters: Any) -> bytes:
    try:
        return bytes(key.decrypt(content, mechanism=mechanism, mechanism_param=parameters))
    except (pkcs11.FunctionFailed, pkcs11.GeneralError) as error:
        # Some tokens, such as SoftHSM's, say this of a forged ciphertext.
        raise CustodyRefusedError(f"the token refused: {type(error).__name__}") from None


def connect(settings: dict[str, str]) -> Mapping[str, Operation]:
    """Return the operations of the token of *settings*."""
    token = Token(settings)
    return {"wrap": token.wrap, "unwrap": token.unwrap}


if __name__ == "__main__":
    serve(connect)
