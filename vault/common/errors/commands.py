"""Errors of commands: about the service that they call, files, profiles and programs."""

from collections.abc import Sequence
from typing import Self

from vault.common.errors.base import MissingError, VaultError
from vault.common.outcomes import Exit


class MongodUnavailableError(VaultError):
    """A development MongoDB server cannot run here or did not start; the message says what to do."""


class ServiceUnavailableError(VaultError):
    """The service cannot be reached, or cannot serve for now; a change may or may not have taken effect."""

    kind = "service_away"
    exit_code = Exit.UNAVAILABLE


class ServiceRefusedError(VaultError):
    """The service refuses a request; the message has its reason, and never the credential."""

    def __init__(
        self,
        problem: str,
        *,
        status: int,
        code: str,
        request_id: str = "",
        hint: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(problem, hint=hint)
        #: The status of the reply.
        self.status = status
        #: The code of its problem, such as `secret_not_found`.
        self.code = code
        #: The ID of the request in the audit trail; empty if the reply has none.
        self.request_id = request_id
        #: Seconds until the service takes a request again; 0 if the reply does not say.
        self.retry_after = retry_after

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command, by the status of the reply."""
        codes = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}
        return codes.get(self.status, Exit.FAILED)


class ProfileError(VaultError):
    """The profile of a login cannot be used or kept; the message says why."""


class FieldNotFoundError(MissingError):
    """A value has no field of a name."""


class TransferError(VaultError):
    """A file of secrets cannot be read, or secrets cannot be written as one; the message says why."""

    def __init__(self, problem: str, *, hint: str = "", parts: Sequence[str] = ()) -> None:
        super().__init__(problem, hint=hint)
        #: The problems that the message counts; empty if it is about one.
        self.parts = parts

    @classmethod
    def of(cls, problems: Sequence[Self]) -> Self:
        """Return the error for *problems* of one file, at least one."""
        if len(problems) == 1:
            return problems[0]
        hint = "correct them; nothing was changed"
        return cls(f"{len(problems)} problems in the file", hint=hint, parts=[*map(str, problems)])


class SharesRefusedError(VaultError):
    """Shares of people are damaged, too few or of different sets, or cannot be made as asked."""


class ProgramError(VaultError):
    """A program cannot get its secrets, or cannot be started; the message says why."""


class ExtraMissingError(VaultError):
    """A command needs packages that are not installed; the message names the extra that has them."""

    # Not a name for PyPI, where no release is yet.
    remedy = "install its wheel with the extra server: `pipx install --force 'WHEEL[server]'`"

    def __init__(self, command: str, *, package: str) -> None:
        super().__init__(f"`{command}` needs packages of the service, such as {package}")
