"""Refusals of rotations of passwords at their sources."""

from vault.common.errors.base import MissingError, Refusal, RefusedInputError


class RotationExistsError(RefusedInputError):
    """The secret has a rotation plan, or one is being created. Delete it first."""

    refusal = Refusal(409, "Rotation plan exists")


class RotationNotFoundError(MissingError):
    """No secret with this name, in the caller's namespace and paths, has a plan."""

    message = "Rotation plan not found"
    refusal = Refusal(
        404, "Rotation plan not found", hint="run `secret-manager rotation list` to see all plans"
    )


class RotationRefusedError(RefusedInputError):
    """The secret cannot be rotated like this, as the detail says.

    Its value must be a JSON object with the texts username and password, and the user one of the two of
    the plan.
    """

    #: The rotation of a swarm's secret has the other name.
    kind = "plan_refused"
    refusal = Refusal(422)


class RotationBusyError(RefusedInputError):
    """A rotation of this secret is in progress, or its former password is still open for its holders.

    Show the plan to see the end.
    """

    refusal = Refusal(409, "Rotation in progress")


class RotationFailedError(RefusedInputError):
    """The source did not do a step of the rotation, as the detail says.

    The published password stays valid, and the service tries again, less and less often.
    """

    kind = "source_failed"
    refusal = Refusal(424)
