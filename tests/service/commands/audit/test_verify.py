"""`secret-manager audit verify`: all tampering is named, and nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit_commands import INTACT, Trail, offline, pem, printable
from tests.support.rotation import Stored, fill, new_key, text
from tests.support.written_trail import as_stored, rehash, stream_of, streams
from vault.common.errors import StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey, canonical
from vault.core.trail import receipts
from vault.core.trail.findings import Finding
from vault.core.trail.streams.entry import FOREIGN
from vault.service.commands.audit.source import _parsed

pytestmark = pytest.mark.process


def test_an_untouched_trail_is_intact(trail: Trail) -> None:
    """An untouched trail verifies, without notes; with --json, the last line is the verdict."""
    checkpoint = trail.output("checkpoint")
    done = trail.run("verify", "--checkpoint", checkpoint)
    assert (done.returncode, done.stdout) == (0, "180 entries in 3 streams: intact\n")
    assert done.stderr == ""
    more = stream_of(3_000, trail.written.keyring, signed=10)
    trail.stored.audit_logs.insert_many([as_stored(record) for record in more])
    done = trail.run("verify", "--json")
    verdict = {"entries": 3_180, "streams": 4, "verdict": "note", "intact": True}
    assert (done.returncode, json.loads(done.stdout)) == (0, verdict)
    assert done.stderr.startswith("Only other evidence, such as --checkpoint, shows that the end")


@pytest.mark.promise(3)
def test_heads_of_the_log_reveal_a_removed_end(trail: Trail) -> None:
    """Heads in the log, or the signed entries of a sink, name the end of a stream that was removed."""
    signed = [record for record in trail.written.records if "signature" in record]
    log = [json.dumps({"message": "audit head", "head": record}) for record in signed]
    sink = [json.dumps(record) for record in trail.written.records]
    kept = [trail.file(name, "\n".join(lines)) for name, lines in (("log", log), ("sink", sink))]
    for file in kept:
        done = trail.run("verify", "--heads", file)
        assert (done.returncode, done.stdout) == (0, "180 entries in 3 streams: intact\n")
        assert done.stderr == "Compared with the heads of 3 streams\n"
    last = signed[-1]
    kept_until = [record["seq"] for record in signed if record["stream"] == last["stream"]][-2]
    trail.stored.audit_logs.delete_many({"stream": last["stream"], "seq": {"$gt": kept_until}})
    for file in kept:
        done = trail.run("verify", "--heads", file)
        place = f"TAMPERING: stream {last['stream']} seq {last['seq']}"
        said = f"{place}: is missing at the end: the checkpoint lists it"
        assert (done.returncode, done.stdout.splitlines()[0]) == (1, said)


def recreate(stored: Stored, **options: Any) -> None:
    """Create the collection again with these *options*, and the same entries."""
    entries = list(stored.audit_logs.find())
    stored.audit_logs.drop()
    stored.create_collection("audit_logs", **options)
    stored.audit_logs.insert_many(entries)


def make_view(stored: Stored) -> None:
    stored.audit_logs.rename("elsewhere")
    stored.create_collection("audit_logs", viewOn="elsewhere", pipeline=[])


_TIME_SERIES = {"timeField": "ts", "metaField": "stream"}
_NOT_PLAIN: dict[str, Callable[[Stored], None]] = {
    "capped": lambda stored: recreate(stored, capped=True, size=10**6),
    "collation": lambda stored: recreate(stored, collation={"locale": "en"}),
    "timeseries": lambda stored: recreate(stored, timeseries=_TIME_SERIES),
    "view": make_view,
}


@pytest.mark.promise(3)
@pytest.mark.new_database
@pytest.mark.parametrize("name", _NOT_PLAIN)
def test_a_collection_that_is_not_plain_is_found(trail: Trail, name: str) -> None:
    """If queries can miss entries, `audit verify` says so and exits with 1, though it reads all."""
    _NOT_PLAIN[name](trail.stored)
    done = trail.run("verify")
    said = f"TAMPERING: audit_logs is not a plain collection ({name}): queries can miss entries"
    assert (done.returncode, done.stderr) == (1, RUNBOOK)
    *found, verdict = done.stdout.splitlines()
    assert said in found
    assert found == [said] or name == "timeseries"
    assert verdict == "180 entries in 3 streams: NOT what the service wrote"
    *found_data, _ = map(json.loads, trail.run("verify", "--json").stdout.splitlines())
    [finding] = [data for data in found_data if data["stream"] == ""]
    assert (finding["seq"], finding["kind"]) == (-1, "TAMPERING")


EARLY = "needs a look: MongoDB removes entries by the index planted after {} seconds, within their retention"


@pytest.mark.parametrize(
    ("planted", "days", "text"),
    [
        (
            {"key": {"previous_ts": 1}, "name": "\x1b[2J" + "x" * 60, "expireAfterSeconds": 2**31 - 1},
            "0",
            f"TAMPERING: MongoDB removes entries by the index \\u001b[2J{'x' * 36}, not one of the service's",
        ),
        (
            {"key": {"ts": 1}, "name": "planted", "expireAfterSeconds": 2_591_999},
            "30",
            EARLY.format(2_591_999),
        ),
        ({"key": {"ts": 1}, "name": "planted", "expireAfterSeconds": 2_592_000}, "30", ""),
        (
            {"key": {"ts": 1}, "name": "planted", "expireAfterSeconds": 2_592_000},
            "0",
            EARLY.format(2_592_000),
        ),
    ],
    ids=["another field", "too short", "as set", "not permanent"],
)
def test_a_planted_ttl_index_is_found(trail: Trail, planted: dict[str, Any], days: str, text: str) -> None:
    """An index by which MongoDB would remove entries early is a finding while all entries are there."""
    trail.stored.audit_logs.drop_index("retention")
    trail.stored.command("createIndexes", "audit_logs", indexes=[planted])
    done = trail.run("verify", "--retention-days", days)
    assert done.stdout.splitlines()[:-1] == ([text] if text else [])
    assert done.returncode == (0 if not text else 1 if text.startswith("TAMPERING") else 3)


def test_other_options_of_the_collection_are_intact(trail: Trail) -> None:
    """Options that change the result of no query, and a collection that does not exist, are not findings."""
    recreate(trail.stored, clusteredIndex={"key": {"_id": 1}, "unique": True}, validator={"seq": {"$gte": 0}})
    done = trail.run("verify")
    assert (done.returncode, done.stdout) == (0, "180 entries in 3 streams: intact\n")
    trail.stored.audit_logs.drop()
    done = trail.run("verify")
    assert (done.returncode, done.stdout) == (0, "0 entries in 0 streams: intact\n")


ROOT = Path(__file__).parents[4]
#: The note after a finding.
RUNBOOK = 'The next steps are in docs/runbook.md, under "Audit verify reports a finding".\n'


@pytest.mark.promise(3)
def test_an_export_verifies_without_any_setting(trail: Trail, tmp_path: Path) -> None:
    """An auditor needs only the export and the public key: no environment, database or secret."""
    arguments = offline(trail)
    checkpoint = trail.output("checkpoint")
    for extra in ([], ["--checkpoint", checkpoint]):
        done = subprocess.run(
            [sys.executable, "-m", "vault.cli", "audit", "verify", *arguments, *extra],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE"))}
            | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, INTACT)
        assert (done.stderr == "") == bool(extra)


def tampered_lines(trail: Trail) -> Iterator[tuple[str, str]]:
    """Yield tampered exports, and the expected messages."""
    lines = trail.run("export").stdout.splitlines()
    yield "\n".join(lines[:5] + lines[6:]), "missing, within the retention"
    yield "\n".join(lines).replace('"success"', '"denied"', 1), "was altered"
    yield "\n".join([*lines, "[" * 100_000]), f"stream ? seq -1: {FOREIGN}"
    yield "\n".join([*lines, "not JSON", '"text"', "5"]), f"stream ? seq -1: {FOREIGN}"
    yield "\n".join([*lines, '{"stream": "\\ud800\\u001b"}']), f"stream \\ud800\\u001b seq -1: {FOREIGN}"
    twice = lines[7].replace('"status"', '"status": "denied", "status"')
    yield "\n".join([*lines[:7], twice, *lines[8:]]), f"stream ? seq -1: {FOREIGN}"
    [unsigned] = stream_of(1, trail.written.keyring, signed=2)
    yield "\n".join([*lines, json.dumps(unsigned)]), "ends its stream, and no signature covers it"
    changed = json.dumps(json.loads(lines[7]) | {"seq": float("nan")})
    yield "\n".join([*lines[:8], changed, *lines[8:]]), FOREIGN


def test_tampering_in_an_export_is_found(trail: Trail) -> None:
    """Every edit of a file is reported with exit code 1, and never with a traceback."""
    for exported, said in tampered_lines(trail):
        done = trail.run("verify", *offline(trail, exported))
        assert done.returncode == 1
        assert said in done.stdout
        assert done.stdout.splitlines()[-1].endswith("NOT what the service wrote")
        assert printable(done.stdout)
    binary = trail.file("binary", b"\xff\xfe\x00\n\x80\n")
    done = trail.run("verify", "--file", binary, "--public-key", pem(trail))
    assert (done.returncode, done.stdout.count("TAMPERING: ")) == (1, 2)


def test_a_longer_line_than_the_service_writes_is_not_parsed(trail: Trail) -> None:
    """A planted line of an export, which can take 30 times as much memory parsed, is a finding by itself."""
    line = b'{"stream": "x", "seq": 0, "ts": "", "x": [' + b"0," * 600_000 + b"0]}\n"
    done = trail.run("verify", "--file", trail.file("planted", line), "--public-key", pem(trail))
    assert done.stdout.splitlines()[0] == f"TAMPERING: stream ? seq -1: {FOREIGN}"


def test_a_torn_line_is_no_tampering(trail: Trail) -> None:
    """The beginning of a line needs a look; the chain shows if its entry is missing."""
    lines = trail.run("export").stdout.splitlines()
    torn = [*lines[:5], lines[5][:100], *lines[5:], lines[-1][:-1]]
    done = trail.run("verify", *offline(trail, "\n".join(torn)))
    text = "of the file has only the beginning of an entry, as a full disk or a killed process leaves it"
    assert [line[: len(text) + 22] for line in done.stdout.splitlines()[:-1]] == [
        f"needs a look: line 6 {text};",
        f"needs a look: line {len(torn)} {text}"[: len(text) + 22],
    ]
    assert (done.returncode, done.stdout.endswith(": not proven intact\n"), done.stderr) == (3, True, RUNBOOK)
    done = trail.run("verify", *offline(trail, "\n".join([*lines[:5], lines[5][:100], *lines[6:]])))
    assert (done.returncode, "missing, within the retention" in done.stdout) == (1, True)


def test_a_torn_end_of_a_commit_is_no_tampering(trail: Trail) -> None:
    """Of a commit whose last line, which has the signature, is torn, the lines before it need a look."""
    records = trail.written.records
    at = next(at for at in range(len(records)) if "signature" not in records[at])
    signed = next(at for at in range(at, len(records)) if "signature" in records[at])
    lines = [json.dumps(record) for record in records]
    kept = "\n".join(lines[:signed])
    for end, code in ((lines[signed][:-9], 3), (lines[signed][:1], 3), ("", 1)):
        done = trail.run("verify", *offline(trail, f"{kept}\n{end}"))
        unsigned = [line for line in done.stdout.splitlines() if "no signature covers it" in line]
        assert len(unsigned) == 1
        assert (done.returncode, unsigned[0].startswith("needs a look")) == (code, code == 3)
        assert done.stderr.endswith(RUNBOOK)
    # A torn line after another entry explains nothing.
    done = trail.run("verify", *offline(trail, "\n".join([*lines[: signed - 1], '{"ts"', lines[signed - 1]])))
    assert done.returncode == 1


def test_every_part_of_a_line_is_torn() -> None:
    """A line that ends anywhere is torn, whatever it ends with; one with another error is not."""
    line = json.dumps({"ts": "2026-11-24", "ua": '\u00df "\\', "details": {"a": [None, True, 1.5e3, {}]}})
    for end in range(1, len(line)):
        torn: dict[int, Any] = {}
        assert (list(_parsed([f"{line[:end]}\n"], torn)), [*torn]) == ([], [1])
    for other in (
        line.replace(":", "", 1),
        f"{line}{line}",
        f"{line}x",
        f"[{line[:9]}",
        "x",
        "{'a': 5, 'b': 6}",
    ):
        torn = {}
        assert (list(_parsed([other], torn)), torn) == ([{"stream": "?"}], {})


@pytest.mark.promise(3)
def test_a_finding_names_the_entry_and_the_next_step(trail: Trail) -> None:
    """A finding names the entry, and a note the heading of the runbook; the exit code is 1."""
    altered = trail.written.records[0]
    trail.stored.audit_logs.update_one({"hash": altered["hash"]}, {"$set": {"status": "denied"}})
    done = trail.run("verify")
    place = f"stream {altered['stream']} seq {altered['seq']}"
    text = "was altered: its hash does not match its content"
    about = f"({altered['action']} at {altered['ts']})"
    [found, verdict] = done.stdout.splitlines()
    assert found == f"TAMPERING: {place}: {text} {about}"
    assert verdict.endswith(": NOT what the service wrote")
    assert (done.returncode, done.stderr) == (1, RUNBOOK)
    assert "## Audit verify reports a finding\n" in (ROOT / "docs" / "runbook.md").read_text()
    data = json.loads(trail.run("verify", "--json").stdout.splitlines()[0])
    assert (data["ts"], data["action"]) == (altered["ts"], altered["action"])


def test_another_key_verifies_nothing(trail: Trail) -> None:
    """With a public key that is not the trail's, no stream is covered, and a note names the signer."""
    other = trail.file("other.pem", SigningKey(new_key()).public.pem())
    arguments = ["verify", "--file", trail.output("export"), "--public-key", other]
    done = trail.run(*arguments)
    signer = SigningKey(trail.written.keyring.primary).public.signer
    assert done.returncode == 1
    # The export's own entry is a stream, too.
    [found, verdict] = done.stdout.splitlines()
    assert found.startswith(f"TAMPERING: 4 entries are signed by a key that is not known, {signer}: stream ")
    assert verdict.endswith(": NOT what the service wrote")
    assert done.stderr.startswith(f"These signers are not among the keys of --public-key: {signer}. Hint: ")
    *found_data, _ = map(json.loads, trail.run(*arguments, "--json").stdout.splitlines())
    assert {data["stream"] for data in found_data} > streams(trail.written.records).keys()
    assert {data["unknown_signer"] for data in found_data} == {signer}


