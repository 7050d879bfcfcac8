"""`python -m tests.support.kill_points ACTION...`: identical processes, each killed at another write.

The first one of an action completes and reports its writes to MongoDB; for each of them another is killed
before it sends that one. Prints the name that each killed process gave its secret or token. The settings are
those of the environment.

An action can be the path of a function of the services and a name.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from operator import setitem
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from flask import Flask
from pymongo import monitoring

from tests.support.access import services
from tests.support.lifecycle import ALICE
from tests.support.timeouts import lengthen
from vault.app import create_app
from vault.common.config.settings import Settings
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.secrets.items import Creation, Fetch
from vault.core.secrets.metadata import Expiry
from vault.core.secrets.requests import NewSecret, Reference
from vault.core.services import Services
from vault.service import http as api

_ROOT = Path(__file__).parents[2]
_COMMIT = "commitTransaction"
_WRITES = frozenset({"insert", "update", "delete", "findAndModify", _COMMIT})
#: Written in the background, or once per process.
_PASSED_OVER = frozenset({"keys", "audit_keys", "token_keys"})
#: Seconds for all other writes, so that writes that do not depend on this one complete.
_FINISHING_SECONDS = 0.2
_READY_SECONDS = 120
_VALUE = b"value"


class Killer(monitoring.CommandListener):
    """Counts this process's writes by collection, and commits, once it is armed; kills it at one of them."""

    def __init__(self, collection: str, number: int) -> None:
        self.armed = False
        self.seen: Counter[str] = Counter()
        self._target = collection, number

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Kill the process if this is the write."""
        collection = _COMMIT if event.command_name == _COMMIT else event.command.get(event.command_name)
        if not self.armed or event.command_name not in _WRITES or collection in _PASSED_OVER:
            return
        self.seen[collection] += 1
        if (collection, self.seen[collection]) == self._target:
            time.sleep(_FINISHING_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


def _attempt(action: Action) -> Attempt:
    return Attempt(action=action, principal=ALICE)


def _create(found: Services, key: str | None = None, **options: Any) -> Reference:
    new_secret = NewSecret(plaintext=_VALUE, **options)
    attempt = _attempt(Action.CREATE)
    return Reference(secret_id=found.secrets.create(new_secret, idempotency_key=key, attempt=attempt))


def _create_batch(found: Services, name: str) -> None:
    """Create two secrets with names, and two without."""
    attempt = _attempt(Action.CREATE)
    names = (f"{name}-a", None, f"{name}-b", None)
    items = [
        Creation(attempt=attempt.part(), new_secret=NewSecret(plaintext=_VALUE, name=one)) for one in names
    ]
    found.secrets.create_all(items, idempotency_key=name, attempt=attempt)


def _fetch_batch(found: Services, references: Sequence[Reference]) -> None:
    attempt = _attempt(Action.FETCH)
    items = [Fetch(attempt=attempt.part(), reference=reference) for reference in references]
    found.secrets.fetch_all(items, on_size=lambda _: None, attempt=attempt)


def _create_token(found: Services, name: str) -> None:
    grant = Grant(name=name, scopes=ALICE.scopes)
    found.tokens.create(grant, attempt=_attempt(Action.TOKEN_CREATE))


def _renew_token(found: Services, name: str) -> Callable[[], object]:
    """Create a token that can be renewed, and return a function that renews it."""
    grant = Grant(name=name, scopes=ALICE.scopes, lifetime=timedelta(hours=1), renewable=True)
    token = found.tokens.create(grant, attempt=_attempt(Action.TOKEN_CREATE))
    attempt = _attempt(Action.TOKEN_RENEW)
    found.authenticator.identify(token.text, attempt=attempt)
    return lambda: found.own_credential.renew(attempt=attempt)


def _prepared(action: str, found: Services, name: str) -> Callable[[], object]:
    """Prepare *action*, and return a function that does it to the secret or token *name*."""
    creates: dict[str, dict[str, Any]] = {
        "create": {},
        "create_named": {"name": name},
        "create_repeatable": {"key": name},
        "create_named_repeatable": {"name": name, "key": name},
    }
    if action in creates:
        return lambda: _create(found, **creates[action])
    others = {
        "create_batch": _create_batch,
        "create_token": _create_token,
    }
    if action in others:
        return lambda: others[action](found, name)
    if ":" in action:
        return lambda: resolve_name(action)(found, name)
    if action == "revoke_token":
        _create_token(found, name)
        return lambda: found.tokens.revoke(name, attempt=_attempt(Action.TOKEN_REVOKE))
    if action == "renew_token":
        return _renew_token(found, name)
    if action == "fetch_batch":
        batch = [_create(found, max_reads=2) for _ in range(3)]
        return lambda: _fetch_batch(found, [*batch, batch[0]])
    secret = _create(found, max_reads=2)
    changes: dict[str, Callable[[], object]] = {
        "fetch": lambda: found.secrets.fetch(secret, attempt=_attempt(Action.FETCH)),
        "update": lambda: found.changes.update(
            secret, b"new", expected_version=None, attempt=_attempt(Action.UPDATE)
        ),
        "delete": lambda: found.changes.delete(secret, attempt=_attempt(Action.DELETE)),
        "restore": lambda: found.changes.restore(secret, attempt=_attempt(Action.RESTORE)),
        "delete_version": lambda: found.versions.delete(secret, None, attempt=_attempt(Action.DELETE)),
        "purge_version": lambda: found.versions.purge(secret, [1], attempt=_attempt(Action.PURGE)),
        "update_metadata": lambda: found.metadata.change(
            secret, expiry=Expiry(ttl_seconds=3_600), attempt=_attempt(Action.UPDATE_METADATA)
        ),
    }
    if action == "restore":
        changes["delete"]()
    return changes[action]


def _run(action: str, collection: str, number: int) -> Counter[str]:
    """Run *action*, with a kill at a collection's write of that *number* if given; return the writes."""
    killer = Killer(collection, number)
    monitoring.register(killer)
    app = create_app(Settings.from_environment())
    found = services(app)
    # Connected, with all indexes: on a busy machine that can take a while.
    deadline = time.monotonic() + _READY_SECONDS
    found.startup.begin()
    while failures := found.health.readiness().failures:
        assert time.monotonic() < deadline, failures
    do = _prepared(action, found, f"{action}-{collection}-{number}")
    killer.armed = True
    do()
    return killer.seen


