"""No secret appears where it must not, for any request and any refusal.

Every operation of the API document is brought to every answer that the document names. Everything sent and
configured contains marked secrets, credentials and keys. The tests then search all outputs for the marks:
replies, the log at its most verbose, tracebacks, metrics, the database, and the `repr` of every object in
use.
"""

import gc
import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask, g
from pymongo.errors import PyMongoError
from werkzeug.exceptions import RequestTimeout

from tests.conftest import running_app
from tests.support.access import make_token, revoke, services
from tests.support.features import tables
from tests.support.leaks import (
    NAME,
    OTHER_VALUE,
    PASSWORD,
    VALUE,
    LeakError,
    Marks,
    Output,
    b64,
    forms,
    shown,
)
from tests.support.lifecycle import UNKNOWN_ID
from tests.support.metrics import exposition
from tests.support.reports import shortened
from tests.support.rotation import Stored
from tests.support.service import Service
from tests.system.leaks_world import (
    ELSEWHERE,
    FEW,
    FIXED,
    IDEMPOTENCY_KEY,
    KEYS,
    MASTER_KEYS,
    SETTINGS,
    STORED,
    TOKENS,
    Send,
    World,
    exhaust,
    fill,
    speak,
)
from vault.clients.dev.mongod import free_port
from vault.common.errors import AuditUnavailableError, KeyMissingError, StorageUnavailableError
from vault.common.observability import logs
from vault.core.attempt import Outcome, attempts_finished
from vault.core.crypto import MasterKey
from vault.core.documents import database
from vault.core.secrets.requests import NewSecret
from vault.toolkit.http import bodies as json_parser
from vault.toolkit.http import counters, errors, request_log


def in_process(app: Flask) -> Send:
    """Return a function that sends requests to *app*."""
    client = app.test_client()

    def send(method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, str]:
        with client.open(path, method=method, data=data, headers=headers) as reply:
            return reply.status_code, f"{reply.headers}\n\n{reply.get_data(as_text=True)}"

    return send


def over_http(service: Service) -> Send:
    """Return a function that sends requests to *service*."""

    def send(method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, str]:
        reply = requests.request(
            method, service.url + path, data=data, headers=headers, timeout=60, allow_redirects=False
        )
        return reply.status_code, f"{reply.headers}\n\n{reply.text}"

    return send


