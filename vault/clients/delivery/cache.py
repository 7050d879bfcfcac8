"""Cache: values while the service is unavailable, encrypted in memory under a key of the process."""

import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: The maximum size of all entries.
_MAX_BYTES = 32 * 1_048_576
#: Added to the size of each entry for everything except its value.
_ENTRY_BYTES = 1_024
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version of a secret, as the service returned it."""

    version: int
    value: bytes = field(repr=False)
    #: The ID of the request that fetched it, which its audit entry has, too.
    request_id: str
    #: The ID of the secret, and its name if it has one.
    references: frozenset[str] = field(default=frozenset(), repr=False)


class _Entry(NamedTuple):
    since: float
    version: int
    request_id: str
    references: frozenset[str]
    nonce: bytes
    ciphertext: bytes

    @property
    def size(self) -> int:
        return _ENTRY_BYTES + len(self.ciphertext)


class EncryptedCache:
    """Values for *seconds* after their fetch, in bounded memory; the oldest are evicted first.

    With 0 *seconds*, it keeps nothing.
    """

    def __init__(self, seconds: float, *, max_bytes: int = _MAX_BYTES) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._lock = Lock()
        self._entries: dict[Hashable, _Entry] = {}
        self._size = 0

    def get(self, key: Hashable) -> Fetched | None:
        """Return the value for *key*, unless it is too old."""
        entry = self._entries.get(key)
        if entry is None or monotonic() - entry.since >= self._seconds:
            return None
        value = self._cipher.decrypt(entry.nonce, entry.ciphertext, None)
        return Fetched(entry.version, value, entry.request_id, entry.references)

    def put(self, key: Hashable, fetched: Fetched, *, since: float) -> None:
        """Store a value for *key*. *since* is the monotonic time just before the fetch."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, fetched.value, None)
        entry = _Entry(since, fetched.version, fetched.request_id, fetched.references, nonce, ciphertext)
        with self._lock:
            self._remove(key)
            self._entries[key] = entry
            self._size += entry.size
            self._evict()

    def drop(self, reference: str) -> None:
        """Remove the values of the secret with this ID or name, by whatever key."""
        with self._lock:
            for key, entry in tuple(self._entries.items()):
                if reference in entry.references:
                    self._remove(key)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _evict(self) -> None:
        """Remove entries that are too old, and the oldest until the rest fits."""
        limit = monotonic() - self._seconds
        for key, entry in tuple(self._entries.items()):
            if entry.since > limit and self._size <= self._max_bytes:
                return
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        if entry := self._entries.pop(key, None):
            self._size -= entry.size