def test_another_master_key_is_named_first(trail: Trail) -> None:
    """With a wrong master key, a note names signer and missing key, and the findings stay findings."""
    primary = trail.written.keyring.primary
    signer = SigningKey(primary).public.signer
    fill(trail.stored, primary, 1)
    other = text(new_key())
    done = trail.run("verify", MASTER_KEY=other)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith(": NOT what the service wrote")
    [note, _] = done.stderr.splitlines()
    assert note.startswith(
        "These signers are not among the keys of MASTER_KEY and MASTER_KEY_FALLBACKS, nor trusted by these: "
        f"{signer}. Master keys in use that are missing here: {primary.id}. Hint: "
    )
    done = trail.run("verify", "--quiet", MASTER_KEY=other, MASTER_KEY_FALLBACKS=text(primary))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.promise(3)
def test_an_unknown_signer_hides_no_other_finding(trail: Trail) -> None:
    """An attacker who signs with keys of their own explains nothing: every other finding is printed."""
    victim = trail.stored.audit_logs.find_one_and_update({"seq": 3}, {"$set": {"status": "denied"}})
    assert victim is not None
    # Also a trail whose recorded signer, and keys in use, are the attacker's.
    trail.stored["keys"].update_one({"_id": "claims"}, {"$set": {"trail.signer": "forged"}}, upsert=True)
    plain = trail.run("verify")
    altered = f"TAMPERING: stream {victim['stream']} seq 3: was altered: its hash does not match its content"
    assert (plain.returncode, plain.stderr, altered in plain.stdout) == (1, RUNBOOK, True)
    for number in range(7):
        more = stream_of(2, Keyring(new_key()), name=f"forged-{number}", signed=2)
        trail.stored.audit_logs.insert_many([as_stored(record) for record in more])
    done = trail.run("verify")
    *found, verdict = done.stdout.splitlines()
    assert (done.returncode, verdict.endswith(": NOT what the service wrote")) == (1, True)
    assert found[-len(plain.stdout.splitlines()) + 1 :] == plain.stdout.splitlines()[:-1]
    # One line for each, because each has its own signer; the note names some.
    assert sum("is signed by a key that is not known" in line for line in found) == 7
    assert "and 2 more. Hint: " in done.stderr
    assert "treat the findings as real" in done.stderr


