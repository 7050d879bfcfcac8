"""Shared helpers of the tests of `secret-manager audit`: a trail, and the commands on it."""

import subprocess
import time
from pathlib import Path

from tests.support.commands import Done, invoke, start_command
from tests.support.rotation import Stored, connected, settings, text
from tests.support.written_trail import WrittenTrail
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.writer import AuditTrail


class Trail:
    """A trail in the test's database, and the commands on it."""

    def __init__(self, written: WrittenTrail, uri: str, stored: Stored, folder: Path) -> None:
        self.written = written
        self.stored = stored
        self._folder = folder
        self.environment = settings(uri, written.keyring.primary)
        self.uri = uri
        with connected(uri):
            pass
        stored.audit_logs.insert_many(written.documents)

    def run(self, *arguments: str, **environment: str) -> Done:
        """Run a command; it must print no key."""
        done = invoke("audit", *arguments, environment=self.environment | environment, folder=self._folder)
        key = self.written.keyring.primary
        seed = key.derive(b"secret-manager audit signing")
        for secret in (text(key), key._material.hex(), seed.hex()):
            assert secret not in done.stdout + done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return start_command("audit", *arguments, environment=self.environment, folder=self._folder)

    def file(self, name: str, content: str | bytes) -> str:
        """Return the path of a new file."""
        path = self._folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def output(self, *arguments: str) -> str:
        """Return the path of a file with the output of a command."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return self.file(f"{arguments[0]}-{time.monotonic_ns()}", done.stdout)


#: The message about an intact export, which includes the export's own entry.
INTACT = "181 entries in 4 streams: intact\n"


def offline(trail: Trail, exported: str | None = None) -> list[str]:
    """Return the arguments that verify *exported*, or by default the output of the commands."""
    if exported is None:
        return ["--file", trail.output("export"), "--public-key", trail.output("public-key")]
    return ["--file", trail.file("export.jsonl", exported), "--public-key", pem(trail)]


def pem(trail: Trail) -> str:
    """Return the path of a file with the trail's public key, without running a process."""
    return trail.file("trail.pem", SigningKey(trail.written.keyring.primary).public.pem())


def printable(shown: str) -> bool:
    return all(line.isprintable() for line in shown.split("\n"))


def written_by(uri: str, keyring: Keyring, count: int) -> None:
    with connected(uri):
        worker = AuditTrail(keyring)
        for number in range(count):
            attempt = Attempt(action=Action.FETCH, request_id=str(number))
            worker._on_finish([(attempt, Status.SUCCESS)])
        worker.retire_signers()
        worker.disconnect()