def _in_child(action: str, collection: str = "", number: int = 0) -> Counter[str]:
    """Return the writes of a separate process; none if it was killed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, json.dumps(_run(action, collection, number)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        seen = Counter(json.loads(pipe.read() or b"{}"))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return seen


def _without_pages(app: Flask, services: Services, *_others: object) -> None:
    """Initialize *app* without the HTTP API, which takes nine tenths of the time."""
    app.extensions["secret-manager"] = services


def main(actions: Sequence[str]) -> None:
    """Kill one process after the other, and print the name that each gave its secret or token."""
    setattr(api, "init_app", _without_pages)  # noqa: B010 - mypy would refuse the assignment
    lengthen(setattr, setitem)
    for action in actions:
        for collection, count in _in_child(action).items():
            for number in range(1, count + 1):
                assert not _in_child(action, collection, number)
                print(f"{action}-{collection}-{number}")  # noqa: T201 - the output of the command


def killed(environment: Mapping[str, str], *actions: str) -> list[str]:
    """Kill a process at each write of *actions*; return the name that each gave its secret or token."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_points", *actions],
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"], "DELETE_RECOVERY_DAYS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    # At least one write has the effect, and one records it.
    assert len(names) >= 2 * len(actions)
    return names


if __name__ == "__main__":
    main(sys.argv[1:])
