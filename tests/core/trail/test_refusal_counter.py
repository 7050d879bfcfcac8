"""Refusals that are recorded individually, and those that are counted."""

from typing import Any

import pytest
from bson import encode

from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from tests.support.written_trail import findings
from vault.common.errors import AuditUnavailableError, OverloadedError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents.audit import record_of
from vault.core.documents.secret import SecretChange
from vault.core.principal import UNAUTHENTICATED, Principal, Scope
from vault.core.trail import refusal_counter
from vault.core.trail.refusal_counter import MAX_SINGLE, MAX_SINGLE_OF_KIND, MAX_SOURCES
from vault.core.trail.streams.signing_keys import own
from vault.core.trail.writer import AuditTrail


def refuse(
    trail: AuditTrail,
    ip: str = "192.0.2.1",
    *,
    reason: str = "unknown",
    action: Action = Action.FETCH,
    principal: Principal = UNAUTHENTICATED,
    count: int = 1,
) -> None:
    for _ in range(count):
        attempt = Attempt(action=action, ip=ip, principal=principal, details={"reason": reason})
        trail._on_finish([(attempt, Status.DENIED)])


def documents(stored: Stored) -> list[dict[str, Any]]:
    return list(stored.audit_logs.find().sort([("stream", 1), ("seq", 1)]))


def counted(stored: Stored) -> dict[tuple[str, ...], int]:
    """Return the counts by principal, action, address and reason."""
    return {
        (entry["principal"], entry["action"], entry["ip"], entry["details"]["reason"]): entry["details"][
            "count"
        ]
        for entry in documents(stored)
        if "count" in entry["details"]
    }


def total(stored: Stored) -> int:
    return sum(entry["details"].get("count", 1) for entry in documents(stored))


def test_the_first_of_a_kind_are_recorded_and_the_rest_counted(
    trail: AuditTrail, keyring: Keyring, stored: Stored
) -> None:
    """Five refusals of a kind and source have entries; the rest share one with their number and times."""
    refuse(trail, count=100)
    assert len(documents(stored)) == MAX_SINGLE_OF_KIND
    trail.record_refusals()
    *singles, last = documents(stored)
    assert len(singles) == MAX_SINGLE_OF_KIND
    assert (last["action"], last["status"], last["principal"], last["ip"]) == (
        *("fetch", "denied", "anonymous", "192.0.2.1"),
    )
    details = last["details"]
    assert (details["reason"], details["count"]) == ("unknown", 100 - MAX_SINGLE_OF_KIND)
    assert details["since"] <= details["until"] <= record_of(last)["ts"]
    assert "signature" in last
    assert findings([record_of(entry) for entry in documents(stored)], own(keyring)) == []
    # The next minute starts with single entries again; if nothing is counted, nothing is written.
    refuse(trail)
    trail.record_refusals()
    assert len(documents(stored)) == MAX_SINGLE_OF_KIND + 2


def test_kinds_are_counted_separately(trail: AuditTrail, stored: Stored) -> None:
    """Each operation, reason, source and principal is counted separately; a /64 is one source."""
    more = MAX_SINGLE_OF_KIND + 2
    alice = Principal(name="alice")
    refuse(trail, count=more)
    refuse(trail, action=Action.CREATE, count=more)
    refuse(trail, reason="rate limit", count=more)
    refuse(trail, "192.0.2.2", count=more)
    refuse(trail, principal=alice, count=more)
    for number in range(more):
        refuse(trail, f"2001:db8::{number}:1")
        # The sender chooses the name that an invalid credential claims.
        refuse(trail, "192.0.2.3", principal=Principal(name=f"token:{number}", authenticated=False))
    trail.record_refusals()
    assert counted(stored) == {
        ("anonymous", "fetch", "192.0.2.1", "unknown"): 2,
        ("anonymous", "create", "192.0.2.1", "unknown"): 2,
        ("anonymous", "fetch", "192.0.2.1", "rate limit"): 2,
        ("anonymous", "fetch", "192.0.2.2", "unknown"): 2,
        ("alice", "fetch", "192.0.2.1", "unknown"): 2,
        ("anonymous", "fetch", "2001:db8::/64", "unknown"): 2,
        ("anonymous", "fetch", "192.0.2.3", "unknown"): 2,
    }


@pytest.mark.promise(3)
def test_many_sources_are_counted_together(trail: AuditTrail, stored: Stored) -> None:
    """With thousands of addresses, neither entries nor memory grow, because the address is omitted."""
    for number in range(1_000):
        refuse(trail, f"10.0.{number // 250}.{number % 250}")
    assert len(documents(stored)) == MAX_SINGLE
    assert len(trail._refusals._groups[True].counts) == MAX_SOURCES + 1
    assert len(trail._refusals._groups[True].singles) <= MAX_SINGLE
    trail.record_refusals()
    assert len(documents(stored)) == MAX_SINGLE + MAX_SOURCES + 1
    assert counted(stored)["service", "fetch", "", "unknown"] == 1_000 - MAX_SINGLE - MAX_SOURCES
    assert total(stored) == 1_000


