"""The program `docker`, for what its API does not offer: builds, stack files, and commands in containers."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from vault.common.errors import VaultError

_NONE: Mapping[str, str] = {}

#: The exit code of a call that does not end, as `timeout` has it.
_TIMED_OUT = 124


class DeploymentError(VaultError):
    """The deployment cannot go on; the message says why, and what to do."""

    kind = "deployment_failed"


class ProgramError(DeploymentError):
    """The program failed; it has printed why."""

    kind = "docker_failed"

    def __init__(self, arguments: tuple[str, ...], status: int, printed: str = "") -> None:
        super().__init__(f"docker {arguments[0]} ended with {status}")
        self.status = status
        #: The part of its output that the operator has not seen.
        self.printed = printed


class Program:
    """`docker`, with the engine that `DOCKER_HOST` names."""

    def __init__(self) -> None:
        """Find the program.

        Raises:
            DeploymentError: There is none.
        """
        path = shutil.which("docker")
        if not path:
            raise DeploymentError("docker not found", hint="install Docker 26 or newer")
        self._path = path

    def use_context(self) -> None:
        """Let Docker's library use the engine that this program uses: the library knows no contexts."""
        if "DOCKER_HOST" not in os.environ:
            with suppress(ProgramError):
                found = self.output("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
                os.environ["DOCKER_HOST"] = found.strip()

    def output(
        self,
        *arguments: str,
        stdin: str | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] = _NONE,
        merged: bool = False,
        timeout: float | None = None,
    ) -> str:
        """Return what a call prints, *merged* with its errors, which the operator sees otherwise.

        Raises:
            ProgramError: It fails, or does not end within *timeout*.
        """
        return self._run(
            arguments,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else None,
            cwd=folder,
            env={**os.environ, **environment},
            text=True,
            timeout=timeout,
        )

    def show(self, *arguments: str, stdin: IO[Any] | None = None, timeout: float | None = None) -> None:
        """Let the operator see what a call prints. Without *stdin*, the operator's is the call's.

        Raises:
            ProgramError: It fails, or does not end within *timeout*.
        """
        self._run(arguments, stdin=stdin, timeout=timeout)

    def _run(self, arguments: tuple[str, ...], **options: Any) -> str:
        try:
            done = subprocess.run((self._path, *arguments), check=False, **options)  # noqa: S603 - Docker
        except subprocess.TimeoutExpired:
            raise ProgramError(arguments, _TIMED_OUT) from None
        if done.returncode:
            raise ProgramError(arguments, done.returncode, done.stdout or "")
        return done.stdout or ""
