"""What the documents' commands are run in: a checkout, a service, and what they take for granted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.cli.waiting import wait_until
from tests.docs.documents import ROOT
from tests.service import Service
from vault.cli.mongod import free_port

#: The id that the documents have as an example.
EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"

#: The end of a last line that runs until it is stopped.
UNTIL_STOPPED = "# until Ctrl-C"

#: What of a checkout its commands see. Whatever they write is beside it, and no part of it.
_CHECKOUT = (
    *("scripts", "vault", "tests", "docs", "requirements", "loadtest"),
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
)

#: What of this process's environment commands get: how a package index is reached, and the like. They are
#: not measured: what they do has tests of its own.
_KEPT = ("HOME", "LANG", "PIP_", "SSL_", "TMPDIR", "http", "no_proxy")

#: Seconds, for what installs from a package index.
_TIMEOUT_SECONDS = 240

#: Lets the installation here count as one of the folder there.
_STAMP = (
    'python=.venv/bin/python; eval "$(sed -n "/^fingerprint()/,/^}/p" scripts/install.sh)"; fingerprint test'
)


@dataclass
class World:
    """A folder that looks like a checkout, and the settings of a service on the database of the test."""

    folder: Path
    settings: dict[str, str]
    #: What the documents name, and what it is here.
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _CHECKOUT:
            (self.folder / name).symlink_to(ROOT / name)
        venv = self.folder / ".venv"
        venv.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name != "installed":
                (venv / path.name).symlink_to(path)
        (venv / "installed").write_text(self._bash(_STAMP).stdout)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a terminal in which the commands work."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return {**kept, "PATH": path, **self.settings}

    @contextmanager
    def serving(self) -> Iterator[Service]:
        """Run the service; commands for the usual address reach it, and the example's id is a secret."""
        with Service(self.settings, folder=self.folder) as service:
            service.wait_until("/health/ready")
            self.at(service.url)
            if self.settings.get("AUTH_ENABLED") != "true":
                self.names[EXAMPLE_ID] = service.create(b"value")
            yield service

    def at(self, url: str) -> None:
        """Let the documents' service be the one at *url*."""
        address = url.removeprefix("http://")
        self.names |= {"localhost:8000": address, "127.0.0.1:8000": address}
        self.settings |= {"VAULT_URL": url, "BIND": address}

    def run(self, *scripts: str) -> str:
        """Return what *scripts* print, one after the other in one shell; none of their commands may fail."""
        done = self._bash("set -euo pipefail\n" + self._translated(scripts))
        assert done.returncode == 0, f"{done.args[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def started(self, script: str) -> Iterator[None]:
        """Run *script*, which serves until Ctrl-C, beside the block; it must get ready, and end well."""
        port = free_port()
        self.at(f"http://127.0.0.1:{port}")
        log = self.folder / "started.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-euc", self._translated([script])],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(lambda: process.poll() is not None or _is_ready(port), seconds=_TIMEOUT_SECONDS)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            with suppress(ProcessLookupError):
                # To all of them, as a terminal sends it.
                os.killpg(process.pid, signal.SIGINT)
            status = process.wait(60)
        # bash itself ends by the signal, where it has not become the command.
        assert status in (0, -signal.SIGINT, 128 + signal.SIGINT), log.read_text()

    def _translated(self, scripts: Sequence[str]) -> str:
        script = "\n".join(scripts)
        for name, here in self.names.items():
            script = script.replace(name, here)
        return script

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )


def _is_ready(port: int) -> bool:
    with suppress(OSError):
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).status_code == 200
    return False
