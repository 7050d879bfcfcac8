"""The final state of the service, the database and the audit trail."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pymongo import MongoClient

from tests.qa.faults.clients import Client, Known, Pool
from tests.qa.faults.evidence import Entry, Evidence, Stored
from tests.qa.faults.history import History, Request
from tests.support.unrecorded import unrecorded

#: The timeout for the last answer about a secret, and the seconds between two attempts.
_ANSWERED_SECONDS, _PAUSE = 300, 0.2

#: The exit code of a command that MongoDB did not answer in time, as on a busy machine, and its attempts.
_UNAVAILABLE, _ATTEMPTS = 5, 10


def read_all(port: int, history: History, *, token: str = "", host: str = "127.0.0.1") -> None:
    """Fetch every acknowledged secret until it is answered, those with a limit until they are used up."""
    names = {one.secret for one in history if one.is_by_name}
    created = {one.secret: one for one in history if one.did("create") and not one.is_by_name}
    reader = Client(-1, port, seed=0, pool=Pool(), history=history, token=token, host=host)
    for request in created.values():
        limit = request.body.get("max_reads")
        known = Known(request.secret, request.reply["secret_id"], limited=limit is not None)
        for _ in range(1 + (limit or 0)):
            if not _answered(reader, known).succeeded:
                break
    for name in names:
        _until_answered(lambda name=name: reader.fetch_by_name(name))
    reader.close()


def _answered(reader: Client, known: Known) -> Request:
    """Return the fetch of *known* that was answered; the first if it has a limit, as each may hold a read.

    Without an answer, its value would not be compared with anything.
    """
    if known.limited:
        return reader.fetch(known)
    return _until_answered(lambda: reader.fetch(known))


def _until_answered(ask: Callable[[], Request]) -> Request:
    deadline = time.monotonic() + _ANSWERED_SECONDS
    while (request := ask()).failed:
        assert time.monotonic() < deadline, f"{request} was never answered: {request.status} {request.text}"
        time.sleep(_PAUSE)
    return request


def evidence(uri: str) -> Evidence:
    """Return all secrets that can be found and all entries; nothing that could be rolled back."""
    with MongoClient[dict[str, Any]](uri, readConcernLevel="majority") as client:
        database = client.get_default_database()
        secrets = database.secrets.find({"pending": None}, {"envelope": 0, "older": 0})
        return evidence_of(secrets, database.audit_logs.find({"request_id": {"$ne": ""}}))


def unrecorded_effects(uri: str) -> list[str]:
    """Return a sentence for each kind of effects in the database that have no entry."""
    with MongoClient[dict[str, Any]](uri) as client:
        lacking = unrecorded(client.get_default_database())
    return [f"{count} effects of {action} have no entry" for action, count in lacking.items()]


def evidence_of(secrets: Iterable[Mapping[str, Any]], entries: Iterable[Mapping[str, Any]]) -> Evidence:
    """Return the evidence in documents of both collections."""
    return Evidence({one["_id"]: _stored(one) for one in secrets}, [_entry(one) for one in entries])


def _stored(document: Mapping[str, Any]) -> Stored:
    return Stored(document["version"], "deleted_at" in document, document.get("reads", 0))


def _entry(document: Mapping[str, Any]) -> Entry:
    return Entry(document["request_id"], document["action"], document["status"], document.get("secret_id"))


def verify(environment: Mapping[str, str]) -> str:
    """Return the findings of `audit verify`, or an empty text."""
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            [sys.executable, "-m", "vault.cli", "audit", "verify"],
            env={**os.environ, **environment, "LD_PRELOAD": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != _UNAVAILABLE:
            break
    return done.stdout + done.stderr if done.returncode else ""
