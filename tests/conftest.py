"""Shared fixtures: real MongoDB servers, applications on them, and the service as a process."""

import gc
import logging
import os
import random
import secrets
import shutil
import signal
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from werkzeug.routing import Rule
from werkzeug.routing.rules import RulePart

from tests.support.access import make_token
from tests.support.databases import EmptyDatabases, new_database
from tests.support.lifecycle import ALICE, Caller
from tests.support.openbao import OpenBao
from tests.support.reports import pytest_runtest_makereport  # noqa: F401 - a hook
from tests.support.rotation import connected
from tests.support.service import Service
from tests.support.shared_application import (
    SharedApplication,
    emptied,
    is_shared,
    pytest_runtest_setup,  # noqa: F401 - a hook
    shared,
)
from tests.support.tiers import pytest_itemcollected, pytest_runtest_call  # noqa: F401 - hooks
from tests.support.timeouts import LONG_SECONDS, lengthen
from vault.app import create_app
from vault.clients.dev import mongod as ports
from vault.clients.dev.mongod import Mongod
from vault.common import batching
from vault.common.config.settings import Settings
from vault.common.feature import Task
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import AuditEntry, Database, EncryptOnSave
from vault.core.trail.writer import AuditTrail
from vault.toolkit.operations.blueprint import REQUEST_TIMEOUT

pytest_plugins = ("tests.support.batch_fixtures", "tests.support.command_fixtures")

# The duration of an example depends on the machine. `--hypothesis-profile nightly` runs many more.
_EXAMPLES: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis.register_profile("usual", max_examples=50, **_EXAMPLES)
hypothesis.register_profile("nightly", max_examples=2_000, **_EXAMPLES)
hypothesis.load_profile("usual")

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - folders in it are made by tempfile


@pytest.fixture(scope="session", autouse=True)
def _measured_threads() -> Iterator[None]:
    """Start flushes as a `threading.Thread`: coverage does not follow lower-level threads."""

    def start(function: Callable[..., None], arguments: tuple[object, ...]) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "start_new_thread", start)
        yield


