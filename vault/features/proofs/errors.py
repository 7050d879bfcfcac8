"""Refusals of checkpoints, and by witnesses."""

from vault.common.errors.base import Refusal, RefusedInputError, VaultError
from vault.common.outcomes import Exit


class CheckpointContradictedError(RefusedInputError):
    """Another installation's checkpoint contradicts an earlier one; the message says how."""

    refusal = Refusal(
        409,
        "Checkpoint contradicts an earlier one",
        page=(
            "The checkpoint contradicts an earlier one of the same principal, as the detail says: the "
            "sender's trail lacks entries that it had, or has others. Its operator has to find out why, with "
            "audit verify --witnesses. After the restore of a backup, show the next checkpoints with a new "
            "token."
        ),
    )


class WitnessError(VaultError):
    """A witness does not confirm a checkpoint; the message names its host and the reason."""

    #: The witness answers, and refuses.
    is_refusal = False

    def __init__(self, problem: str, *, is_refusal: bool = False) -> None:
        """Make an error; *is_refusal* if the witness answers, and refuses."""
        super().__init__(problem)
        self.is_refusal = is_refusal

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command: the witness does not answer, or refuses."""
        return Exit.FAILED if self.is_refusal else Exit.UNAVAILABLE
