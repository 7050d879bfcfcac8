"""Apply edits, one after the other, and judge each."""

from random import Random

from pymongo.errors import PyMongoError

from tests.edits.edits import EDITS, Attack
from tests.edits.victim import Victim


class UnnoticedError(AssertionError):
    """An edit changed the results of readers, and verification found no tampering."""


def run(victim: Victim, seed: int) -> bool:
    """Apply the edit of this *seed*; return whether it is tampering.

    Raises:
        UnnoticedError: It is not, and the results of readers changed.
    """
    random = Random(seed)  # noqa: S311 - must be repeatable
    edit = random.choice(EDITS)
    with victim.edited():
        try:
            edit(Attack(victim, random))
        except PyMongoError as error:
            # MongoDB refuses some writes; earlier ones of the same edit stay.
            refused = f", refused in part: {type(error).__name__}"
        else:
            refused = ""
        if any(finding.tampering for finding in victim.verify(by_receipts=seed % 2 == 1)):
            return True
        if victim.reads() != victim.shown:
            raise UnnoticedError(f"seed {seed}: {edit.__name__}{refused}")
        return False
