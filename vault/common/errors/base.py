"""The base of all errors, and their families by outcome."""

import re
from dataclasses import dataclass, replace
from types import ModuleType
from typing import ClassVar, Self

from vault.common.outcomes import Exit, Status

#: Exit codes by outcome, of the errors that have none of their own.
_EXITS = {Status.NOT_FOUND: Exit.NOT_FOUND, Status.DENIED: Exit.DENIED}

_WORD_START = re.compile("(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply that refuses a request because of an error, with its page, and the hint of commands."""

    status: int
    #: The title of the problem and of its page; by default the words of the error's kind.
    title: str = ""
    #: The reply's `detail`; empty if the error's own message is for the caller.
    detail: str = ""
    #: The reply's `WWW-Authenticate` header (RFC 6750).
    challenge: str = ""
    #: The refusal leaves an audit entry; False if the trail itself may be unavailable.
    is_recorded: bool = True
    #: The paragraph of the page that explains it; by default the docstring of the error's class.
    page: str = ""
    #: What commands say to do in place of the remedy of its class, if the error itself has no hint.
    hint: str = ""


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
    #: How callers of the API learn of an error of this class; None if they don't, so it is a defect to them.
    refusal: ClassVar[Refusal | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in vars(cls):
            cls.kind = _WORD_START.sub("_", cls.__name__.removesuffix("Error")).lower()
        if cls.refusal:
            title = cls.refusal.title or cls.kind.replace("_", " ").capitalize()
            page = cls.refusal.page or " ".join(str(cls.__doc__).split())
            cls.refusal = replace(cls.refusal, title=title, page=page)

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


def refused(module: ModuleType) -> list[type[VaultError]]:
    """Return the errors that *module*, or one in it, defines and that callers of the API learn of."""
    return [
        error
        for error in vars(module).values()
        if isinstance(error, type)
        and issubclass(error, VaultError)
        and error.__module__.startswith(module.__name__)
        and error.refusal
    ]
