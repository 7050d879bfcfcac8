"""Deliveries: the values of secrets, by requests that concurrent calls share, or from the cache."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from time import monotonic, sleep

from vault.clients.delivery.cache import EncryptedCache, Fetched
from vault.clients.delivery.client import Client, Fetch, TokenFile
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.outcomes import (
    DeniedError,
    LargeValueError,
    NotDeliveredError,
    Outcome,
    UnavailableError,
)
from vault.clients.delivery.selection import Reference
from vault.common import deadline
from vault.common.batching import Batcher
from vault.common.errors import OverloadedError, StorageUnavailableError
from vault.common.limits import MAX_ITEMS

logger = logging.getLogger(__name__)

#: A shared request waits until no delivery has been asked for during this time …
_QUIET_SECONDS = 0.03
#: … but hardly longer than this.
_MAX_GATHERING_SECONDS = 0.25


#: Fetches that share requests, each with its value or its error.
_Fetches = Batcher[Fetch, Fetched | NotDeliveredError]


class Deliveries:
    """Fetches from the *service* with the current *token*."""

    def __init__(self, service: Client, token: TokenFile, *, cache: EncryptedCache, metrics: Metrics) -> None:
        self._service = service
        self._token = token
        self._cache = cache
        self._metrics = metrics
        self._batches: _Fetches = Batcher(
            self._fetch, gather=self._gather, queue="fetches", max_batch=MAX_ITEMS
        )
        #: For decoys, and for values that are too large for a batch.
        self._single: _Fetches = Batcher(self._fetch, gather=self._gather, queue="fetches", max_batch=1)

    def record(self, fetch: Fetch, *, end: float) -> bool:
        """Put the refusal of *fetch* on record until *end*, a monotonic time; return whether that is done."""
        try:
            _call(self._batches, fetch, end=end)
        except DeniedError:
            # As it asks for.
            return True
        except NotDeliveredError:
            pass
        return False

    def fetched(self, fetch: Fetch, *, end: float) -> tuple[Fetched, Outcome]:
        """Return the value of *fetch* until *end*, a monotonic time, and DELIVERED or CACHED.

        Raises:
            NotDeliveredError: The service and the cache do not have it.
        """
        # With another token, there can be other rights.
        key = _key(self._token.read(), fetch.reference)
        began = monotonic()
        try:
            fetched = self._call(fetch, end=end)
        except UnavailableError:
            if found := self._cache.get(key):
                return found, Outcome.CACHED
            raise
        except DeniedError:
            # By every reference: it may be cached by another one, or another version of it.
            self._cache.drop(fetch.reference.name or fetch.reference.secret_id)
            raise
        self._cache.put(key, fetched, since=began)
        return fetched, Outcome.DELIVERED

    def _call(self, fetch: Fetch, *, end: float) -> Fetched:
        if not fetch.is_decoy:
            with suppress(LargeValueError):
                return _call(self._batches, fetch, end=end)
        return _call(self._single, fetch, end=end)

    def _gather(self) -> None:
        end, before = monotonic() + _MAX_GATHERING_SECONDS, -1
        while before < self._batches.waiting < MAX_ITEMS and monotonic() < end:
            before = self._batches.waiting
            sleep(_QUIET_SECONDS)

    def _fetch(self, fetches: Sequence[Fetch]) -> Sequence[Fetched | NotDeliveredError]:
        is_answered = False
        try:
            found = self._service.fetch(fetches)
            is_answered = True
        except DeniedError:
            # The token, or a scope of it, is revoked, for all secrets.
            self._cache.clear()
            raise
        except NotDeliveredError:
            raise
        except Exception:
            logger.exception("a batch failed")
            raise NotDeliveredError("the driver has a defect; its log says where") from None
        finally:
            self._metrics.batch(len(fetches), is_answered=is_answered)
        return found


def _call(fetches: _Fetches, fetch: Fetch, *, end: float) -> Fetched:
    """Return the value of *fetch*, until *end*, a monotonic time.

    Raises:
        UnavailableError: The service did not answer in time.
        NotDeliveredError: It failed.
    """
    try:
        with deadline.Within(end - monotonic()):
            # Never in the thread of a caller: a look-up of a host can take longer than a caller may wait.
            [found] = fetches.start([fetch])()
    except OverloadedError:
        raise UnavailableError("the driver cannot start a thread") from None
    except StorageUnavailableError:
        # Not fetched, unless its request is in progress: no entry of the audit trail says that it was.
        raise UnavailableError("the service did not answer in time") from None
    if isinstance(found, NotDeliveredError):
        raise found
    return found


def _key(token: str, reference: Reference) -> bytes:
    return sha256(json.dumps([token, reference.body()]).encode()).digest()
