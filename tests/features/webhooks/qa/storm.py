"""Changes with a troubled receiver and killed senders: `python -m tests.features.webhooks.qa.storm`."""

import json
import os
import secrets
import signal
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import click
from pymongo import MongoClient

from tests.conftest import running_app
from tests.features.webhooks.receiver import Receiver, receiver
from tests.support.access import make_token, services
from tests.support.access_roles import operator
from tests.support.service import Service, children, patient
from vault.clients.dev.mongod import Mongod, free_port
from vault.core.attempt import Action
from vault.features.webhooks.webhooks import NewWebhook, Webhooks

_SECRETS = 20
_CLIENTS = 4


@dataclass
class Outcome:
    """The counts of a storm, and what was wrong."""

    changes: int
    kills: int
    received: int
    repeated: int
    seconds: float
    wrong: list[str]


class Troubled:
    """A receiver on one port that fails, hangs, disappears and comes back."""

    def __init__(self) -> None:
        # Its own address, because another test could take the port while this receiver is away.
        self.address = (f"127.77.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}", free_port())
        self.url = "http://{}:{}/".format(*self.address)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.is_healed = Event()

    def run(self) -> None:
        """Change the trouble every few seconds until healed; then accept everything for ever."""
        while True:
            for answer in (_fails, _hangs, None):
                if self.is_healed.is_set():
                    break
                if answer is None:
                    self.is_healed.wait(2)
                    continue
                with self._open(answer):
                    self.is_healed.wait(3)
            if self.is_healed.is_set():
                with self._open(lambda _: 204):
                    Event().wait()

    @contextmanager
    def _open(self, answer: Any) -> Iterator[Receiver]:
        with receiver(self.address) as running:
            running.answer, running.events, running.bodies = answer, self.events, self.bodies
            yield running


def _fails(number: int) -> int:
    return 500 if number % 3 == 2 else 204


def _hangs(number: int) -> int:
    if number % 5 == 4:
        time.sleep(7)
        return 500
    return 204


def _sender(database: Any, replicas: list[Service]) -> str:
    """Return the process ID of the worker that sends, if it runs."""
    lease = database["keys"].find_one({"_id": "lease webhooks"}) or {}
    found = str(lease.get("holder")).partition("-")[0]
    workers = {worker for replica in replicas if replica.process for worker in children(replica.process.pid)}
    return found if found in workers else ""


def _kill_senders(database: Any, replicas: list[Service], count: int) -> int:
    killed = 0
    deadline = time.monotonic() + 60 + 40 * count
    while killed < count and time.monotonic() < deadline:
        if found := _sender(database, replicas):
            with suppress(ProcessLookupError):
                os.kill(int(found), signal.SIGKILL)
                killed += 1
        time.sleep(1)
    return killed


def _change(replicas: list[Service], token: str, number: int, changes: int, values: list[str]) -> None:
    """Store and update secrets of its own, by both replicas in turn."""
    bearer = {"Authorization": f"Bearer {token}"}
    for at in range(changes):
        name, value = f"s{number}/{at % _SECRETS}", f"{number}-{at}-{secrets.token_hex(8)}"
        values.append(value)
        body = {"name": name, "secret": b64encode(value.encode()).decode()}
        path = "create" if at < _SECRETS else "update"
        reply = patient(partial(_post, replicas[at % len(replicas)], path, body, bearer))
        # A killed worker may have stored it without an answer; its next version follows.
        assert reply.status in (200, 409), reply


def _post(replica: Service, path: str, body: dict[str, str], headers: dict[str, str]) -> Any:
    while True:
        try:
            return replica.post(f"/vault/secret/{path}", body, **headers)
        except OSError:
            time.sleep(0.1)


