"""The base of all errors, and their families by outcome."""

import re
from typing import ClassVar, Self

from vault.common.errors.refusal import Refusal
from vault.common.outcomes import Exit, Status

#: Exit codes by outcome, of the errors that have none of their own.
_EXITS = {Status.NOT_FOUND: Exit.NOT_FOUND, Status.DENIED: Exit.DENIED}

_WORD_START = re.compile("(?<=[a-z0-9])(?=[A-Z])")


class VaultError(Exception):
    """Base of all errors raised on purpose."""

    #: The error's name in metrics, logs, replies and, through `shown_name`, in spans: by default the words of
    #: the class. A class that is renamed keeps its kind: alerts, dashboards and clients contain these names.
    kind: ClassVar[str] = "vault"
    #: The status of the failed operation in the audit trail.
    outcome: ClassVar[Status] = Status.ERROR
    #: The problem of every error of the class, and its hint; empty if each has its own.
    message: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    #: How callers of the API learn of an error of this class; None if its kind is in the API's own table.
    refusal: ClassVar[Refusal | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in vars(cls):
            cls.kind = _WORD_START.sub("_", cls.__name__.removesuffix("Error")).lower()

    def __init__(self, problem: str = "", *, hint: str = "") -> None:
        """Make an error of this *problem*, with a *hint* what to do, if there is one."""
        self.problem = problem = problem or self.message
        self.hint = hint = hint or self.remedy
        super().__init__(f"{problem}{' ' if problem.endswith('.') else '; '}{hint}" if hint else problem)

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command."""
        return _EXITS.get(self.outcome, Exit.FAILED)

    @classmethod
    def shown_name(cls) -> str:
        """Return the name of this kind as an exception type: `StorageUnavailableError`, for example."""
        return "".join(word.capitalize() for word in cls.kind.split("_")) + "Error"

    def detached(self) -> Self:
        """Return this error without its origin, whose frames would keep the values of a request in memory."""
        self.__traceback__ = self.__context__ = None
        return self


class RefusedInputError(VaultError):
    """Base of refusals to every principal: the input is invalid, or does not fit the stored state."""

    outcome = Status.BAD_REQUEST


class MissingError(VaultError):
    """Base of refusals because a name or an ID does not exist. Their messages have no full stop."""

    outcome = Status.NOT_FOUND


class AccessDeniedError(VaultError):
    """Base of refusals to one principal."""

    outcome = Status.DENIED
