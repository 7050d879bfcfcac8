"""Credentials: from the name of a unit's credential to its value, or to the reason why it has no value."""

import logging
import re
import socket
from threading import Event
from time import monotonic
from typing import Any

from vault.clients.delivery import values
from vault.clients.delivery.client import Fetch
from vault.clients.delivery.deliveries import Deliveries
from vault.clients.delivery.outcomes import NotDeliveredError, Outcome, UnavailableError
from vault.clients.delivery.selection import Selection, Task
from vault.clients.systemd.peer import Peer, identify
from vault.clients.systemd.policy import UnitPolicy

logger = logging.getLogger(__name__)

#: systemd takes 1 MiB for all credentials of a unit, with their names.
_LIMIT_BYTES = 1_048_576
_MAX_NAME_BYTES = 255
_MAX_BYTES = _LIMIT_BYTES - _MAX_NAME_BYTES

#: systemd takes a closed connection for an empty credential, and has no reply for a refusal. Too long a value
#: makes the start of the unit fail.
REFUSAL = bytes(_LIMIT_BYTES + 1)

#: Time for one attempt.
_CALL_SECONDS = 2
_PAUSE_SECONDS = 1

_NODE = re.compile("[!-~]{1,128}")


class Credentials:
    """Credentials by the *policy*; while the service is unavailable, a unit waits for *wait_seconds*."""

    def __init__(
        self, deliveries: Deliveries, policy: UnitPolicy, *, wait_seconds: float, owner: int = 0
    ) -> None:
        """Serve the system's own manager, or with an *owner*, that of the user with this ID."""
        self._deliveries = deliveries
        self._policy = policy
        self._wait_seconds = wait_seconds
        self._owner = owner
        self._is_stopping = Event()
        name = socket.gethostname()
        self._node = name if _NODE.fullmatch(name) else ""

    def stop(self) -> None:
        """Refuse units that wait for the service."""
        self._is_stopping.set()

    def reply(self, connection: socket.socket, address: object) -> bytes:
        """Return the reply to *connection*: the value, or `REFUSAL`."""
        shown: dict[str, Any] = {}
        try:
            peer = identify(connection, address, owner=self._owner)
            shown |= {"unit": peer.unit, "credential": peer.credential}
            value, outcome = self._value(peer, shown)
        except NotDeliveredError as error:
            shown |= {"outcome": error.delivery, "reason": str(error)}
            logger.warning("not delivered", extra=shown)
        except Exception:
            logger.exception("not delivered", extra={**shown, "outcome": Outcome.FAILED})
        else:
            if outcome is Outcome.DELIVERED:
                logger.info("delivered", extra=shown)
            else:
                logger.warning("cached", extra=shown)
            return value
        return REFUSAL

    def _value(self, peer: Peer, shown: dict[str, Any]) -> tuple[bytes, Outcome]:
        selection = self._policy.selection(peer.unit, peer.credential)
        # IDs are not logged: without AUTH_ENABLED, an ID is enough to fetch.
        shown |= {"secret_name": selection.reference.name} if selection.reference.name else {}
        fetch = Fetch(selection.reference, self._task(peer, selection))
        end = monotonic() + self._wait_seconds
        while True:
            try:
                fetched, outcome = self._deliveries.fetched(fetch, end=monotonic() + _CALL_SECONDS)
            except UnavailableError:
                if monotonic() >= end or self._is_stopping.wait(_PAUSE_SECONDS):
                    raise
            else:
                break
        shown |= {"version": fetched.version, "request_id": fetched.request_id}
        part = values.content(fetched.value, selection, max_bytes=_MAX_BYTES, recipient="systemd")
        return part, outcome

    def _task(self, peer: Peer, selection: Selection) -> Task:
        return Task(
            secret=selection.reference.name,
            service=peer.unit,
            service_id="",
            task=peer.credential,
            task_id=peer.connection,
            node=self._node,
            image="",
        )