def _wrong(database: Any, name: str, events: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield what is wrong with the *events* that a receiver got.

    Two secrets can have had one name: of a create that failed after its entry, and of its repeat.
    """
    changed = {"action": {"$in": ["create", "update"]}, "status": "success"}
    entries: dict[Any, list[str]] = defaultdict(list)
    for entry in database.audit_logs.find(changed):
        place = "{action} {stream}/{seq} {ts}".format(**entry)
        entries[entry["secret_id"], entry["details"].get("version", 1)].append(place)
    ids: dict[Any, set[str]] = defaultdict(set)
    versions: dict[str, list[int]] = defaultdict(list)
    for event_id, event in events:
        secret_id, version = change = event["data"]["secret_id"], event["data"]["version"]
        if not ids[change]:
            versions[secret_id].append(version)
        ids[change].add(event_id)
    if missing := entries.keys() - ids.keys():
        yield f"{name}: {len(missing)} events are missing"
    if more := ids.keys() - entries.keys():
        yield f"{name}: {len(more)} events are of no change"
    for change in [change for change, found in ids.items() if len(found) > 1]:
        yield f"{name}: a repeated event has another ID: {change}, {ids[change]} of {entries.get(change)}"
    if any(found != sorted(found) for found in versions.values()):
        yield f"{name}: events of a secret are out of order"


def storm(uri: str, folder: Path, *, changes: int, kills: int) -> Outcome:
    """Return the outcome of *changes* by several clients on two replicas, whose senders are killed."""
    environment = {
        "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
        "MONGO_URI": uri,
        "WEBHOOK_NETWORKS": "127.0.0.0/8",
        "LOG_LEVEL": "warning",
    }
    troubled, values, began = Troubled(), list[str](), time.monotonic()
    with ExitStack() as stack:
        client = stack.enter_context(MongoClient[dict[str, Any]](uri))
        database = client.get_default_database()
        app = stack.enter_context(running_app(environment))
        services(app).startup.attempt()
        token = make_token(app, "storm", role="admin")
        good = stack.enter_context(receiver())
        for url in (good.url, troubled.url):
            new = NewWebhook(url=url, events=frozenset({"secret.created", "secret.updated"}))
            services(app).of(Webhooks).create(new, attempt=operator(Action.WEBHOOK_CREATE))
        Thread(target=troubled.run, daemon=True).start()
        replicas = [stack.enter_context(Service(environment, folder=folder)) for _ in range(2)]
        for replica in replicas:
            replica.wait_until_started()
        pool = stack.enter_context(ThreadPoolExecutor(_CLIENTS + 1))
        killer = pool.submit(_kill_senders, database, replicas, kills)
        clients = [
            pool.submit(_change, replicas, token, number, changes // _CLIENTS, values)
            for number in range(_CLIENTS)
        ]
        for one in clients:
            one.result()
        killed = killer.result()
        troubled.is_healed.set()
        received = {"good": good.events, "troubled": troubled.events}
        deadline = time.monotonic() + 300
        wrong = ["not checked"]
        while wrong and time.monotonic() < deadline:
            time.sleep(1)
            # Not the pauses after failures, which can be an hour.
            database.webhooks.update_many({}, {"$set": {"progress.next_attempt_at": None}})
            wrong = [text for name, events in received.items() for text in _wrong(database, name, [*events])]
        sent = b"".join([*good.bodies, *troubled.bodies])
        forms = {form for value in values for form in (value, b64encode(value.encode()).decode())}
        wrong += ["a payload has a value"] if any(form.encode() in sent for form in forms) else []
        wrong += [f"only {killed} senders were killed"] if killed < kills else []
        total = len(good.events) + len(troubled.events)
        distinct = len({event for event, _ in good.events}) + len({event for event, _ in troubled.events})
        return Outcome(len(values), killed, total, total - distinct, round(time.monotonic() - began), wrong)


@click.command(context_settings={"show_default": True})
@click.option("--changes", default=10_000, help="Changes of secrets.")
@click.option("--kills", default=20, help="Senders that are killed.")
def main(changes: int, kills: int) -> None:
    """Run a storm, and print its outcome; fail if an event is lost, wrong or out of order."""
    with TemporaryDirectory(prefix="storm-") as name, Mongod(Path(name) / "db") as mongod:
        uri = mongod.uri.replace("/?", f"/storm_{secrets.token_hex(6)}?")
        outcome = storm(uri, Path(name), changes=changes, kills=kills)
    click.echo(json.dumps(outcome.__dict__))
    raise SystemExit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
