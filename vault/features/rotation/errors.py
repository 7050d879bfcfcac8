"""Refusals of rotations of passwords at their sources."""

from typing import ClassVar

from vault.core.errors.base import MissingError, RefusedInputError
from vault.core.errors.refusal import Refusal


class RotationExistsError(RefusedInputError):
    """The secret of a new rotation plan has one, or one is pending; the message says which."""

    refusal: ClassVar = Refusal(
        409,
        "Rotation plan exists",
        page="The secret has a rotation plan, or one is being created. Delete it first.",
    )


class RotationNotFoundError(MissingError):
    """No secret that the principal can reach has a rotation plan with this name."""

    message = "Rotation plan not found"
    refusal: ClassVar = Refusal(
        404,
        "Rotation plan not found",
        page="No secret with this name, in the caller's namespace and paths, has a plan.",
        hint="run `secret-manager rotation list` to see all plans",
    )


class RotationRefusedError(RefusedInputError):
    """A secret cannot be rotated as its plan says; the message says why."""

    #: The rotation of a swarm's secret has the other name.
    kind = "plan_refused"
    refusal: ClassVar = Refusal(
        422,
        "Plan refused",
        page=(
            "The secret cannot be rotated like this, as the detail says. Its value must be a JSON object "
            "with the texts username and password, and the user one of the two of the plan."
        ),
    )


class RotationBusyError(RefusedInputError):
    """A rotation cannot start now; the message says why."""

    refusal: ClassVar = Refusal(
        409,
        "Rotation in progress",
        page=(
            "A rotation of this secret is in progress, or its former password is still open for its holders. "
            "Show the plan to see the end."
        ),
    )


class RotationFailedError(RefusedInputError):
    """The source of a password did not do a step of a rotation; the message says which and why."""

    kind = "source_failed"
    refusal: ClassVar = Refusal(
        424,
        "Source failed",
        page=(
            "The source did not do a step of the rotation, as the detail says. The published password stays "
            "valid, and the service tries again, less and less often."
        ),
    )