@pytest.fixture(scope="session", autouse=True)
def _urls_compiled_once() -> Iterator[None]:
    """Parse a rule, and compile the function that builds its URLs, once: making an application takes that."""
    compiled: dict[tuple[object, ...], Callable[..., tuple[str, str]]] = {}
    parsed: dict[str, tuple[list[RulePart], list[tuple[bool, str]]]] = {}
    really_parse = Rule._parse_rule
    really_compile = Rule._compile_builder

    def compile_builder(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        if rule.defaults:
            return really_compile(rule, append_unknown)
        key = (rule.rule, *rule._trace, append_unknown)
        if key not in compiled:
            compiled[key] = really_compile(rule, append_unknown)
        return compiled[key]

    def parse_rule(rule: Rule, text: str) -> Iterable[RulePart]:
        # A variable has a converter, which belongs to one application.
        if "<" in text:
            return really_parse(rule, text)
        if text not in parsed:
            start = len(rule._trace)
            parsed[text] = list(really_parse(rule, text)), rule._trace[start:]
        else:
            rule._trace += parsed[text][1]
        return parsed[text][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_builder)
        patch.setattr(Rule, "_parse_rule", parse_rule)
        yield


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[pytest.MonkeyPatch]:
    """Lengthen the timeouts of applications in this process: MongoDB can be slow, and is never away."""
    with pytest.MonkeyPatch.context() as patch:
        lengthen(patch.setattr, patch.setitem)
        yield patch


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """Undo the configuration of the log by a command that a test runs in this process."""
    root = logging.getLogger()
    handlers = [*root.handlers]
    levels = {logger: logger.level for logger in (root, logging.getLogger("vault"))}
    yield
    root.handlers[:] = handlers
    for logger, level in levels.items():
        if logger.level != level:
            logger.setLevel(level)


@pytest.fixture
def own_timeouts(_patience: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the timeouts of applications in this process as they are, for a test without MongoDB."""
    _patience.undo()
    yield
    lengthen(_patience.setattr, _patience.setitem)


@pytest.fixture(scope="session")
def master_key() -> str:
    """Return a master key as the environment holds it."""
    return b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture(scope="session")
def key(master_key: str) -> MasterKey:
    """Return the master key itself."""
    return MasterKey(b64decode(master_key))


@pytest.fixture
def keyring() -> Keyring:
    """Return a keyring of one new key."""
    return Keyring(MasterKey(secrets.token_bytes(32)))


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod]:
    """Run one real MongoDB, a replica set of one member, for all tests that leave it unchanged."""
    # It removes expired documents each second, not each minute, so that tests need not wait for it. And it
    # closes dropped databases soon: a thousand, of thirty files each, exceed its open files.
    options = (
        *("--setParameter", "ttlMonitorSleepSecs=1"),
        *("--setParameter", "minSnapshotHistoryWindowInSeconds=0"),
        *("--syncdelay", "10"),
        *("--wiredTigerEngineConfigString", "file_manager=(close_idle_time=2,close_scan_interval=1)"),
    )
    with (
        TemporaryDirectory(prefix="mongod-", dir=memory_or_disk()) as folder,
        Mongod(Path(folder) / "db", options=options) as server,
    ):
        yield server


def memory_or_disk() -> str | None:
    """Return a folder in memory: no test needs durability across power loss, and disks are slower.

    Without such a folder, or with too little room in it, return None, the default place.
    """
    with suppress(OSError):
        if shutil.disk_usage(SHARED_MEMORY).free > 4 * 2**30:
            return SHARED_MEMORY
    return None


@pytest.fixture(scope="session")
def empty_databases(mongod: Mongod) -> Iterator[EmptyDatabases]:
    """Return databases for the tests that do not care about who builds the indexes, and when."""
    with closing(EmptyDatabases(mongod)) as databases:
        yield databases


@pytest.fixture
def mongo_uri(
    request: pytest.FixtureRequest, mongod: Mongod, empty_databases: EmptyDatabases
) -> Iterator[str]:
    """Return the connection string of the test's own database, which can have indexes already.

    With the mark `new_database`, nothing was ever stored in it.
    """
    if is_shared(request.node):
        yield shared.uri
        return
    is_new = request.node.get_closest_marker("new_database")
    with new_database(mongod) if is_new else empty_databases.one() as uri:
        yield uri


@pytest.fixture
def stored(mongo_uri: str) -> Iterator[MongoDatabase]:
    """Return the test's database as stored, without this package's classes."""
    if shared.is_open:
        yield shared.stored
        return
    with MongoClient(mongo_uri, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def database(mongo_uri: str) -> Iterator[Database]:
    """Connect the documents to the test's database, with all indexes."""
    with connected(mongo_uri) as database:
        yield database


@pytest.fixture
def without_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store entries before their effects, as with a standalone server."""
    monkeypatch.setattr(AuditEntry, "has_transactions", lambda: False)


@pytest.fixture
def environment(master_key: str, mongo_uri: str) -> dict[str, str]:
    """Return the settings of a service on the test's database, as its environment holds them."""
    return {"MASTER_KEY": master_key, "MONGO_URI": mongo_uri}


@dataclass(frozen=True)
class Resting:
    """A task that does not start with its application, as its thread would interfere with the test."""

    task: Task

    def start(self) -> None:
        """Rest: the test starts what it needs."""

    def close(self) -> None:
        """Close the task."""
        self.task.close()

    @property
    def warnings(self) -> Sequence[str]:
        """The warnings of the task."""
        return self.task.warnings


@pytest.fixture(autouse=True)
def _application(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the shared application for a test that uses it: before anything of the test is replaced."""
    if not is_shared(request.node):
        yield
        return
    request.getfixturevalue("_shared").open()
    with emptied():
        yield


@pytest.fixture(scope="session")
def _shared(master_key: str, empty_databases: EmptyDatabases) -> Iterator[SharedApplication]:
    """Return the shared application, which ends before MongoDB does."""
    shared.environment, shared.databases = {"MASTER_KEY": master_key}, empty_databases
    yield shared
    shared.close()


@contextmanager
def running_app(environment: dict[str, str]) -> Iterator[Flask]:
    """Create an application with *environment* and close it again, with its signal receivers.

    The tasks of features rest.
    """
    assert not shared.is_open, "mark the test with own_app"
    app = create_app(Settings.from_mapping(environment))
    startup = app.extensions["secret-manager"].startup
    startup._tasks = [Resting(task) for task in startup._tasks]
    # The test must see what a client sees, not what a debugger would show.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    if REQUEST_TIMEOUT not in environment:
        # More than an operation has, as always.
        app.config[REQUEST_TIMEOUT] = 2 * LONG_SECONDS
    try:
        yield app
    finally:
        app.extensions["secret-manager-close"]()


def start(app: Flask) -> None:
    """Start *app* like gunicorn's worker: claim the key, and begin the trail."""
    app.extensions["secret-manager"].startup.attempt()


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Flask]:
    """Return an application in this process, on a real database: the shared one, or the test's own."""
    if shared.app:
        yield shared.app
        return
    with running_app(environment) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client of `app`."""
    return app.test_client()


@pytest.fixture
def anyone(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Return an anonymous caller of `client`."""
    return Caller(client, monkeypatch)


@pytest.fixture
def alice(anyone: Caller) -> Caller:
    """Return a caller with all scopes for the secrets of the default namespace."""
    return anyone.become(ALICE)


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """Run the service as a process, with two workers, on the test's own real database."""
    with Service(environment, measured=True, patient=True, folder=tmp_path) as service:
        service.wait_until_started()
        yield service


@pytest.fixture(scope="session")
def shared_service(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run a service for all tests that leave it running, and check nothing except its replies."""
    folder = tmp_path_factory.mktemp("service")
    with (
        new_database(mongod) as uri,
        Service(
            {"MASTER_KEY": master_key, "MONGO_URI": uri}, measured=True, patient=True, folder=folder
        ) as service,
    ):
        service.wait_until_started()
        yield service


@pytest.fixture(scope="module")
def guarded(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str]]:
    """Run a service that requires a credential, and return it with an administrator's token."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "AUTH_ENABLED": "true"}
        with running_app(settings) as app:
            token = make_token(app, "ci", role="admin")
        with Service(settings, patient=True, folder=tmp_path_factory.mktemp("guarded")) as service:
            service.wait_until_started()
            yield service, token


class _InTurn(Sequence[int]):
    """Ports in a random order, whatever the index: none is chosen again while its first user is starting."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._count = len(ports)
        self._next = cycle(random.sample(ports, self._count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, _index: Any) -> Any:
        return next(self._next)


def pytest_configure() -> None:
    """Give each test process its own range of ports, and make signals reach the processes it starts.

    A process has its port before it listens on it, so another could take the port. Also, a shell's background
    processes ignore Ctrl-C, processes under `nohup` ignore a lost terminal, and their children inherit that.
    """
    # Until all tests are collected.
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports._PORTS = _InTurn(ports._PORTS[number::count])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Require of every selected test the sentence with its promise, and put the tests in order."""
    for item in items:
        if isinstance(item, pytest.Function) and not item.function.__doc__:
            raise pytest.UsageError(f"{item.nodeid} has no docstring")
    _begin_with_long_ones(items)


def pytest_collection_finish() -> None:
    """Exclude all that is loaded from garbage collection, which would take a tenth of the time."""
    gc.freeze()
    gc.enable()


def _begin_with_long_ones(items: list[pytest.Item]) -> None:
    """Put long tests at the beginning of each process's share, so that no process ends with a long one.

    Each process gets a part of *items*, as long as those of the others, and takes over tests of others in the
    end.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    short = iter([item for item in items if not item.get_closest_marker("long")])
    ends = [len(items) * part // count for part in range(count + 1)]
    parts = [long[part::count] for part in range(count)]
    items[:] = [
        item
        for part, start, end in zip(parts, ends, ends[1:], strict=False)
        for item in (*part, *islice(short, max(0, end - start - len(part))))
    ]


def pytest_report_header() -> str:
    """Name the Python that runs the tests."""
    return f"python: {sys.executable}"


@pytest.fixture
def trail(database: Database, keyring: Keyring) -> Iterator[AuditTrail]:  # noqa: ARG001 - the fixture connects
    """Return a trail on the test's database that receives attempts directly."""
    trail = AuditTrail(keyring)
    yield trail
    trail.disconnect()


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """Run OpenBao for all tests that use only secrets engines of their own."""
    with OpenBao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def encrypting(database: Database, key: MasterKey) -> Iterator[Database]:
    """Connect the documents to the test's database, and encrypt with `key` on save."""
    hook = EncryptOnSave(Keyring(key))
    hook.connect()
    yield database
    hook.disconnect()
