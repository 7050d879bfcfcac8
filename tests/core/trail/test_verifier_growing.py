"""Verification of a trail that grows meanwhile, and the retention of entries."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from bson import Decimal128

from tests.support.rotation import Stored, connected, new_key
from tests.support.written_trail import Records, as_stored, rehash, stream_of
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail import verifier as verification
from vault.core.trail.findings import Finding
from vault.core.trail.verifier import End, Verifier, read_on

KEYRING = Keyring(new_key())
KEY = SigningKey(KEYRING.primary)
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of waits of the verification, which takes no time."""
    waits: list[float] = []
    # Not the module itself, because other threads sleep too.
    monkeypatch.setattr(verification, "time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def store(mongo_uri: str, stored: Stored) -> Iterator[Callable[..., None]]:
    """Return a function that puts records into the database."""

    def store(*parts: Records, **changes: Any) -> None:
        for part in parts:
            stored.audit_logs.insert_many([as_stored(record) | changes for record in part])

    with connected(mongo_uri):
        yield store


def test_a_commit_is_reread_up_to_its_signature(waits: list[float], store: Callable[..., None]) -> None:
    """New entries are read up to the next signature, and no further: the service keeps writing."""
    streams = {name: stream_of(9, KEYRING, name=name, signed=3) for name in ("aa", "bb", "cc")}
    unsigned = stream_of(2, KEYRING, name="dd", signed=3)
    store(*streams.values(), unsigned)
    ends = [End("aa", 3), End("bb", 6), End("cc", 8), End("dd", 0), End("ee", 0)]
    records = list(read_on(ends, began=NOW))
    assert records == [*streams["aa"][4:6], *streams["bb"][7:9], unsigned[1]]
    # One wait for all of them.
    assert len(waits) == 1


def test_a_stream_is_reread_as_far_as_it_is_known(waits: list[float], store: Callable[..., None]) -> None:
    """A stream is read up to its newest known entry, and to the end of that commit."""
    whole = stream_of(12, KEYRING, signed=3)
    store(whole)
    name = whole[0]["stream"]
    for seq, known, last in ((-1, 0, 2), (-1, 5, 5), (2, 6, 8), (2, 50, 11), (5, 5, 8)):
        assert list(read_on([End(name, seq, known)], began=NOW)) == whole[seq + 1 : last + 1]
    assert len(waits) == 5


def failed_commit(key: SigningKey) -> tuple[Records, Records]:
    """Return a stream that ends in half a commit, and the first commit and more of its successor."""
    whole = stream_of(9, KEYRING, name="ff", signed=3)
    left = {"stream": "ff", "seq": 5, "ts": whole[5]["ts"]}
    first = {"ts": moment(NOW), "stream": "aa", "seq": 0, "replaces": [left]}
    made = [rehash(first, None, key)]
    made.append(rehash({"ts": moment(NOW), "stream": "aa", "seq": 1}, made[0], key))
    return whole[:7], made


def test_successors_of_unsigned_ends_are_read(waits: list[float], store: Callable[..., None]) -> None:
    """The first commit of a stream that replaces one without a signature is read too."""
    half, successor = failed_commit(KEY)
    store(half, successor)
    assert list(read_on([End("ff", 6)], began=NOW)) == successor[:1]
    # No stream replaced the others, and a stream with later known entries needs no successor.
    assert list(read_on([End("gg", 6), End("ff", 6, 6)], began=NOW)) == []
    # Streams that began before the verification have already been read.
    assert list(read_on([End("ff", 6)], began=NOW + timedelta(days=1))) == []
    assert len(waits) == 3


def verified(scanned: Records) -> list[Finding]:
    """Return the findings if *scanned* was read before the rest arrived in the database."""
    verifier = Verifier({KEY.public.signer: KEY.public})
    return list(verification.verify_records(verifier, scanned, partial(read_on, began=NOW)))


@pytest.mark.usefixtures("waits")
def test_a_commit_failing_during_the_read_is_no_tampering(store: Callable[..., None]) -> None:
    """Wherever reading was when a commit failed and another stream took over, is not tampering."""
    half, successor = failed_commit(KEY)
    store(half, successor)
    for scanned in (
        half[:3],  # Nothing else was stored yet.
        half[:4],  # Half a commit was read,
        half[:6],
        half,  # the failed one was read, its successor's place had been passed,
        [*successor[:1], *half[:3]],  # or a part of the successor was read,
        [*successor, *half[:6]],
        [*successor],  # or all of it.
    ):
        assert [finding for finding in verified(scanned) if finding.tampering] == []


@pytest.mark.usefixtures("waits")
def test_reread_entries_are_checked_completely(store: Callable[..., None]) -> None:
    """Junk among the entries that verification reads on is found, without an error."""
    half, successor = failed_commit(KEY)
    _, forged = failed_commit(SigningKey(new_key()))
    store(half, successor)
    store([forged[0] | {"stream": "bb"}], seq=Decimal128("0"))
    store([half[6] | {"seq": 7}], stream=["ff"])
    store([half[6] | {"seq": 8}], seq=Decimal128("8"), signature="no")
    tampered = [(finding.stream, finding.seq) for finding in verified(half) if finding.tampering]
    assert tampered == [("['ff']", 7), ("ff", -1), ("bb", -1)]


def test_entries_must_exist_within_the_retention() -> None:
    """The retention counts from now, minus MongoDB's possible clock lead; without one, all must exist."""
    assert verification.retention_start(0, NOW) == ""
    for days in (1, 90, 36_500):
        since = verification.retention_start(days, NOW)
        assert moment(NOW - timedelta(days=days)) < since < moment(NOW - timedelta(days=days, minutes=-5))
