"""The password in the value of a secret, new passwords, and the server of an administrator's URL."""

import json
import re
import secrets
import string
from dataclasses import dataclass, field

from vault.features.rotation.errors import RotationRefusedError

#: The member of a value that has the password.
PASSWORD = "password"  # noqa: S105 - a name
_USERNAME = "username"

#: Needs no quotes in shells, URLs and files. 32 characters are the seed of a key of Ed25519, see
#: `vault.features.rotation.sources.mysql`.
_ALPHABET = string.ascii_letters + string.digits + "-_"
PASSWORD_LENGTH = 32

#: Only if no parser of URLs can find the host elsewhere: a driver ends it at another character than others.
_USER_AND_PASSWORD = re.compile("(?<=://)[^/?#@]*@")


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and its password. The user is None if the value of the secret does not name it."""

    user: str | None
    password: str = field(repr=False)


def new_password() -> str:
    """Return 32 characters: small and large letters, digits, hyphens or underscores, some of each kind."""
    while True:
        text = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))
        kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_")
        if all(any(character in kind for character in text) for kind in kinds):
            return text


def credential(value: bytes, member: str | None) -> Credential:
    """Return the credential in the *value* of a secret, which is the password alone if there is a *member*.

    Raises:
        RotationRefusedError: The value has another form.
    """
    if member is not None:
        try:
            return Credential(None, value.decode())
        except UnicodeDecodeError:
            raise RotationRefusedError("The value of the secret is not a text.") from None
    content = _object(value)
    user, password = content.get(_USERNAME), content.get(PASSWORD)
    if not isinstance(user, str) or not isinstance(password, str):
        raise RotationRefusedError(_FORM)
    return Credential(user, password)


def changed(value: bytes, member: str | None, new: Credential) -> bytes:
    """Return *value* with the *new* credential; other members stay. Errors as `credential`."""
    if member is not None:
        return new.password.encode()
    content = _object(value) | {_USERNAME: new.user, PASSWORD: new.password}
    return _json(content)


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


_FORM = "The value of the secret is not a JSON object with the texts username and password."


def _object(value: bytes) -> dict[str, object]:
    try:
        content = json.loads(value)
        # A run must be able to write what it reads: numbers beyond floats, halves of characters.
        _json(content)
    except (RecursionError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise RotationRefusedError(_FORM)
    return content


def server_of(url: str) -> str:
    """Return an administrator's *url* without its user and password; the path of a program stays whole.

    Options stay, too: some name a host.
    """
    return _USER_AND_PASSWORD.sub("", url.strip(), count=1)
