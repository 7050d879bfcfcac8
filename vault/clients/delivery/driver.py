"""The driver: from a request of Docker to the value for the task, or to the reason why it gets none."""

import logging
from base64 import b64encode
from time import monotonic
from typing import Any

from vault.clients.delivery import policy, values
from vault.clients.delivery.cache import EncryptedCache
from vault.clients.delivery.client import Client, Fetch, TokenFile
from vault.clients.delivery.deliveries import Deliveries
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.outcomes import ForbiddenError, NotDeliveredError, Outcome
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import DeliveryRequest, Reference

logger = logging.getLogger(__name__)

#: Time for a call: Docker has its reply within 2 s.
_CALL_SECONDS = 1.8

#: The name of the secret in whose place each service gets a reference to its canary, if decoys are on.
DECOYS = "canaries"
#: The folder of these canaries: anyone who follows a reference can have the name described.
_DECOYS_FOLDER = "service-accounts/"


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
        self._policy = policy
        self._metrics = metrics
        self._decoys = DECOYS if has_decoys else None
        self._deliveries = Deliveries(service, token, cache=cache, metrics=metrics)

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
            shown["recorded"] = self._deliveries.record(Fetch(reference, task, str(error)), end=end)
            raise
        fetch = Fetch(reference, task)
        if reference.name == self._decoys:
            # A name for each service, so that a read of the canary names the source of the leak.
            fetch = Fetch(Reference(name=f"{_DECOYS_FOLDER}{task.service}"), task, is_decoy=True)
        fetched, outcome = self._deliveries.fetched(fetch, end=end)
        shown |= {"version": fetched.version, "request_id": fetched.request_id}
        return values.content(fetched.value, selection), outcome