def test_only_denied_attempts_are_counted(trail: AuditTrail, stored: Stored) -> None:
    """Every attempt that is not denied has its own entry, with any outcome."""
    for status in (Status.SUCCESS, Status.BAD_REQUEST, Status.NOT_FOUND, Status.ERROR):
        for _ in range(2 * MAX_SINGLE_OF_KIND):
            trail._on_finish([(Attempt(action=Action.FETCH, ip="192.0.2.1"), status)])
    assert len(documents(stored)) == 8 * MAX_SINGLE_OF_KIND


def test_refused_items_of_a_batch_are_counted(trail: AuditTrail, stored: Stored) -> None:
    """Items of a batch that are denied too often are counted; all others have their own entries."""
    attempts = [Attempt(action=Action.FETCH, ip="192.0.2.1", secret_id=str(number)) for number in range(20)]
    statuses = [Status.DENIED if number % 2 else Status.NOT_FOUND for number in range(20)]
    trail._on_finish(list(zip(attempts, statuses, strict=True)))
    trail._on_finish([(Attempt(action=Action.FETCH, ip="192.0.2.1"), Status.DENIED)])
    recorded = [(entry["secret_id"], entry["status"]) for entry in documents(stored)]
    expected = [(str(number), statuses[number].value) for number in range(20)]
    assert recorded == [entry for entry in expected if entry[1] == "not_found" or int(entry[0]) < 10]
    trail.record_refusals()
    assert documents(stored)[-1]["details"]["count"] == 6


def test_a_refusal_in_a_repeated_commit_is_counted_once(trail: AuditTrail, stored: Stored) -> None:
    """If an effect of a batch is not possible, its refused items are still counted once."""
    refuse(trail, reason="", count=MAX_SINGLE_OF_KIND)
    refused = Attempt(action=Action.FETCH, ip="192.0.2.1", principal=UNAUTHENTICATED)
    outcomes = [(refused, Status.DENIED), (Attempt(action=Action.UPDATE), Status.SUCCESS)]
    impossible = SecretChange(key="missing", condition={}, fields={}, size=0)
    assert trail._on_finish(outcomes, [impossible]) is False
    trail._on_finish(outcomes)
    trail.record_refusals()
    assert documents(stored)[-1]["details"]["count"] == 1


def test_counts_survive_an_unwritable_trail(
    trail: AuditTrail, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts that cannot be recorded are recorded later, together with new ones."""
    refuse(trail, count=10)
    block_trail(stored)
    trail.record_refusals()

    def overload(_: object) -> None:
        raise OverloadedError

    with monkeypatch.context() as full:
        full.setattr(trail._commits, "start", overload)
        trail.record_refusals()
    with pytest.raises(AuditUnavailableError):
        refuse(trail)
    restore_trail(stored)
    refuse(trail, count=10)
    trail.record_refusals()
    assert counted(stored) == {("anonymous", "fetch", "192.0.2.1", "unknown"): 5 + 6}


def test_counts_are_recorded_each_minute_and_on_exit(trail: AuditTrail, stored: Stored) -> None:
    """Counts are written with the head each minute, and when the process ends, also without a reason."""
    refuse(trail, count=7)
    trail._end_minute()
    assert total(stored) == 7
    for _ in range(MAX_SINGLE_OF_KIND + 1):
        trail._on_finish([(Attempt(action=Action.TOKEN_CREATE, details={"x": 1}), Status.DENIED)])
    trail.disconnect()
    assert total(stored) == 7 + MAX_SINGLE_OF_KIND + 1
    assert "reason" not in documents(stored)[-1]["details"]


@pytest.mark.promise(3)
def test_the_largest_refusal_is_small(trail: AuditTrail, stored: Stored) -> None:
    """The entry about a refused anonymous request is smaller than 1 KiB, for any request."""
    refused = Attempt(
        action=Action.AUDIT_QUERY,
        principal=Principal(name="token:" + "f" * 16, authenticated=False),
        ip="2001:db8:1111:2222:3333:4444:5555:6666",
        user_agent="\U000e0001" * 4_000,
        request_id="r" * 128,
        details={"reason": f"needs {max(Scope, key=len)}"},
    )
    trail._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
    trail._on_finish([(refused, Status.DENIED)])
    size = len(encode(documents(stored)[-1]))
    assert refusal_counter.MAX_SINGLE * size < 100 * 1_024
    assert size < 1_024


def test_anonymous_refusals_do_not_displace_those_of_a_token(trail: AuditTrail, stored: Stored) -> None:
    """With any number of anonymous refusals, those of a token keep its name and address."""
    for number in range(2 * MAX_SINGLE + MAX_SOURCES):
        refuse(trail, f"198.18.{number // 250}.{number % 250}", count=1)
    refuse(trail, "192.0.2.9", principal=Principal(name="ci"), count=MAX_SINGLE_OF_KIND + 2)
    trail.record_refusals()
    entries = [entry for entry in documents(stored) if entry["principal"] == "ci"]
    assert [entry["ip"] for entry in entries] == ["192.0.2.9"] * (MAX_SINGLE_OF_KIND + 1)
    assert entries[-1]["details"]["count"] == 2