def test_a_database_that_shows_only_the_trail_is_verified(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the keys in use cannot be read, the trail is verified as before."""

    def refuse(*_: object, **__: object) -> None:
        raise StorageUnavailableError("not authorized", is_denied=True)

    monkeypatch.setattr("vault.core.keys.guard.compare", refuse)
    done = trail.run("verify", MASTER_KEY=text(new_key()))
    assert (done.returncode, "TAMPERING: 3 entries are signed by" in done.stdout) == (1, True)
    assert "missing here" not in done.stderr


@pytest.mark.promise(3)
def test_a_filtered_export_is_explained(trail: Trail) -> None:
    """If entries are missing and nothing else is found, a note says that an export may have had filters."""
    note = "Entries are missing. Hint: an export with filters cannot be verified"
    last = trail.written.records[-1]
    exported = trail.run("export", "--since", last["ts"]).stdout
    done = trail.run("verify", *offline(trail, exported))
    assert (done.returncode, done.stderr.startswith(note), done.stderr.count("\n")) == (1, True, 2)
    assert "missing, within the retention" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(": NOT what the service wrote")
    # A change has another cause, and a database has no filters.
    done = trail.run("verify", *offline(trail, exported.replace('"success"', '"denied"', 1)))
    assert (done.returncode, done.stderr) == (1, RUNBOOK)
    trail.stored.audit_logs.delete_one({"stream": last["stream"], "seq": 0})
    done = trail.run("verify")
    assert (done.returncode, done.stderr) == (1, RUNBOOK)


def test_findings_before_a_failure_are_printed(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the rest of the trail cannot be read, what was found until then is printed before the error."""

    def fail(*_: object) -> Iterator[Finding]:
        yield Finding("a", 5, "was altered")
        raise StorageUnavailableError

    monkeypatch.setattr("vault.service.commands.audit.verify.verify_records", fail)
    done = trail.run("verify")
    assert (done.returncode, done.stdout) == (5, "TAMPERING: stream a seq 5: was altered\n")


def test_many_findings_are_all_printed(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """More findings than are held back are all printed, in their order."""
    trail.stored.audit_logs.update_many({}, {"$set": {"status": "denied"}})
    whole = trail.run("verify")
    monkeypatch.setattr("vault.service.commands.audit.findings._MAX_HELD", 7)
    parts = trail.run("verify")
    assert (parts.returncode, parts.stdout) == (1, whole.stdout)
    assert parts.stdout.count("was altered") == 180


@pytest.mark.promise(3)
def test_receipts_find_what_was_cut_off(trail: Trail) -> None:
    """Without a checkpoint, receipts find a removed stream, in the database and in an export."""
    key = SigningKey(trail.written.keyring.primary)
    lines = [receipts.make(document, key) for document in trail.written.documents]
    arguments = ("verify", "--receipts", trail.file("receipts", "\n\n".join(lines)))
    done = trail.run(*arguments)
    counts = "receipts: 180 proved, 0 unproved, 0 past retention, 0 forged, 0 malformed"
    assert (done.returncode, done.stdout) == (0, f"180 entries in 3 streams, {counts}: intact\n")
    last = trail.written.records[-1]
    trail.stored.audit_logs.delete_many({"stream": last["stream"]})
    count = sum(record["stream"] == last["stream"] for record in trail.written.records)
    assert trail.run("verify").returncode == 0
    for source in ([], offline(trail)):
        done = trail.run(*arguments, *source)
        *found, verdict = done.stdout.splitlines()
        assert (done.returncode, len(found)) == (1, count)
        place = f"TAMPERING: stream {last['stream']} seq {last['seq']}"
        assert found[-1].startswith(f"{place}: is missing: the receipt in line 359 proves it (")
        assert f"receipts: {180 - count} proved, {count} unproved" in verdict
    *_, summary = map(json.loads, trail.run(*arguments, "--json").stdout.splitlines())
    assert summary["receipts"] == {
        "proved": 180 - count,
        "unproved": count,
        "past_retention": 0,
        "forged": 0,
        "malformed": 0,
    }
    assert summary["verdict"] == "TAMPERING"


def test_a_bad_receipt_is_no_tampering(trail: Trail) -> None:
    """A forged receipt, and a line without one, need a look, and say the line; all others are verified."""
    forged = receipts.make(trail.written.documents[0], SigningKey(new_key()))
    done = trail.run("verify", "--receipts", trail.file("receipts", forged))
    assert (done.returncode, done.stdout.startswith("needs a look: the receipt in line 1 is forged, or")) == (
        3,
        True,
    )
    assert done.stdout.splitlines()[1].endswith(", 1 forged, 0 malformed: not proven intact")
    genuine = receipts.make(trail.written.documents[0], SigningKey(trail.written.keyring.primary)).encode()
    for junk in (b"\xff", b"x" * 20_000, genuine[:-1]):
        done = trail.run("verify", "--receipts", trail.file("receipts", b"\n" + junk + b"\n" + genuine))
        assert done.returncode == 3
        assert [line for line in done.stdout.splitlines() if "line 2" in line] == done.stdout.splitlines()[
            :-1
        ]
        assert "receipts: 1 proved, 0 unproved, 0 past retention, 0 forged, 1 malformed: " in done.stdout


def test_an_invalid_checkpoint_is_refused(trail: Trail) -> None:
    """An altered, foreign or invalid checkpoint is refused with one line and exit code 1."""
    made = json.loads(Path(trail.output("checkpoint")).read_text())
    stranger = SigningKey(new_key())
    unsigned = {name: value for name, value in made.items() if name not in ("signer", "signature")}
    foreign = rehash(unsigned, None, stranger)
    genuine = SigningKey(trail.written.keyring.primary)
    timeless = {"ts": "once", "heads": [], "signer": genuine.public.signer}
    timeless["signature"] = genuine.sign(canonical(timeless))
    not_signed = "error: the checkpoint is not signed by a key that is known\n"
    altered = "error: the checkpoint was altered: its signature is of another content\n"
    none = "error: this is not a checkpoint\n"
    arguments = offline(trail)
    for content, said in (
        (json.dumps(made | {"heads": made["heads"][1:]}), altered),
        (json.dumps(made | {"ts": moment(datetime.now(UTC))}), altered),
        (json.dumps(foreign), not_signed),
        ("[" * 100_000, none),
        (json.dumps(timeless), none),
        (b"\xff\xfe", none),
    ):
        checkpoint = trail.file("checkpoint", content)
        done = trail.run("verify", *arguments, "--checkpoint", checkpoint)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
