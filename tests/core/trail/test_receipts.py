"""Receipts: their form, and what they prove about a trail."""

import json
import string
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.rotation import new_key
from tests.support.written_trail import Record, Records, as_stored, rehash, stream_of
from vault.common.errors import VaultError
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.trail import receipts
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.receipts import Receipts
from vault.core.trail.streams import retirement
from vault.core.trail.streams.retirement import Part
from vault.core.trail.verifier import Verifier, verify_records

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "receipt-1.json").read_text())
MASTERS = [new_key() for _ in range(2)]
OLD, CURRENT = map(SigningKey, MASTERS)
KEYS = {key.public.signer: key.public for key in (CURRENT, OLD)}
ABOUT = {"action": "fetch", "principal": "ci", "request_id": "r-1"}


def stream(master: MasterKey = MASTERS[1], name: str = "aa") -> Records:
    """Return a signed stream of six entries, each a second after the one before it."""
    return stream_of(6, Keyring(master), name=name, signed=3)


def receipt(record: Record, key: SigningKey = CURRENT) -> str:
    """Return the receipt of *record*."""
    return receipts.make(ABOUT | as_stored(record), key)


def held(*lines: str) -> Receipts:
    """Return the receipts in *lines*, all of them genuine."""
    found = Receipts(KEYS)
    for number, line in enumerate(lines, 1):
        assert list(found.add(line, number)) == []
    return found


def findings_for(records: Iterable[Record], found: Receipts, **options: Any) -> list[Finding]:
    """Return the findings about *records* that name a receipt."""
    verifier = Verifier(KEYS, claims=[found], **options)
    return [one for one in verify_records(verifier, records) if "receipt" in one.text]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
def test_receipts_that_clients_hold_stay_valid(vector: dict[str, Any]) -> None:
    """The form of a receipt and the bytes that its signature covers are pinned."""
    key = VerifyingKey.of(vector["public_key"])
    assert key is not None
    entry = vector["record"] | {"ts": datetime.fromisoformat(vector["record"]["ts"])}
    signing = SigningKey(MasterKey(bytes.fromhex(vector["master_key"])))
    assert receipts.make(entry, signing) == vector["receipt"]
    read = receipts.read(vector["receipt"], KEYS | {key.signer: key})
    assert read is not None
    assert (read.payload, read.signer) == (vector["payload"], key.signer)


def test_a_changed_receipt_is_forged() -> None:
    """A receipt with another payload or signature is forged; anything else is not a receipt."""
    genuine = receipt(stream()[0])
    version, payload, signature = genuine.split(".")
    other = receipt(stream()[1]).split(".")
    for forged in (f"v1.{other[1]}.{signature}", f"v1.{payload}.{other[2]}", f"v1.{payload}A.{signature}"):
        assert receipts.read(forged, KEYS) is None
    assert receipts.read(genuine, {CURRENT.public.signer: OLD.public}) is None
    for junk in (
        "",
        "v1",
        f"v2.{payload}.{signature}",
        genuine[:-1],
        f"{genuine}\n",
        f"{version}..{signature}",
    ):
        with pytest.raises(ValueError, match="not a receipt"):
            receipts.read(junk, KEYS)


def test_a_receipt_has_one_form() -> None:
    """A receipt with another character, at any place, is forged or no receipt."""
    genuine = receipt(stream()[0])
    digits = f"{string.ascii_letters}{string.digits}-_"
    changed = {genuine[:-1] + digit for digit in digits}
    changed |= {genuine[:at] + digit + genuine[at + 1 :] for at in range(len(genuine)) for digit in "A_"}
    for text in changed - {genuine}:
        with suppress(ValueError):
            assert receipts.read(text, KEYS) is None, text


@pytest.mark.promise(3)
def test_an_intact_trail_proves_its_receipts() -> None:
    """Each receipt is proved once, also if it is there twice; forged ones need a look and prove nothing."""
    records = [*stream(), *stream(name="bb")]
    found = held(*map(receipt, records), receipt(records[0]))
    version, payload, signature = receipt(records[0]).split(".")
    [forged] = found.add(f"{version}.{payload}.{signature[::-1]}", 9)
    assert (forged.kind, "line 9" in forged.text) == (Gravity.LOOK, True)
    assert findings_for(records, found) == []
    assert found.counts == {"proved": 12, "unproved": 0, "past_retention": 0, "forged": 1, "malformed": 0}


@pytest.mark.promise(3)
def test_a_removed_or_replaced_entry_is_found() -> None:
    """A receipt finds the cut end of a stream, a removed stream, and an altered or replaced entry."""
    records, other = stream(), stream(name="bb")
    found = held(receipt(records[5]), receipt(other[0]), receipt(records[1]), receipt(records[0]))
    altered = records[1] | {"action": "list"}
    replaced = rehash(records[0] | {"action": "list"}, None)
    findings = findings_for([replaced, altered, *records[2:3]], found)
    assert [(one.stream, one.seq, one.text, one.kind, one.is_gap) for one in findings] == [
        ("aa", 5, "is missing: the receipt in line 1 proves it", Gravity.TAMPERING, True),
        ("bb", 0, "is missing: the receipt in line 2 proves it", Gravity.TAMPERING, True),
        ("aa", 1, "is not the entry of the receipt in line 3", Gravity.TAMPERING, False),
        ("aa", 0, "is not the entry of the receipt in line 4", Gravity.TAMPERING, False),
    ]
    assert found.counts == {"proved": 0, "unproved": 4, "past_retention": 0, "forged": 0, "malformed": 0}


def test_an_expired_entry_is_not_missing() -> None:
    """An entry past the retention may be missing, but not be replaced."""
    records = stream()
    found = held(receipt(records[0]), receipt(records[1]), receipt(records[2]))
    replaced = rehash(records[0] | {"action": "list"}, None)
    findings = findings_for([replaced], found, kept_since=lambda: records[2]["ts"])
    assert [(one.seq, one.text) for one in findings] == [
        (0, "is not the entry of the receipt in line 1"),
        (2, "is missing: the receipt in line 3 proves it"),
    ]
    assert found.counts["past_retention"] == 1


def test_a_receipt_of_a_dropped_key_counts_within_its_retirement() -> None:
    """Beyond the last genuine signatures of a dropped key, its holder can have forged a receipt."""
    records = stream(MASTERS[0])
    made = retirement.make(OLD.public.signer, records[2:3], CURRENT, "2026-11-24T13:00:00.000Z")
    parts = [Part.of(part, KEYS) for part in made]
    options = {"retirements": parts, "dropped": [OLD.public.signer]}
    lines = [receipt(records[2], OLD), receipt(records[5], OLD)]
    kinds = [(one.seq, one.kind) for one in findings_for([], held(*lines), **options)]
    assert kinds == [(2, Gravity.TAMPERING), (5, Gravity.LOOK)]
    unretired = findings_for([], held(*lines), dropped=[OLD.public.signer])
    assert [one.kind for one in unretired] == [Gravity.LOOK, Gravity.LOOK]
    assert unretired[0].text.endswith("its master key, which had been dropped")
    assert findings_for(records, held(*lines), **options) == []


def test_a_full_temporary_file_is_a_clear_failure() -> None:
    """Without room for its temporary file, a verification fails and says what to do."""
    found = Receipts(KEYS)
    found._stored.execute("PRAGMA max_page_count = 1")
    with pytest.raises(VaultError, match="temporary file") as caught:
        for number, record in enumerate(stream_of(100, Keyring(MASTERS[1]))):
            list(found.add(receipt(record), number))
    assert "SQLITE_TMPDIR" in caught.value.hint
