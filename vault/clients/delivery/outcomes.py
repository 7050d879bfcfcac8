"""Outcomes of deliveries, and the errors that keep a task from its secret."""

from enum import StrEnum
from typing import ClassVar

from vault.common.errors import VaultError


class Outcome(StrEnum):
    """The outcome of a delivery, by its name in logs and metrics."""

    #: The service returned the value.
    DELIVERED = "delivered"
    #: The service was unavailable, and the cache had the value.
    CACHED = "cached"
    #: Docker's request or the labels of the secret are invalid.
    INVALID = "invalid"
    #: The policy does not allow it.
    FORBIDDEN = "forbidden"
    #: The service refused it.
    REFUSED = "refused"
    #: The value lacks the field, is encoded differently, or has a size that Docker does not take.
    UNSUITABLE = "unsuitable"
    #: The service was unavailable, or did not answer in time.
    UNAVAILABLE = "unavailable"
    #: The driver has no token, or a defect.
    FAILED = "failed"


class NotDeliveredError(VaultError):
    """A task does not get its secret; the message says why, for Docker's log and the driver's own."""

    kind = "not_delivered"
    delivery: ClassVar[Outcome] = Outcome.FAILED


class InvalidRequestError(NotDeliveredError):
    """Docker's request, or the labels of the secret, are invalid."""

    kind = "invalid_delivery_request"
    delivery = Outcome.INVALID


class ForbiddenError(NotDeliveredError):
    """The policy does not allow the delivery."""

    kind = "delivery_forbidden"
    delivery = Outcome.FORBIDDEN


class RefusedError(NotDeliveredError):
    """The service refused the fetch."""

    kind = "fetch_refused"
    delivery = Outcome.REFUSED


class DeniedError(RefusedError):
    """The secret, or the right to it, does not exist or no longer exists."""

    kind = "fetch_denied"


class LargeValueError(RefusedError):
    """The value is larger than its share of a batch, and must be fetched alone."""

    kind = "delivery_large_value"


class UnsuitableValueError(NotDeliveredError):
    """The value cannot become the content of a file in a task."""

    kind = "delivery_unsuitable_value"
    delivery = Outcome.UNSUITABLE


class UnavailableError(NotDeliveredError):
    """The service cannot be reached, does not answer in time, or cannot serve for now."""

    kind = "delivery_service_away"
    delivery = Outcome.UNAVAILABLE
