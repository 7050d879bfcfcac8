"""Outcomes of imports: the state here of a secret from elsewhere."""

from enum import StrEnum


class Outcome(StrEnum):
    """The state of a secret of the source here."""

    MISSING = "missing"
    IMPORTED = "imported"
    SAME = "same"
    DIFFERS = "differs"
    #: It differed, and its value is a new version now.
    UPDATED = "updated"
    #: It cannot be imported.
    REFUSED = "refused"

    @property
    def label(self) -> str:
        """The outcome for people."""
        return _LABELS[self]


_LABELS = {
    Outcome.MISSING: "to import",
    Outcome.IMPORTED: "imported",
    Outcome.SAME: "already here",
    Outcome.DIFFERS: "different here",
    Outcome.UPDATED: "updated",
    Outcome.REFUSED: "not importable",
}
