"""One application for all tests of a process that need none of their own: its start takes half of a test.

A test has its own one with the mark `own_app`, or if a fixture of it replaces the settings. A process has one
connection at a time, so the shared one ends before such a test, and starts again after it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import pytest
from flask import Flask
from mongoengine.connection import _connections
from pymongo import MongoClient

from tests.support.databases import EmptyDatabases, filled_of, structure_of
from tests.support.rotation import Stored
from vault.common.config.settings import Settings
from vault.core.documents.collections import collections
from vault.core.keys import guard
from vault.core.trail import writer
from vault.toolkit.http import rate_limits
from vault.toolkit.http.memory import Memory
from vault.toolkit.operations.blueprint import SLOTS

#: Fixtures of which a test has no more than the one of `tests/conftest.py`.
_USUAL = ("app", "environment", "mongo_uri", "stored", "master_key")
#: Fixtures that connect, or watch an application from its start.
_OWN = {"commands", "database", "own_timeouts", "reads", "served", "service", "trail"}
#: Names in a test that connects itself.
_CONNECTING = {"CLOSE", "connected", "create_app", "running_app", "start"}
#: Collections that a test may fill. Of the others, an application caches the contents.
_EMPTIED = ("secrets", "audit_logs", "tokens", "sessions", "idempotency_keys")
#: Collections that keep what the start has stored, except for the times of renewals.
_KEPT = ("keys", "audit_keys", "token_keys")
_COLLECTIONS = tuple(collections())
#: Longer than all tests: no background task wakes up during one.
_NEVER_SECONDS = 10**6


def is_shared(item: pytest.Item) -> bool:
    """Return whether *item* uses the shared application."""
    found = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return (
        "app" in found
        and all(len(found[name]) == 1 for name in _USUAL if name in found)
        and not _OWN & {*item.fixturenames}  # type: ignore[attr-defined]
        and not _CONNECTING & {*item.function.__code__.co_names}  # type: ignore[attr-defined]
        and not item.get_closest_marker("own_app")
        and not item.get_closest_marker("new_database")
    )


class SharedApplication:
    """The application and its database, while it runs."""

    environment: dict[str, str]
    databases: EmptyDatabases

    def __init__(self) -> None:
        self._running = ExitStack()
        self.app: Flask | None = None

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return self.app is not None

    def open(self) -> None:
        """Start it, if it does not run, without entries: as a worker after its start."""
        if self.is_open:
            return
        from tests.conftest import running_app, start

        with ExitStack() as stack:
            self.uri = stack.enter_context(self.databases.one())
            environment = self.environment | {"MONGO_URI": self.uri}
            with pytest.MonkeyPatch.context() as patch:
                for name in ("_HEAD_INTERVAL_SECONDS", "_RETIREMENT_INTERVAL_SECONDS"):
                    patch.setattr(writer, name, _NEVER_SECONDS)
                app = stack.enter_context(running_app(environment))
                start(app)
            # A test that stores something under another key would make the guard refuse its requests.
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(guard, "SEARCH_INTERVAL_SECONDS", _NEVER_SECONDS)
            client = stack.enter_context(MongoClient[dict[str, Any]](self.uri, tz_aware=True))
            self.stored: Stored = client.get_default_database()
            app.extensions["secret-manager"].tokens._keys.find_or_make()
            self._settings = Settings.from_mapping(environment)
            self._running = stack.pop_all()
        self.app = app
        self._usual = self._state()
        self._clear()

    def close(self) -> None:
        """End it, if it runs."""
        self.app = None
        self._running.close()

    def empty(self) -> None:
        """Prepare for the next test; end if the state is one that it must not see."""
        if self.app is None:
            return
        services = self.app.extensions["secret-manager"]
        has_failed = services.startup.failure or services.startup._trail.needs_start
        if has_failed or self._state() != self._usual or not self._clear():
            self.close()
            return
        # Equal refusals of earlier tests would be counted in place of an entry.
        services.startup._trail._refusals.take()
        for name, extension in self.app.extensions.items():
            if isinstance(extension, Memory):
                # Unread replies of earlier tests have some of it.
                self.app.extensions[name] = Memory(extension._max_bytes)
        rate_limits.close(self.app)
        rate_limits.init_app(self.app, self._settings)

    def _clear(self) -> bool:
        """Empty the collections; return whether no other has contents."""
        filled = filled_of(self.stored, _COLLECTIONS)
        for name in filled & {*_EMPTIED}:
            self.stored[name].delete_many({})
        return filled <= {*_EMPTIED, *_KEPT}

    def _state(self) -> tuple[object, ...]:
        """Return what is the same before each test."""
        assert self.app
        kept = {name: [_settled(one) for one in self.stored[name].find().sort("_id")] for name in _KEPT}
        # Of another one, or none, if the test has run a command in this process.
        connection = id(_connections.get("default"))
        slots = len(self.app.extensions[SLOTS])
        return structure_of(self.stored), kept, dict(self.app.config), connection, slots


def _settled(document: dict[str, Any]) -> dict[str, Any]:
    """Return *document* without the times of renewals."""
    found = deepcopy(document)
    for one in (found, *found.get("workers", ())):
        one.pop("renewed_at", None)
    return found


#: The one of this process.
shared = SharedApplication()


@contextmanager
def emptied() -> Iterator[None]:
    """Empty the shared application after the block."""
    try:
        yield
    except BaseException:
        shared.close()
        raise
    shared.empty()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the shared application before a test that does not use it: no other may get its entries."""
    if not is_shared(item):
        shared.close()
