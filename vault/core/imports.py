"""Outcomes of imports, by secret of the source."""

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome for one secret of the source."""

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
