"""Checks of each single answer: its content, and its audit entry."""

import json
from base64 import b64encode
from collections.abc import Iterator

from tests.qa.faults.evidence import Evidence, Findings
from tests.qa.faults.history import MARK, NOT_SENT, UNAVAILABLE, UNKNOWN, History, Request

#: The recorded outcome of each answer.
_RECORDED = {200: "success", 404: "not_found", 409: "bad_request"}
#: The actions that can be recorded of a write of Vault's API.
_RECORDED_AS = {"put": ("create", "update")}
_EXPECTED = (*_RECORDED, UNAVAILABLE, UNKNOWN, NOT_SENT)
#: The mark in the forms in which it could leak.
_MARKS = (MARK.decode(), b64encode(MARK).decode(), MARK.hex())


def check(history: History, evidence: Evidence, findings: Findings) -> None:
    """Add the violations of every answer of *history* to *findings*."""
    writers = {one.body["secret"]: one.secret for one in history if "secret" in one.body}
    for request in history:
        findings.unexpected += _unexpected(request)
        if request.did("fetch") and writers.get(request.reply["secret"]) != request.secret:
            findings.swapped.append(f"{request} was answered with a value that {request.secret} never had")
        if not request.succeeded and any(mark in request.text for mark in _MARKS):
            findings.leaked.append(f"{request} was answered {request.status} with a value")
        findings.unrecorded += _unrecorded(request, evidence)
        if len(entries := evidence.entries_of(request)) > 1:
            findings.duplicated.append(f"{request} has {len(entries)} entries")


def _unexpected(request: Request) -> Iterator[str]:
    if request.status not in _EXPECTED:
        yield f"{request} was answered {request.status}"
    if request.status > 0 and not _is_json(request.text):
        yield f"{request} was answered {request.status} without JSON"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _unrecorded(request: Request, evidence: Evidence) -> Iterator[str]:
    """Return the answers that are not on record as they were given."""
    status = _RECORDED.get(request.status)
    if status is None:
        return
    found = [entry for entry in evidence.entries_of(request) if entry.status == status]
    if not found:
        yield f"no entry says that {request} was answered {request.status}"
        return
    if request.is_by_name:
        if found[0].action not in _RECORDED_AS.get(request.action, request.action):
            yield f"the entry of {request} is about another operation"
        return
    secret_id = request.body.get("secret_id") or request.reply.get("secret_id")
    if (found[0].action, found[0].secret_id) != (request.action, secret_id):
        yield f"the entry of {request} is about another operation"
