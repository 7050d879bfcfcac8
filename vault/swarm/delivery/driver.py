"""The driver: from a request of Docker to the value for the task, or to the reason why it gets none."""

import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from time import monotonic, sleep
from typing import Any

from vault.core import deadline
from vault.core.batching import Batcher
from vault.core.errors import OverloadedError, StorageUnavailableError
from vault.swarm import policy, values
from vault.swarm.delivery.cache import EncryptedCache, Fetched
from vault.swarm.delivery.client import Client, Fetch, TokenFile
from vault.swarm.delivery.metrics import Metrics
from vault.swarm.outcomes import (
    DeniedError,
    ForbiddenError,
    LargeValueError,
    NotDeliveredError,
    Outcome,
    UnavailableError,
)
from vault.swarm.policy import PolicyFile
from vault.swarm.selection import DeliveryRequest, Reference

logger = logging.getLogger(__name__)

#: Time for a call: Docker has its reply within 2 s.
_CALL_SECONDS = 1.8

#: The name of the secret in whose place each service gets a reference to its canary, if decoys are on.
DECOYS = "canaries"
#: The folder of these canaries: anyone who follows a reference can have the name described.
_DECOYS_FOLDER = "service-accounts/"

#: The service takes that many items at a time.
_MAX_ITEMS = 100

#: A shared request waits until no delivery has been asked for during this time …
_QUIET_SECONDS = 0.03
#: … but hardly longer than this.
_MAX_GATHERING_SECONDS = 0.25


#: Fetches that share requests, each with its value or its error.
_Fetches = Batcher[Fetch, Fetched | NotDeliveredError]


class Driver:
    """Docker's secret provider. Without a *policy*, labels and the token decide."""

    def __init__(
        self,
        service: Client,
        token: TokenFile,
        *,
        policy: PolicyFile | None,
        cache: EncryptedCache,
        metrics: Metrics,
        has_decoys: bool = False,
    ) -> None:
        self._service = service
        self._token = token
        self._policy = policy
        self._cache = cache
        self._metrics = metrics
        self._decoys = DECOYS if has_decoys else None
        self._batches: _Fetches = Batcher(
            self._fetch, gather=self._gather, queue="fetches", max_batch=_MAX_ITEMS
        )
        #: For decoys, and for values that are too large for a batch.
        self._single: _Fetches = Batcher(self._fetch, gather=self._gather, queue="fetches", max_batch=1)

    def get_secret(self, body: bytes) -> dict[str, Any]:
        """Return the reply to a request of Docker, within 2 s: the value, or an error."""
        began = monotonic()
        shown: dict[str, Any] = {}
        reply: dict[str, Any]
        try:
            value, outcome = self._value(body, shown, end=began + _CALL_SECONDS)
            reply = {"Value": b64encode(value).decode(), "DoNotReuse": True}
            if outcome is Outcome.DELIVERED:
                logger.info("delivered", extra=shown)
            else:
                logger.warning("cached", extra=shown)
        except NotDeliveredError as error:
            outcome, reply = error.delivery, {"Err": str(error)}
            logger.warning("not delivered", extra={**shown, "outcome": outcome, "reason": str(error)})
        except Exception:
            outcome, reply = Outcome.FAILED, {"Err": "the driver has a defect; its log says where"}
            logger.exception("not delivered", extra={**shown, "outcome": outcome})
        self._metrics.delivery(outcome, monotonic() - began)
        return reply

    def _value(self, body: bytes, shown: dict[str, Any], *, end: float) -> tuple[bytes, Outcome]:
        """Return the value for the task, and DELIVERED or CACHED; add what the log may show to *shown*.

        Raises:
            NotDeliveredError: It gets none.
        """
        request = DeliveryRequest(body)
        task = request.task
        shown |= {"docker_secret": task.secret} | task.context()
        selection = request.selection()
        reference = selection.reference
        # IDs are not logged: without AUTH_ENABLED, an ID is enough to fetch.
        shown |= {"secret_name": reference.name} if reference.name else {}
        try:
            policy.require_labels(selection, task)
            if self._policy:
                self._policy.require(reference, task)
        except ForbiddenError as error:
            shown["recorded"] = self._record(Fetch(reference, task, str(error)), end=end)
            raise
        fetch = Fetch(reference, task)
        if reference.name == self._decoys:
            # A name for each service, so that a read of the canary names the source of the leak.
            fetch = Fetch(Reference(name=f"{_DECOYS_FOLDER}{task.service}"), task, is_decoy=True)
        fetched, outcome = self._fetched(fetch, end=end)
        shown |= {"version": fetched.version, "request_id": fetched.request_id}
        return values.content(fetched.value, selection), outcome

    def _record(self, fetch: Fetch, *, end: float) -> bool:
        try:
            _call(self._batches, fetch, end=end)
        except DeniedError:
            # As it asks for.
            return True
        except NotDeliveredError:
            pass
        return False

    def _fetched(self, fetch: Fetch, *, end: float) -> tuple[Fetched, Outcome]:
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
        while before < self._batches.waiting < _MAX_ITEMS and monotonic() < end:
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
