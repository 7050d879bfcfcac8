"""Outcomes: of operations in the audit trail, and of commands as exit codes."""

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
    """The exit codes of all commands; checks, such as `drill` and `status`, have their own 1, 3 and 5."""

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
