"""A key rotation under load: no request fails, no secret is lost, and the old key is removed."""

import random
import secrets
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Condition, Event, Lock

import pytest

from tests.support.commands import run_command
from tests.support.rotation import Stored, new_key, settings, table, under, values
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.core.crypto import MasterKey

pytestmark = pytest.mark.process

OLD, NEW = new_key(), new_key()
Table = dict[str, tuple[str, int, str]]


class Fleet:
    """The replicas behind a load balancer, updated one after the other, the new one started first."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri = uri
        self._folder = folder
        self._replicas: list[Service] = []
        self._in_flight: Counter[Service] = Counter()
        self._changed = Condition()

    def settings(self, *keys: MasterKey) -> dict[str, str]:
        """Return the environment of a replica with *keys*, the primary first."""
        return settings(self._uri, *keys)

    def add(self, *keys: MasterKey) -> None:
        """Start a replica with *keys*, the primary first, and send requests there once it is ready."""
        environment = {**self.settings(*keys), "WEB_CONCURRENCY": "1"}
        replica = Service(environment, patient=True, folder=self._folder)
        replica.start()
        replica.wait_until("/health/ready")
        with self._changed:
            self._replicas.append(replica)

    def remove_oldest(self) -> None:
        """Remove the oldest replica from the load balancer, and stop it after its last request."""
        with self._changed:
            oldest = self._replicas.pop(0)
            assert self._changed.wait_for(lambda: not self._in_flight[oldest], timeout=120)
        assert oldest.stop() == 0

    def update(self, *keys: MasterKey) -> None:
        """Replace every replica by one with *keys*."""
        for _ in range(len(self._replicas)):
            self.add(*keys)
            self.remove_oldest()

    def stop(self) -> None:
        """Stop all replicas."""
        while self._replicas:
            self.remove_oldest()

    @contextmanager
    def replica(self) -> Iterator[Service]:
        """Yield a replica for one request."""
        with self._changed:
            replica = random.choice(self._replicas)  # noqa: S311 - not secret
            self._in_flight[replica] += 1
        try:
            yield replica
        finally:
            with self._changed:
                self._in_flight[replica] -= 1
                self._changed.notify_all()


class Load:
    """Clients that create and fetch continuously and record every unexpected result."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ended = Event()
        self._lock = Lock()
        self.values: dict[str, str] = {}
        self.answered: Counter[str] = Counter()
        self.failures: list[object] = []

    def run(self) -> None:
        """Create and fetch until stopped."""
        while not self._ended.is_set():
            secret = b64encode(secrets.token_bytes(24)).decode()
            created = self._post("create", {"secret": secret})
            if created:
                with self._lock:
                    self.values[created["secret_id"]] = secret
                    known = random.choice(list(self.values))  # noqa: S311 - not secret
                self.fetch(created["secret_id"])
                self.fetch(known)
            # A constant load, low enough that processes still start quickly.
            time.sleep(0.04)

    def fetch(self, secret_id: str) -> None:
        """Fetch one secret and check its value."""
        fetched = self._post("fetch", {"secret_id": secret_id})
        if fetched != {"secret": self.values[secret_id]}:
            self.failures.append(("another value", secret_id, fetched))

    def end(self) -> None:
        """Stop the clients."""
        self._ended.set()

    def _post(self, action: str, body: dict[str, str]) -> dict[str, str]:
        try:
            with self._fleet.replica() as replica:
                reply = replica.post(f"/vault/secret/{action}", body)
        except OSError as error:
            self.failures.append((action, error))
            return {}
        with self._lock:
            self.answered[action] += 1
        if reply.status != 200:
            self.failures.append((action, reply))
            return {}
        return dict(reply.body)


@contextmanager
def under_load(fleet: Fleet) -> Iterator[Load]:
    load = Load(fleet)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(load.run) for _ in range(2)]
        try:
            yield load
        finally:
            load.end()
        for client in running:
            client.result()


@pytest.mark.promise(6)
@pytest.mark.long
@pytest.mark.nightly
def test_a_rotation_under_load(mongo_uri: str, stored: Stored, tmp_path: Path) -> None:
    """Four rolling updates rotate the key: no request fails, and in the end nothing needs the old key."""

    def keys(command: str, *held: MasterKey) -> tuple[int, str]:
        done = run_command("keys", command, environment=settings(mongo_uri, *held), folder=tmp_path)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def status(*held: MasterKey) -> Table:
        code, printed = keys("status", *held)
        assert code == 0
        return table(printed)

    fleet = Fleet(mongo_uri, tmp_path)
    with ExitStack() as replicas:
        replicas.callback(fleet.stop)
        fleet.add(OLD)
        with under_load(fleet) as load:

            def some_more() -> None:
                """Run the clients for a while in the new state."""
                already = load.answered.total()
                wait_until(lambda: load.answered.total() > already + 100)
                assert load.failures == []

            some_more()
            assert set(status(OLD)) == {OLD.id}

            # 1. The new key as a fallback, everywhere: nothing is encrypted under it yet.
            fleet.update(OLD, NEW)
            some_more()
            found = status(OLD, NEW)
            assert found[OLD.id][0::2] == ("primary", "no, it is primary")
            assert found[NEW.id] == ("fallback", 0, "yes")
            # An operator who forgets the next step sees a warning.
            refused = run_command(
                "keys", "rewrap", environment=settings(mongo_uri, NEW, OLD), folder=tmp_path
            )
            assert (refused.returncode, refused.stdout) == (1, "")
            assert refused.stderr.startswith(f"error: running workers encrypt under {OLD.id}, ")

            # 2. The two keys swapped.
            fleet.update(NEW, OLD)
            some_more()
            found = status(NEW, OLD)
            assert found[NEW.id][0::2] == ("primary", "no, it is primary")
            assert found[NEW.id][1] > 0
            assert found[OLD.id][0::2] == ("fallback", "no, secrets need it")
            needed = found[OLD.id][1]
            assert needed == under(stored, OLD) > 50

            # 3. Everything encrypted under the new key.
            code, printed = keys("rewrap", NEW, OLD)
            assert (code, printed) == (
                0,
                f"{needed} rewrapped, 0 changed meanwhile, 0 failed, 0 left\n",
            )
            some_more()
            assert status(NEW, OLD)[OLD.id] == ("fallback", 0, "yes")

            # 4. The old key dropped.
            fleet.update(NEW)
            some_more()
            found = status(NEW)
            assert set(found) == {NEW.id}
            assert found[NEW.id][0] == "primary"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(load.fetch, load.values))
    assert load.failures == []
    assert values(stored, NEW) == {secret_id: b64decode(secret) for secret_id, secret in load.values.items()}
    trail = Counter((entry["action"], entry["status"]) for entry in stored.audit_logs.find())
    # Fingerprint of the old key, once no worker holds it any more.
    trail.pop(("signer_retired", "success"), None)
    trail.pop(("stream_closed", "success"))
    assert trail == {
        **{(action, "success"): count for action, count in load.answered.items()},
        ("rewrap_start", "success"): 1,
        ("rewrap_end", "success"): 1,
        ("keys_status", "success"): 5,
    }