class Lines(logging.Handler):
    """Handler that keeps log records as they are formatted."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logs.JsonFormatter())
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.text += self.format(record) + "\n"


@contextmanager
def observed(world: World) -> Iterator[None]:
    """Keep the log lines of the block, and the `repr` of each object in use when an operation ends."""
    lines = Lines()
    root, own = logging.getLogger(), logging.getLogger("vault")
    level = own.level
    seen: set[str] = set()

    def look(_outcomes: Sequence[Outcome], _new_secrets: object) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("vault."):
                seen.add(shown(*frame.f_locals.values()))
            frame = frame.f_back

    root.addHandler(lines)
    own.setLevel(logging.DEBUG)
    attempts_finished.connect(look)
    try:
        yield
    finally:
        attempts_finished.disconnect(look)
        own.setLevel(level)
        root.removeHandler(lines)
        seen.add(shown(*gc.get_objects()))
        world.outputs.append(Output("the log", lines.text))
        world.outputs.append(Output("the metrics", exposition()))
        world.outputs.append(Output("a repr", "\n".join(seen), STORED))


def keep_database(world: World, stored: Stored) -> None:
    """Keep the contents of the database."""
    for name in stored.list_collection_names():
        text = b"".join(stored[name].find_raw_batches()).decode("latin-1")
        world.outputs.append(Output(f"the collection {name}", text, STORED))


@pytest.fixture
def settings(mongo_uri: str) -> dict[str, str]:
    """Return service settings that contain marks."""
    return {**SETTINGS, "MONGO_URI": mongo_uri}


@contextmanager
def made_world(settings: dict[str, str]) -> Iterator[tuple[World, Flask]]:
    """Create an application with *settings*, and its tokens."""
    with running_app(settings) as app:
        tokens = {
            "admin": make_token(app, "admin", role="admin", seconds=7_200, max_age=86_400),
            "nothing": make_token(app, "nothing", scopes=("no:scope",)),
            "elsewhere": make_token(app, "elsewhere", role="admin", networks=("192.0.2.0/24",)),
            "revoked": make_token(app, "revoked", role="admin"),
            **{kind: make_token(app, kind, scopes=scopes) for kind, scopes in TOKENS.items()},
        }
        revoke(app, "revoked")
        yield World(app.test_client().get("/openapi.json").json, tokens), app


#: Failures of the layers below, each quoting everything it knows.
EVERYTHING = [VALUE, b64(VALUE), OTHER_VALUE, KEYS, MASTER_KEYS, PASSWORD, IDEMPOTENCY_KEY, NAME]
FAILURES = {
    RuntimeError: 500,
    StorageUnavailableError: 503,
    AuditUnavailableError: 503,
    KeyMissingError: 503,
}


@contextmanager
def failing(kind: type[Exception]) -> Iterator[None]:
    """Fail the next successful operation by *kind*, with a reason that quotes everything."""
    receivers = attempts_finished.receivers_for
    failed = False
    # Errors shown to callers have a fixed message and accept no other.
    quoting = [] if kind in (AuditUnavailableError, KeyMissingError) else [f"{EVERYTHING}"]

    def fail(outcomes: Sequence[Outcome], new_secrets: Sequence[Any]) -> bool:
        nonlocal failed
        # The secrets of a new rotation plan are read first.
        if not failed and not any(attempt.details.get("rotation") for attempt, _ in outcomes):
            failed = True
            raise kind(*quoting) from PyMongoError(f"{EVERYTHING}")
        return any(receive(outcomes, new_secrets) for receive in receivers(outcomes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts_finished, "receivers_for", lambda _: [fail])
        yield


def too_late(_request: object) -> bytes:
    raise RequestTimeout("The body did not arrive in time.") from TimeoutError(f"{EVERYTHING}")


def everything(world: World, app: Flask, settings: dict[str, str]) -> None:
    """Bring each operation to each of its answers."""
    send = in_process(app)
    exhaust(world, send)
    fill(world, send)
    speak(world, send)
    for path, _ in world.operations:
        for kind, status in FAILURES.items():
            body = world.good_body(send, path)
            with failing(kind):
                assert world.ask(send, path, body, world.caller(path)) == status, path
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_parser, "_read", too_late)
            assert world.ask(send, path, {"secret": b64(VALUE)}, world.caller(path)) == 408
    # Its checks would use the connection of the next application, which replaces this one's.
    services(app).guard.close()
    limited = {"RATE_LIMIT": "1/day", "RATE_LIMIT_STORAGE_URI": ELSEWHERE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counters, "_TIMEOUT_MILLISECONDS", 10)
        for more, status in (
            (limited, 429),
            ({"ALLOWED_NETWORKS": "192.0.2.0/24"}, 403),
            ({"ALLOWED_HOSTS": "elsewhere.example"}, 421),
        ):
            with running_app(settings | more) as other:
                send = in_process(other)
                for path, _ in world.operations:
                    statuses = [
                        world.ask(send, path, {"secret": b64(VALUE)}, world.caller(path)) for _ in range(2)
                    ]
                    assert statuses[1] == status
    elsewhere = settings | {"MONGO_URI": ELSEWHERE}
    with pytest.MonkeyPatch.context() as patch, running_app(elsewhere) as lost:
        patch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.1)
        send = in_process(lost)
        assert world.ask(send, "/vault/secret/create", {"secret": b64(VALUE)}, world.tokens["admin"]) == 503
        status, text = send("GET", "/health/ready", b"", {})
        assert status == 503
        world.outputs.append(Output("readiness", text))


@pytest.mark.promise(1, 2, "credentials")
@pytest.mark.process
@pytest.mark.long
def test_no_secret_appears_where_it_must_not(settings: dict[str, str], stored: Stored) -> None:
    """Across every documented answer of every operation, no mark appears where it must not."""
    with made_world(settings) as (world, app):
        with observed(world):
            everything(world, app, settings)
        keep_database(world, stored)
    assert {which: fields for which, fields in world.unsent.items() if fields} == {}, (
        "give each field to a body: in REST of leaks_world.py, or in tables.py of a feature's tests"
    )
    for path, operation in world.operations:
        assert world.seen[path] == {int(status) for status in operation["responses"].keys() - FIXED}, path
    world.marks.refuse_leaks(world.outputs)
    # Required occurrences are found, so the search works on these outputs.
    found = {name for output in world.outputs for name in world.marks.found(output.text)}
    required = {"value", "id", "name", "label", "new token", "token of admin"}
    assert found >= required.union(*tables("FOUND"))


@pytest.mark.promise(2)
@pytest.mark.process
def test_no_secret_is_in_the_log_of_a_running_service(settings: dict[str, str], tmp_path: Path) -> None:
    """The most verbose log of the whole process, gunicorn and libraries included, contains no mark."""
    with made_world(settings) as (world, _):
        pass
    # The others differ in nothing that gunicorn or a library logs.
    world.operations = [one for one in world.operations if one[0] in FEW]
    bind = f"127.0.0.1:{free_port()}"
    with Service({**settings, "METRICS_BIND": bind, "WEB_CONCURRENCY": "1"}, folder=tmp_path) as service:
        service.wait_until_started()
        exhaust(world, over_http(service))
        speak(world, over_http(service))
        metrics = requests.get(f"http://{bind}/metrics", timeout=60).text
        assert service.stop() == 0
    text = service.log.read_text()
    assert '"level": "debug"' in text
    assert 'secret_manager_requests_total{operation="create_secret"' in metrics
    world.outputs += [Output("the log", text), Output("the metrics", metrics)]
    world.marks.refuse_leaks(world.outputs)


def log_the_body(patch: pytest.MonkeyPatch) -> None:
    """Write the request body to the log."""
    read = json_parser._read

    def leak(request: Any) -> bytes:
        body = read(request)
        logging.getLogger("vault.toolkit.http.bodies").debug("read %s", body)
        return body

    patch.setattr(json_parser, "_read", leak)


def log_the_text(patch: pytest.MonkeyPatch) -> None:
    """Write exception messages to the log."""
    patch.setattr(logs, "locations", lambda error: [str(error)])


def answer_the_text(patch: pytest.MonkeyPatch) -> None:
    """Return the exception message in a refusal."""
    patch.setattr(errors, "problem", lambda *_, **__: errors.Response(f"{EVERYTHING}", 500))


def show_the_new_secret(patch: pytest.MonkeyPatch) -> None:
    """Show the value in the `repr` of an object in use."""
    patch.setattr(NewSecret, "__repr__", lambda new_secret: f"<NewSecret {new_secret.plaintext}>")


def show_the_key(patch: pytest.MonkeyPatch) -> None:
    """Show the key in the `repr` of an object that lives as long as the process."""
    patch.setattr(MasterKey, "__repr__", lambda key: f"<MasterKey {key._material.hex()}>")


def store_the_key(patch: pytest.MonkeyPatch) -> None:
    """Store a credential in an audit entry."""
    receivers = attempts_finished.receivers_for

    def leak(outcomes: Sequence[Outcome], new_secrets: Sequence[Any]) -> bool:
        for attempt, _ in outcomes:
            attempt.details["sent"] = b64(IDEMPOTENCY_KEY.encode())
        return any(receive(outcomes, new_secrets) for receive in receivers(outcomes))

    patch.setattr(attempts_finished, "receivers_for", lambda _: [leak])


def label_the_id(patch: pytest.MonkeyPatch) -> None:
    """Put an ID in a metric label."""
    patch.setattr(request_log, "_operation", lambda _: g.attempt.secret_id if "attempt" in g else "none")


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("plant", "place", "name"),
    [
        (log_the_body, "the log", "value"),
        (log_the_text, "the log", "password"),
        (answer_the_text, "500 of /vault/secret/create", "key"),
        (show_the_new_secret, "a repr", "value"),
        (show_the_key, "a repr", "fallback"),
        (store_the_key, "the collection audit_logs", "idempotency_key"),
        (label_the_id, "the metrics", "id"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_injected_leak_is_found(
    settings: dict[str, str],
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    place: str,
    name: str,
) -> None:
    """The check finds a deliberate leak of each kind in its place."""
    plant(monkeypatch)
    with made_world(settings) as (world, app):
        with observed(world):
            send = in_process(app)
            body = world.good_body(send, "/vault/secret/create")
            with failing(RuntimeError):
                assert world.ask(send, "/vault/secret/create", body, world.tokens["admin"]) == 500
            world.create(send)
        keep_database(world, stored)
    assert (place, name) in world.marks.leaks(world.outputs)


@pytest.mark.promise(2)
@pytest.mark.parametrize("around", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("secret", [VALUE, OTHER_VALUE, PASSWORD.encode()], ids=["text", "bytes", "letters"])
def test_a_mark_is_found_in_every_form(secret: bytes, around: str) -> None:
    """A mark is found within other text, truncated and in every encoding; other text is not found."""
    marks = Marks(it=secret, other=secrets.token_bytes(24))
    whole = around.encode() + secret + around.encode()
    texts = {around + form[:-3] + around for form in forms(secret)} | {
        b64(whole),
        whole.hex(),
        quote(whole),
        f"{whole!r}",
        json.dumps(whole.decode("latin-1")),
    }
    for text in texts:
        assert marks.found(text) == {"it"}, text
    for text in (b64(secrets.token_bytes(99)), UNKNOWN_ID, around * 99):
        assert marks.found(text) == set()


def test_a_mark_that_is_too_short_is_refused() -> None:
    """A mark that is too short to be distinctive is refused."""
    with pytest.raises(ValueError, match="too short"):
        Marks(it="short")


def test_leaks_are_reported_in_one_line_without_values() -> None:
    """The report of any number of leaks is one line: how many they are, and the first, without its value."""
    marks = Marks(first=VALUE, second=OTHER_VALUE)
    outputs = [Output(f"output {number:03}", f"{VALUE!r} {b64(OTHER_VALUE)}") for number in range(500)]
    with pytest.raises(LeakError) as caught:
        marks.refuse_leaks(outputs)
    message = str(caught.value)
    assert {"1000", "500", "2"} <= {*re.findall("[0-9]+", message)}
    assert "first in output 000" in message
    assert "\n" not in message
    assert marks.found(message) == set()


def test_a_failed_test_reports_the_end_of_what_was_captured() -> None:
    """A report has 40 lines of a captured output, and none after a leak."""
    log = "\n".join(f"line {number}" for number in range(5_000))
    sections = [("Captured log call", log), ("Captured stdout call", "short\n")]
    [(_, end), short] = shortened(sections, leaked=False)
    assert end.splitlines() == ["(4960 more lines)", *log.splitlines()[-40:]]
    assert short == sections[1]
    assert shortened(sections, leaked=True) == []
