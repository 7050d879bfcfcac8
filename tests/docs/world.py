"""The environment of the documents' commands: a checkout, a service, and other requirements."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient

from tests.docs.documents import ROOT
from tests.support.commands import nursery
from tests.support.service import Service, patient
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port

#: The example ID of the documents.
EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"

#: The end of a last line that runs until it is stopped.
UNTIL_STOPPED = "# until Ctrl-C"

#: The files of a checkout that its commands see. Commands write next to them.
_CHECKOUT = (
    *("scripts", "vault", "tests", "docs", "requirements", "loadtest"),
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
)

#: The variables of this process that commands get: access to a package index, and the like. Commands are not
#: measured, because they have their own tests.
_KEPT = ("HOME", "LANG", "PIP_", "SSL_", "TMPDIR", "http", "no_proxy")

#: Seconds, for commands that install from a package index.
_TIMEOUT_SECONDS = 240

#: Makes this installation count as one of the folder.
_STAMP = (
    'python=.venv/bin/python; eval "$(sed -n "/^fingerprint()/,/^}/p" scripts/install.sh)"; fingerprint test'
)


@dataclass
class World:
    """A folder that looks like a checkout, and the settings of a service on the database of the test."""

    folder: Path
    settings: dict[str, str]
    #: Names in the documents, and their replacements here.
    names: dict[str, str] = field(default_factory=dict)
    token_keys: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in _CHECKOUT:
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / "bin").mkdir()
        nursery().install(self.folder / "bin")
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
        """Run the service; commands for the usual address reach it."""
        with Service(self.settings, patient=True, folder=self.folder) as service:
            service.wait_until_started()
            self.at(service.url)
            yield service

    def begin_again(self, service: Service) -> None:
        """Remove everything stored except the trail, and make the documents' ID the ID of a secret."""
        with MongoClient[dict[str, Any]](self.settings["MONGO_URI"]) as client:
            database = client.get_default_database()
            for name in ("secrets", "tokens", "issuers", "roles", "webhooks"):
                database[name].delete_many({})
            # One section deletes the key of all tokens, which the service knows.
            if self.token_keys:
                database.token_keys.delete_many({})
                database.token_keys.insert_many(self.token_keys)
            self.token_keys = list(database.token_keys.find())
        made = patient(lambda: service.post("/vault/secret/create/", {"secret": "dmFsdWU="}))
        self.names[EXAMPLE_ID] = made.body["secret_id"]

    def at(self, url: str) -> None:
        """Make the documents' service the one at *url*."""
        address = url.removeprefix("http://")
        self.names |= {"localhost:8000": address, "127.0.0.1:8000": address}
        self.settings |= {"VAULT_URL": url, "BIND": address}

    def run(self, *scripts: str, **settings: str) -> str:
        """Return the output of *scripts*, run in order in one shell; none of their commands may fail."""
        done = self._bash("set -euo pipefail\n" + self._translated(scripts), **settings)
        assert done.returncode == 0, f"{done.args[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def started(self, script: str) -> Iterator[None]:
        """Run *script*, which serves until Ctrl-C, during the block; it must become ready, and succeed."""
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
                # To all of them, like a terminal.
                os.killpg(process.pid, signal.SIGINT)
            status = process.wait(120)
        # bash itself ends by the signal, unless it has become the command.
        assert status in (0, -signal.SIGINT, 128 + signal.SIGINT), log.read_text()

    def _translated(self, scripts: Sequence[str]) -> str:
        script = "\n".join(scripts)
        for name, here in self.names.items():
            script = script.replace(name, here)
        return script

    def _bash(self, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{self.environment['PATH']}"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self.environment, "PATH": path, **settings},
            pass_fds=[nursery().fileno()],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )


def _is_ready(port: int) -> bool:
    with suppress(OSError):
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).status_code == 200
    return False
