"""Custody in the trail: its counts, the last drill, and the comparison with a provider's log."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS

from tests.support.rotation import Stored
from vault.common.errors import TransferError
from vault.core.documents import Database
from vault.features.custody.trail import ProviderLog, custody_activity, known_keks, mismatches

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BAO = "https://bao:8200/v1/transit/keys/sm"
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1"


def entry(action: str, minutes: float, **details: Any) -> dict[str, Any]:
    """Return an entry of this many minutes after `NOW`, as far as custody reads it."""
    return {
        "action": action,
        "status": "success",
        "ts": NOW + timedelta(minutes=minutes),
        "stream": "s",
        "seq": int(minutes * 100),
        "details": details,
    }


def unwrap(minutes: float, request_id: str, path: str = "transit/decrypt/sm", **more: Any) -> str:
    """Return the line of OpenBao's audit log for an unwrap."""
    time = f"{NOW + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}.123456789Z"
    return (
        json.dumps({"type": "response", "time": time, "request": {"id": request_id, "path": path}, **more})
        + "\n"
    )


def test_custody_is_counted_and_a_drill_expires(database: Database, stored: Stored) -> None:
    """A report has the period's counts, a drill is due a year after the last one, and an old file shows."""
    del database

    def activity() -> Any:
        return custody_activity(None, NOW - timedelta(days=30), NOW)

    assert (activity().is_used, activity().needs_drill) == (False, False)
    stored.audit_logs.insert_many(
        [
            entry("key_opened", -1),
            entry("key_opened", -2),
            entry("custody_changed", -3),
            entry("custody_checked", -4),
        ]
    )
    found = activity()
    assert (found.opened, found.changed, found.checked, found.recovered) == (2, 1, 1, 0)
    assert (found.is_used, found.needs_drill, found.last_drill) == (True, True, None)
    stored.audit_logs.insert_one(entry("key_recovered", -367 * 1440))
    assert activity().needs_drill
    stored.audit_logs.insert_one(entry("custody_checked", -60, recovery=True))
    assert not activity().needs_drill
    assert activity().last_drill == NOW - timedelta(hours=1)
    service = {"principal": "service"}
    stored.audit_logs.insert_one(entry("key_opened", -50, is_newest=True) | service)
    stored.audit_logs.insert_one(entry("key_opened", -40, is_newest=False) | {"principal": "operator"})
    assert activity().is_newest
    stored.audit_logs.insert_one(entry("custody_checked", -30, is_newest=False) | service)
    assert not activity().is_newest


def test_openbao_s_log_is_compared_with_the_trail(database: Database, stored: Stored) -> None:
    """Unwraps without an entry, and entries without an unwrap, are found; other lines are not."""
    del database
    stored.audit_logs.insert_many(
        [
            entry("key_opened", 1.1, request_id="start", kek=BAO),
            entry("key_opened", 2, request_id="", kek="pkcs11:token=sm"),
            entry("key_opened", 2.5, request_id="forged", kek=BAO),
            entry("key_opened", 2.6, request_id="other", kek=ARN),
            entry("custody_checked", 3.1, slots=[{"request_id": "check", "kek": BAO}, 1, {"request_id": 2}]),
            entry("custody_checked", 3.2, slots=[{"request_id": "", "kek": f"{BAO}2"}]),
            entry("custody_changed", 4.1, request_ids=["change"], slots="hostile"),
            entry("custody_changed", 4.2) | {"details": "hostile"},
            entry("key_opened", 9, request_id="later", kek=BAO),
        ]
    )
    lines = [
        unwrap(1, "start"),
        unwrap(3, "check"),
        unwrap(4, "change"),
        unwrap(5, "stolen"),
        unwrap(6, "refused", error="permission denied"),
        unwrap(6, "not ours", "transit/decrypt/other"),
        unwrap(6, "a request").replace("response", "request"),
        unwrap(7, "stolen too", "transit/decrypt/sm2"),
    ]
    keks = known_keks()
    assert keks == {BAO, f"{BAO}2", "pkcs11:token=sm", ARN}
    found = mismatches(ProviderLog.read(lines, keks))
    assert [(one.kind, one.request_id) for one in found] == [
        ("no unwrap", "forged"),
        ("no entry", "stolen"),
        ("no entry", "stolen too"),
    ]
    assert mismatches(ProviderLog.read([unwrap(6, "x", "sys/health")], keks)) == []


