"""An operator's desk with a keyring file, and programs as its providers."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from tests.conftest import start
from tests.support.custody import make_program, turned
from tests.support.leaks import Marks
from tests.support.rotation import Stored, connected
from vault.app import CLOSE, create_app
from vault.cli import commands
from vault.common.config.settings import Settings
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import registry
from vault.features.custody import handover
from vault.features.custody.keyring_file import KeyringFile
from vault.toolkit.operations.blueprint import EXTENSION


class Desk:
    """An operator's desk: a folder with programs as providers, and the commands."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        self.file = folder / "keyring.json"
        #: The settings of the providers.
        self.settings: dict[str, str] = {}
        self.worker: registry.Worker | None = None
        #: All that was printed.
        self.shown = ""

    def program(self, name: str) -> str:
        """Return the path of a provider."""
        return make_program(self.folder / name)

    def run(self, *arguments: str, code: int = 0, given: str = "", **environment: str) -> Result:
        """Run a command with the keyring file, and check its exit code."""
        own = {"MASTER_KEYRING_FILE": str(self.file), "MONGO_URI": self.uri, "CUSTODY_TIMEOUT_SECONDS": "1"}
        done = CliRunner(env=own | self.settings | environment).invoke(
            commands, arguments, input=given, prog_name="secret-manager"
        )
        os.environ.pop(handover.VARIABLE, None)
        self.shown += done.output
        assert done.exit_code == code, done.output
        return done

    def custody(self, *arguments: str, code: int = 0, **more: Any) -> Result:
        """Run `keys custody` with these arguments."""
        return self.run("keys", "custody", *arguments, code=code, **more)

    def begin(self) -> str:
        """Make the file with the slots `a` and `b`, and return the ID of its key."""
        slots = [part for name in "ab" for part in ("--slot", f"{name}=command,{self.program(name)}")]
        done = self.custody("init", str(self.file), *slots, "--json", MASTER_KEYRING_FILE="")
        key_id: str = json.loads(done.stdout)["key_id"]
        return key_id

    def use(self) -> None:
        """Use the database as a service, so that it has a trail."""
        with self.service() as app:
            app.extensions[EXTENSION].startup.begin()

    def opened(self) -> Settings:
        """Return the settings of a service with the keys of the file, which stay handed down."""
        os.environ.pop(handover.VARIABLE, None)
        own = {"MASTER_KEYRING_FILE": str(self.file), "MONGO_URI": self.uri}
        return Settings.from_mapping(own | self.settings).with_keys()

    @contextmanager
    def service(self) -> Iterator[Flask]:
        """Run an application with the keys of the file; run no command meanwhile."""
        app = create_app(self.opened())
        try:
            start(app)
            yield app
        finally:
            app.extensions[CLOSE]()
            os.environ.pop(handover.VARIABLE, None)

    def restart(self) -> None:
        """Make the only worker claim the keys that the file has now."""
        opened = self.opened()
        primary, *fallbacks = map(MasterKey, (opened.master_key, *opened.master_key_fallbacks))
        os.environ.pop(handover.VARIABLE, None)
        with connected(self.uri):
            if self.worker:
                self.worker.release()
            self.worker = registry.Worker(Keyring(primary, fallbacks))
            assert self.worker.claim()


@pytest.fixture
def desk(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return a desk; at the end, no command has printed a key of its file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(handover.VARIABLE, raising=False)
    desk = Desk(tmp_path, mongo_uri)
    yield desk
    os.environ.pop(handover.VARIABLE, None)
    keys = KeyringFile.read(desk.file).keys if desk.file.exists() else ()
    wrapped = [slot.blob for key in keys for slot in key.slots if slot.scheme == "command"]
    for material in map(turned, wrapped):
        assert not Marks(key=material).found(desk.shown)


def actions(stored: Stored, *names: str) -> list[dict[str, Any]]:
    """Return the details of the entries with these actions, in order."""
    found = stored.audit_logs.find({"action": {"$in": names}}).sort("ts", 1)
    return [entry.get("details") or {} for entry in found]


def made_shares(desk: Desk, *options: str) -> list[str]:
    """Return the shares of a new recovery slot, by the names of their files."""
    folder = desk.folder / f"shares-{len(list(desk.folder.iterdir()))}"
    done = desk.custody("recovery", "create", *options, "--out-dir", str(folder), "--json")
    files = sorted(folder.iterdir())
    assert json.loads(done.stdout)["shares"] == len(files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    return [file.read_text() for file in files]
