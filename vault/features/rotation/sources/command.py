"""The source `command`: a program of the operator, which changes passwords elsewhere."""

import json
import subprocess

from vault.common import programs
from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.sources.errors import SourceRefusedError, SourceUnavailableError
from vault.features.rotation.sources.source import Confirm, unconditionally

#: The exit code of a program whose server cannot be reached (EX_TEMPFAIL).
_UNAVAILABLE = 75


class Command:
    """A program, which gets `{"step", "user", "password"}` on its standard input.

    The steps are `set`, `login` and `close`. Its exit code is 0 for success, 75 if its server is unavailable,
    and any other one if that refuses.
    """

    def __init__(self, program: str, seconds: int, allowed: tuple[str, ...]) -> None:
        """Use the *program*, which must be one of those *allowed*: a plan is otherwise code execution.

        Raises:
            RotationRefusedError: It is not.
        """
        self._program = program.strip()
        self._seconds = seconds
        if self._program not in allowed:
            raise RotationRefusedError(
                "The administrator's secret is not a program in the setting `ROTATION_COMMANDS`."
            )

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        confirm()
        self._require("set", user, password)

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        return self._run("login", user, password) == 0

    def close(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        confirm()
        self._require("close", user, password)

    def _require(self, step: str, user: str, password: str) -> None:
        if code := self._run(step, user, password):
            raise SourceRefusedError(f"the program refuses the step {step}, with exit code {code}")

    def _run(self, step: str, user: str, password: str) -> int:
        content = json.dumps({"step": step, "user": user, "password": password}).encode()
        try:
            # Its output could contain a password.
            code = programs.run([self._program], content, seconds=self._seconds)
        except OSError as error:
            raise SourceUnavailableError(f"the program cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise SourceUnavailableError(f"the program does not end within {self._seconds} s") from None
        if code == _UNAVAILABLE:
            raise SourceUnavailableError("the program says that its server is unavailable")
        return code
