"""The service with a keyring file, as a process: one unwrap a start, and keys that no one sees."""

import json
import os
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from tests.support.commands import run_command
from tests.support.custody import make_program, set_code, turned
from tests.support.leaks import Marks
from tests.support.rotation import Stored
from tests.support.service import SERVE, Service, children
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port
from vault.core.crypto import MasterKey
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey

pytestmark = [pytest.mark.process, pytest.mark.slow]


class Custody:
    """A keyring file with the slots `a` and `b`, whose programs note their requests and obey NAME.code."""

    def __init__(self, folder: Path, key: MasterKey) -> None:
        self.folder = folder
        blob = turned(key._material)
        slots = [Slot(name, "command", make_program(folder / name), blob) for name in "ab"]
        self.file = folder / "keyring.json"
        self.file.write_text(KeyringFile((WrappedKey(key.id, "primary", tuple(slots)),)).text())

    def answers(self, name: str, code: int | None) -> None:
        """Make the slot *name* exit with *code* from now on, or work again with None."""
        set_code(self.folder / name, code)

    def requests(self, name: str) -> int:
        """Return the number of requests to the slot *name*."""
        log = self.folder / f"{name}.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def settings(self, uri: str, **more: str) -> dict[str, str]:
        """Return the settings of the service."""
        return {"MONGO_URI": uri, "MASTER_KEYRING_FILE": str(self.file), "PATH": os.environ["PATH"]} | more


@pytest.fixture
def custody(tmp_path: Path, key: MasterKey) -> Custody:
    """Return a keyring file."""
    return Custody(tmp_path, key)


@pytest.mark.promise(7)
def test_a_start_unwraps_once(
    custody: Custody, mongo_uri: str, stored: Stored, key: MasterKey, tmp_path: Path
) -> None:
    """All workers have the key of one unwrap, on record once; no file, dump, variable or argument has it."""
    with Service(custody.settings(mongo_uri, WEB_CONCURRENCY="4"), command=SERVE, folder=tmp_path) as service:
        service.wait_until_started()
        secret_id = service.create(b"value")
        assert service.fetch(secret_id).body["secret"] == b64encode(b"value").decode()
        service.workers(4)
        assert (custody.requests("a"), custody.requests("b")) == (1, 0)
        assert service.process
        marks = Marks(key=key._material)
        for pid in {str(service.process.pid), *children(service.process.pid)}:
            for name in ("environ", "cmdline"):
                assert not marks.found(Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1"))
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            [core] = [line.split() for line in limits if line.startswith("Max core file size")]
            assert core[4:6] == ["0", "0"]
        custody.answers("a", 75)
        custody.answers("b", 75)
        assert service.fetch(secret_id).status == 200, "without providers, requests are as before"
    assert stored.audit_logs.count_documents({"action": "key_opened"}) == 1
    assert service.log in tmp_path.rglob("*")
    assert '"MASTER_KEY": null' in service.log.read_text()
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        assert not marks.found(file.read_bytes().decode("latin-1")), file
    for collection in stored.list_collection_names():
        assert not marks.found(repr([*stored[collection].find()]))


def test_a_start_falls_through_to_the_next_slot(
    custody: Custody, mongo_uri: str, stored: Stored, tmp_path: Path
) -> None:
    """If the first provider refuses, the second opens the key; the entry says why, and metrics show both."""
    custody.answers("a", 1)
    bind = f"127.0.0.1:{free_port()}"
    settings = custody.settings(mongo_uri, METRICS_BIND=bind, CUSTODY_CHECK_SECONDS="1", WEB_CONCURRENCY="1")

    def is_up(slot: str, value: int) -> bool:
        metrics = requests.get(f"http://{bind}/metrics", timeout=60).text
        return f'secret_manager_custody_slot_up{{slot="{slot}"}} {value}' in metrics

    with Service(settings, measured=True, folder=tmp_path) as service:
        service.wait_until_started()
        wait_until(lambda: is_up("a", 0) and is_up("b", 1))
        custody.answers("a", None)
        wait_until(lambda: is_up("a", 1))
    [entry] = stored.audit_logs.find({"action": "key_opened"})
    assert entry["details"]["slot"] == "b"
    assert [reason[:10] for reason in entry["details"]["skipped"]] == ["a refused:"]


@pytest.mark.promise(7)
def test_a_start_without_providers_waits_and_ends(custody: Custody, mongo_uri: str, tmp_path: Path) -> None:
    """Unavailable providers are retried, each refuser is asked once, and the exit code says which it was."""
    custody.answers("a", 75)
    custody.answers("b", 1)
    bind = f"127.0.0.1:{free_port()}"
    # A second round of requests begins if the first one took less than 4 s.
    environment = custody.settings(mongo_uri, CUSTODY_TIMEOUT_SECONDS="5", BIND=bind)
    done = run_command("serve", environment=environment, folder=tmp_path)
    assert done.returncode == 5
    assert custody.requests("a") > 1
    assert custody.requests("b") == 1
    assert '"waiting for custody of key' in done.stderr + done.stdout
    custody.answers("a", 1)
    done = run_command("serve", environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert "no slot opens" in json.loads(done.stdout.splitlines()[-1])["message"]
