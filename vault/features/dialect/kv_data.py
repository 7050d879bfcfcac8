"""Values of KV, version 2: as clients write, patch and read them."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from math import inf
from time import monotonic
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge

from vault.common import kv_values
from vault.common.kv_values import Encoded
from vault.common.strict_json import LARGE_BYTES, InvalidJSONError, TooManyPartsError
from vault.core.access.ttl_cache import TTLCache
from vault.core.secrets.items import Fetch
from vault.features.dialect.long_work import pause, value_memory

#: Digests of versions whose values are canonical objects: they are returned as they are. Anyone who can write
#: to MongoDB could forge a mark in the document, and REST stores any bytes.
_canonical: TTLCache[bool] = TTLCache(seconds=inf, max_size=10_000)


def encoded(value: Any) -> bytes:
    """Return *value* as it is stored.

    Raises:
        RequestEntityTooLarge: It has more values or fields than a read accepts.
    """
    text = kv_values.encode(value, pause)
    try:
        # Patches add fields, and numbers can have more digits than in the request.
        if len(text) > LARGE_BYTES:
            kv_values.decode(text, pause)
    except TooManyPartsError as error:
        raise RequestEntityTooLarge(f"The value {error}.") from None
    return text


def shown(item: Fetch) -> Encoded:
    """Return the value that *item* has fetched, as Vault's clients see it.

    Raises:
        OverloadedError: It had to be decoded, and could not be in time.
    """
    digest = _digest(item)
    if _canonical.get(digest):
        return Encoded(item.plaintext.decode())
    with value_memory(len(item.plaintext)):
        text = kv_values.encode(_decoded(item.plaintext), pause)
    if text == item.plaintext:
        _canonical.put(digest, True, since=monotonic())
    return Encoded(text.decode())


def _digest(item: Fetch) -> str:
    """Return the digest of the version that *item* has fetched: not of its value alone.

    Otherwise, the time of a read would show whether another secret has the same value.
    """
    version = f"{item.attempt.secret_id} {item.fetched_version} ".encode()
    digest = sha256(version)
    digest.update(item.plaintext)
    return digest.hexdigest()


def subkeys(item: Fetch, *, depth: int) -> Encoded:
    """Return the keys of the value that *item* has fetched, down to *depth* levels; 0 stands for all.

    Errors as `shown`.
    """
    with value_memory(len(item.plaintext)):
        value = _decoded(item.plaintext)
        return Encoded(kv_values.encode(value and _keys(value, depth), pause).decode())


def patched(plaintext: bytes, patch: bytes) -> bytes:
    """Return a stored value with the merge patch *patch* applied. Errors as `encoded` and `shown`."""
    with value_memory(len(plaintext) + len(patch)):
        change = kv_values.restore(patch, pause)
        return encoded(None if change is None else _merged(_decoded(plaintext), change))


def _decoded(plaintext: bytes) -> Any:
    """Return a stored value as Vault's clients see it: an object, or null.

    A value that is neither, which the REST API has stored, is the one in base64 below the key `secret`.
    """
    try:
        value = kv_values.decode(plaintext, pause)
    except (InvalidJSONError, TooManyPartsError):
        value = ""
    if value is None or isinstance(value, dict):
        return value
    return {"secret": b64encode(plaintext).decode()}


def _merged(value: Any, patch: Any) -> Any:
    """Return *value* with the merge patch *patch* applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, inner in patch.items():
        if inner is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), inner)
    return found


def _keys(value: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return the keys of *value*, down to *depth* levels; 0 stands for all."""
    return {
        name: _keys(inner, depth - 1) if isinstance(inner, dict) and inner and depth != 1 else None
        for name, inner in value.items()
    }