def test_paths_of_openbao_s_log_are_within_its_namespaces(database: Database, stored: Stored) -> None:
    """An unwrap by a key in a namespace is found: the log has the namespace's path apart from the key's."""
    del database
    kek = "https://bao:8200/v1/team/ops/transit/keys/sm"
    stored.audit_logs.insert_one(entry("key_opened", 1.1, request_id="start", kek=kek))

    def within(line: str, path: str) -> str:
        found = json.loads(line)
        found["request"]["namespace"] = {"id": "x1", "path": path}
        return json.dumps(found) + "\n"

    lines = [
        within(unwrap(1, "start"), "team/ops/"),
        within(unwrap(2, "stolen"), "team/ops/"),
        within(unwrap(3, "not ours"), "other/"),
        unwrap(4, "of the root"),
    ]
    found = mismatches(ProviderLog.read(lines, known_keks()))
    assert [(one.kind, one.request_id) for one in found] == [("no entry", "stolen")]


def test_a_forged_entry_hides_nothing(database: Database, stored: Stored) -> None:
    """Times that Python cannot hold, and a KEK that is no address, neither stop a comparison nor count."""
    del database
    drill = entry("key_recovered", -367 * 1440)
    stored.audit_logs.insert_many(
        [
            drill,
            entry("key_opened", 1, request_id="", kek="http://["),
            *(
                entry("key_opened", 2, request_id="stolen", kek=BAO) | {"seq": number, "ts": DatetimeMS(time)}
                for number, time in enumerate((-(2**62), 2**62))
            ),
            *(
                entry("key_recovered", 2) | {"seq": number, "ts": DatetimeMS(time)}
                for number, time in enumerate((-(2**61), 2**61), 10)
            ),
        ]
    )
    lines = [unwrap(1, "stolen"), unwrap(1, "no path").replace('"path"', '"other"')]
    found = mismatches(ProviderLog.read(lines, known_keks()))
    assert [(one.kind, one.request_id) for one in found] == [("no entry", "stolen")]
    activity = custody_activity(None, NOW - timedelta(days=30), NOW + timedelta(days=1))
    assert (activity.last_drill, activity.needs_drill) == (drill["ts"], True)


def test_an_entry_needs_an_unwrap_in_the_whole_span_of_the_log(database: Database, stored: Stored) -> None:
    """A log without any unwrap shows the entries that have none, from its first line to its last."""
    del database
    stored.audit_logs.insert_many(
        [entry("key_opened", minutes, request_id=f"at {minutes}", kek=BAO) for minutes in (0, 2, 9)]
    )
    lines = [unwrap(1, "x", "sys/health"), unwrap(3, "x", "sys/health")]
    log = ProviderLog.read(lines, {BAO})
    assert log.unwraps == []
    assert [(one.kind, one.request_id) for one in mismatches(log)] == [("no unwrap", "at 2")]


def test_cloudtrail_s_log_is_compared_with_the_trail(database: Database, stored: Stored) -> None:
    """CloudTrail's decryptions of master keys are found by their context, in one document of any form."""
    del database
    stored.audit_logs.insert_one(entry("key_opened", 1, request_id="start", kek=ARN))

    def record(request_id: str, **more: Any) -> dict[str, Any]:
        context = {"encryptionContext": {"purpose": "secret-manager master key"}}
        return {
            "eventName": "Decrypt",
            "eventTime": "2026-11-29T12:01:00Z",
            "requestID": request_id,
            "requestParameters": context,
        } | more

    records = [
        record("start"),
        record("stolen"),
        record("refused", errorCode="AccessDenied"),
        record("other", eventName="Encrypt"),
        record("not ours", requestParameters=None),
    ]
    for indent in (None, 1):
        text = json.dumps({"Records": records}, indent=indent)
        found = mismatches(ProviderLog.read(text.splitlines(keepends=True), known_keks()))
        assert [(one.kind, one.request_id) for one in found] == [("no entry", "stolen")]


@pytest.mark.parametrize(
    "text", ["", "no JSON\n", "[" * 100_000, "[]", '{"Records": 1}', "{}\n", '{"Records": [1]}']
)
def test_another_file_is_refused(text: str) -> None:
    """A file that is no log of a provider is refused."""
    with pytest.raises(TransferError, match="neither OpenBao"):
        ProviderLog.read(text.splitlines(keepends=True), {BAO})
