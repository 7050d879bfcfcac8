"""Outcomes: of operations in the audit trail, of commands as exit codes, and of imports."""

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """An outcome, by its name in the audit trail."""

    SUCCESS = "success"
    #: Refused to every principal: the input is invalid, or does not fit the stored state.
    BAD_REQUEST = "bad_request"
    #: A name or an ID does not exist.
    NOT_FOUND = "not_found"
    #: Refused to this principal.
    DENIED = "denied"
    #: The service failed.
    ERROR = "error"


class Exit(IntEnum):
    """The exit codes of all commands; `audit verify` and `drill` have their own meaning of 1 and 3."""

    DONE = 0
    #: Refused, or failed.
    FAILED = 1
    #: The command line is invalid.
    USAGE = 2
    NOT_FOUND = 3
    #: The credential, or MongoDB's user, may not do this.
    DENIED = 4
    #: The service or MongoDB does not answer.
    UNAVAILABLE = 5


class ImportOutcome(StrEnum):
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
    ImportOutcome.MISSING: "to import",
    ImportOutcome.IMPORTED: "imported",
    ImportOutcome.SAME: "already here",
    ImportOutcome.DIFFERS: "different here",
    ImportOutcome.UPDATED: "updated",
    ImportOutcome.REFUSED: "not importable",
}
