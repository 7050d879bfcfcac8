"""The operators' commands for the audit trail, as operators run them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import BSON, Binary, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from tests.cli.waiting import wait_until
from tests.commands import Done, run_command, start_command
from tests.conftest import running_app
from tests.rotation import Stored, connected, new_key, settings, text
from tests.service import Service
from tests.test_server import children, log_lines
from tests.trail import break_trail, mend_trail
from tests.written_trail import (
    Record,
    WrittenTrail,
    as_stored,
    rechain,
    rehash,
    stream_of,
    streams,
    write_trail,
)
from vault.cli.mongod import Mongod
from vault.crypto import Keyring, MasterKey
from vault.crypto.chain import SigningKey, VerifyingKey, canonical
from vault.documents import AuditEntry
from vault.documents.audit_entry import moment, record_of
from vault.errors import AuditUnavailableError
from vault.operations.attempt import Action, Attempt, Status
from vault.operations.audit import AuditTrail
from vault.operations.stream import Entry

ROOT = Path(__file__).parents[2]


class Trail:
    """A trail in the test's database, and the commands on it."""

    def __init__(self, written: WrittenTrail, uri: str, stored: Stored, folder: Path) -> None:
        self.written = written
        self.stored = stored
        self._folder = folder
        self.environment = settings(uri, written.keyring.primary)
        self.uri = uri
        with connected(uri):
            pass
        stored.audit_logs.insert_many(written.documents)

    def run(self, *arguments: str, **environment: str) -> Done:
        """Run a command; it must tell no key."""
        done = run_command(
            "audit", *arguments, environment=self.environment | environment, folder=self._folder
        )
        key = self.written.keyring.primary
        seed = key.derive(b"secret-manager audit signing")
        for secret in (text(key), key._material.hex(), seed.hex()):
            assert secret not in done.stdout + done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return start_command("audit", *arguments, environment=self.environment, folder=self._folder)

    def file(self, name: str, content: str | bytes) -> str:
        """Return the path of a new file."""
        path = self._folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def output(self, *arguments: str) -> str:
        """Return the path of a file with what a command prints."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return self.file(f"{arguments[0]}-{time.monotonic_ns()}", done.stdout)


@pytest.fixture(scope="module")
def written(mongod: Mongod) -> WrittenTrail:
    """Return a small trail of 3 workers."""
    return write_trail(mongod.uri, (40, 60, 80))


@pytest.fixture
def trail(written: WrittenTrail, mongo_uri: str, stored: Stored, tmp_path: Path) -> Trail:
    """Return the small trail in the test's database."""
    return Trail(written, mongo_uri, stored, tmp_path)


@pytest.fixture
def long_trail(ten_thousand: WrittenTrail, mongo_uri: str, stored: Stored, tmp_path: Path) -> Trail:
    """Return a trail of 10,000 entries in the test's database."""
    return Trail(ten_thousand, mongo_uri, stored, tmp_path)


INTACT = "180 entries in 3 streams: intact\n"


def test_an_untouched_trail_is_intact(long_trail: Trail) -> None:
    """In the database and as a file, a trail of 10,000 entries verifies; progress goes to standard error."""
    checkpoint = long_trail.output("checkpoint")
    done = long_trail.run("verify", "--checkpoint", checkpoint)
    assert (done.returncode, done.stdout) == (0, "10000 entries in 4 streams: intact\n")
    assert done.stderr.strip() == ""
    more = stream_of(5_000, long_trail.written.keyring, signed=10)
    long_trail.stored.audit_logs.insert_many([as_stored(record) for record in more])
    done = long_trail.run("verify")
    assert (done.returncode, done.stdout) == (0, "15000 entries in 5 streams: intact\n")
    assert done.stderr.strip() == "10000 entries"


def as_document(record: Record) -> Record:
    return {name: value for name, value in as_stored(record).items() if name != "_id"}


def drop(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    stored.audit_logs.delete_one(victim)


def change(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    stored.audit_logs.update_one({"_id": victim["_id"]}, {"$set": {"status": "denied"}})


def copy_signature(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    other = stored.audit_logs.find_one({"stream": victim["stream"], "signature": {"$exists": True}})
    assert other is not None
    seals = {name: other[name] for name in ("signer", "signature")}
    stored.audit_logs.update_one({"_id": victim["_id"]}, {"$set": seals})


def duplicate(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    stored.audit_logs.drop_indexes()
    stored.audit_logs.insert_one(victim | {"_id": ObjectId()})


def chain_anew(stored: Stored, victim: Record, trail: WrittenTrail) -> None:
    records = streams(trail.records)[victim["stream"]]
    records[victim["seq"]] |= {"secret_id": "another"}
    for record in rechain(records, victim["seq"])[victim["seq"] :]:
        where = {"stream": record["stream"], "seq": record["seq"]}
        stored.audit_logs.replace_one(where, as_document(record))


def remove_stream(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    stored.audit_logs.delete_many({"stream": victim["stream"]})


def cut_off(stored: Stored, victim: Record, _trail: WrittenTrail) -> None:
    stored.audit_logs.delete_many({"stream": victim["stream"], "seq": {"$gt": victim["seq"]}})


@pytest.mark.parametrize(
    ("tamper", "at", "named", "said", "checkpoint"),
    [
        (change, "unsigned", 0, "was altered: its hash does not fit its content", False),
        (drop, "unsigned", 1, "before it: missing, within the retention", False),
        (drop, "first", 1, "entry 0 before it: missing, within the retention", False),
        (copy_signature, "head", 0, "has a wrong signature: it or entries before it were forged", False),
        (duplicate, "unsigned", None, "", False),
        (chain_anew, "unsigned", None, "ends its stream and is covered by no signature", False),
        (cut_off, "signed", None, "is missing at the end: the checkpoint knows it", True),
        (remove_stream, "first", None, "is missing with its whole stream: the checkpoint knows it", True),
    ],
    ids=["changed", "removed", "beginning", "copied", "duplicate", "anew", "cut", "stream"],
)
def test_tampering_in_the_database_is_found(
    long_trail: Trail, tamper: Callable[..., None], at: str, named: int | None, said: str, checkpoint: bool
) -> None:
    """Of 10,000 entries, whatever is done to one is named by stream and number, and the exit code is 1."""
    last = long_trail.stored.audit_logs.find_one(sort=[("seq", -1)])
    assert last is not None
    in_stream = {"stream": last["stream"]}
    middle = in_stream | {"seq": {"$gt": 1_000}}
    victim = {
        "unsigned": lambda: long_trail.stored.audit_logs.find_one(
            middle | {"signature": {"$exists": False}}, sort=[("seq", 1)]
        ),
        "signed": lambda: long_trail.stored.audit_logs.find_one(
            middle | {"signature": {"$exists": True}}, sort=[("seq", 1)]
        ),
        "first": lambda: long_trail.stored.audit_logs.find_one(in_stream | {"seq": 0}),
        "head": lambda: last,
    }[at]()
    assert victim is not None
    arguments = ["--checkpoint", long_trail.output("checkpoint")] if checkpoint else []
    tamper(long_trail.stored, victim, long_trail.written)
    done = long_trail.run("verify", *arguments)
    assert done.returncode == 1
    seq = last["seq"] if named is None else victim["seq"] + named
    if tamper is duplicate:
        seq, said = victim["seq"], "is there twice"
    *found, verdict = done.stdout.splitlines()
    assert [line for line in found if line.startswith(f"TAMPERING: stream {victim['stream']} seq {seq}: ")]
    assert all(line.startswith(f"TAMPERING: stream {victim['stream']} seq ") for line in found)
    assert said in done.stdout
    assert verdict.endswith(": NOT what the service wrote")


def junk(trail: WrittenTrail) -> Iterator[Any]:
    """Yield documents as nobody would expect them in the collection."""
    stream = trail.documents[0]["stream"]
    seals = {"hash": "h", "signature": "s", "signer": "x"}
    yield {}
    yield {"_id": {"a": 1}, "stream": {"a": 1}, "seq": {"b": 2}}
    yield {"_id": datetime.now(UTC), "stream": stream, "seq": "5", **seals}
    yield {"stream": stream, "seq": float("nan"), **seals}
    yield {"stream": stream, "seq": ObjectId(), "ts": DatetimeMS(2**60), **seals}
    yield {"stream": ["a", "b"], "seq": 0}
    yield {"stream": None, "seq": None, "hash": None, "ts": None, "principal": b"bytes", **seals}
    yield {"stream": "j", "seq": 0, "details": {"d": [Binary(b"x", 7), Decimal128("1"), 1e999]}, **seals}
    yield {"stream": "k", "seq": 0, "replaces": "junk", **seals}
    yield {"stream": "\x1b[31m", "seq": 0, **seals}
    invalid = bytes(BSON.encode({"_id": ObjectId(), "stream": "xxxx", "seq": 1, "ip": "xxxx"}))
    yield RawBSONDocument(invalid.replace(b"xxxx", b"\xff\xfe\x9b\x80"))


def test_junk_in_the_database_stops_no_command(trail: Trail) -> None:
    """Whatever lies in the collection, each command does its work; verifying finds every piece of it."""
    trail.stored.audit_logs.drop_indexes()
    pieces = list(junk(trail.written))
    for piece in pieces:
        trail.stored.audit_logs.insert_one(piece)
    done = trail.run("verify")
    assert done.returncode == 1
    assert done.stdout.count("TAMPERING: ") >= len(pieces)
    assert done.stdout.splitlines()[-1].startswith("191 entries in ")
    assert printable(done.stdout)
    exported = trail.run("export")
    assert (exported.returncode, exported.stderr) == (0, "")
    assert len(exported.stdout.splitlines()) == 191
    done = trail.run("verify", *offline(trail, exported.stdout))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("NOT what the service wrote")
    done = trail.run("tail", "--no-follow", "--lines", "500")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 191)
    assert printable(done.stdout)
    # A checkpoint has what the service wrote and nothing else.
    heads = {head["stream"]: head for head in json.loads(trail.run("checkpoint").stdout)["heads"]}
    assert heads == trail.written.heads


def printable(shown: str) -> bool:
    return all(line.isprintable() for line in shown.split("\n"))


def offline(trail: Trail, exported: str | None = None) -> list[str]:
    """Return the arguments that verify *exported*; without it, what the commands print."""
    if exported is None:
        return ["--file", trail.output("export"), "--public-key", trail.output("public-key")]
    return ["--file", trail.file("export.jsonl", exported), "--public-key", pem(trail)]


def pem(trail: Trail) -> str:
    """Return the path of a file with the trail's public key, which takes no process."""
    return trail.file("trail.pem", SigningKey(trail.written.keyring.primary).public.pem())


def test_an_export_verifies_without_any_setting(trail: Trail, tmp_path: Path) -> None:
    """An auditor needs the export and the public key: no environment, no database, no secret."""
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
        assert (done.returncode, done.stdout, done.stderr) == (0, INTACT, "\n")


def tampered_lines(trail: Trail) -> Iterator[tuple[str, str]]:
    """Yield exports that were tampered with, and what is said of them."""
    lines = trail.run("export").stdout.splitlines()
    yield "\n".join(lines[:5] + lines[6:]), "missing, within the retention"
    yield "\n".join(lines).replace('"success"', '"denied"', 1), "was altered"
    yield "\n".join([*lines, "[" * 100_000]), "stream ? seq -1: is not an entry"
    yield "\n".join([*lines, "not JSON", '"text"', "5"]), "stream ? seq -1: is not an entry"
    yield "\n".join([*lines, '{"stream": "\\ud800\\u001b"}']), "stream \\ud800\\u001b seq -1: is not an entry"
    twice = lines[7].replace('"status"', '"status": "denied", "status"')
    yield "\n".join([*lines[:7], twice, *lines[8:]]), "stream ? seq -1: is not an entry"
    [unsigned] = stream_of(1, trail.written.keyring, signed=2)
    yield "\n".join([*lines, json.dumps(unsigned)]), "ends its stream and is covered by no signature"
    changed = json.dumps(json.loads(lines[7]) | {"seq": float("nan")})
    yield "\n".join([*lines[:8], changed, *lines[8:]]), "is not an entry of this service's making"


def test_tampering_in_an_export_is_found(trail: Trail) -> None:
    """Whatever was done to a file, verifying says so with exit code 1, and never by a traceback."""
    for exported, said in tampered_lines(trail):
        done = trail.run("verify", *offline(trail, exported))
        assert done.returncode == 1
        assert said in done.stdout
        assert done.stdout.splitlines()[-1].endswith("NOT what the service wrote")
        assert printable(done.stdout)
    binary = trail.file("binary", b"\xff\xfe\x00\n\x80\n")
    done = trail.run("verify", "--file", binary, "--public-key", pem(trail))
    assert (done.returncode, done.stdout.count("TAMPERING: ")) == (1, 2)


def test_another_key_verifies_nothing(trail: Trail) -> None:
    """With a public key that is not the trail's, no stream is covered."""
    other = trail.file("other.pem", SigningKey(new_key()).public.pem())
    done = trail.run("verify", "--file", trail.output("export"), "--public-key", other)
    assert done.returncode == 1
    assert done.stdout.count("is signed by a key that is not known") == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--file", "EXPORT"),
        ("verify", "--public-key", "PEM"),
        ("verify", "--file", "missing", "--public-key", "PEM"),
        ("verify", "--file", "EXPORT", "--public-key", "EXPORT"),
        ("verify", "--file", "EXPORT", "--public-key", "PEM", "--retention-days", "90"),
        ("verify", "--retention-days", "-1"),
        ("verify", "--retention-days", "1000000000"),
        ("export", "--since", "yesterday"),
        ("export", "--until", "2026-13-01"),
        ("tail", "--lines", "-1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told(trail: Trail, arguments: tuple[str, ...]) -> None:
    """What cannot be meant is a message about how the command is used, and exit code 2."""
    exported = "\n".join(map(json.dumps, trail.written.records))
    files = {"EXPORT": trail.file("export.jsonl", exported), "PEM": pem(trail)}
    done = trail.run(*(files.get(argument, argument) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert "Error: " in done.stderr


COMMANDS = ("tail", "export", "public-key", "checkpoint", "verify")


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    """Without MongoDB, and with wrong settings, each command fails with a message and no traceback."""
    away = settings("mongodb://127.0.0.1:1", new_key())
    with ThreadPoolExecutor(len(COMMANDS)) as pool:
        for done in pool.map(
            lambda name: run_command("audit", name, environment=away, folder=tmp_path), COMMANDS
        ):
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.splitlines()[-1] == "secret-manager: MongoDB is not available"
        for done in pool.map(
            lambda name: run_command("audit", name, environment={}, folder=tmp_path), COMMANDS
        ):
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("secret-manager: wrong settings:\n  MASTER_KEY: required")


def test_a_checkpoint_that_is_none_is_refused(trail: Trail) -> None:
    """A checkpoint that was changed, or signed by a stranger, or is none: one line, and exit code 1."""
    made = json.loads(Path(trail.output("checkpoint")).read_text())
    stranger = SigningKey(new_key())
    unsigned = {name: value for name, value in made.items() if name not in ("signer", "signature")}
    foreign = rehash(unsigned, None, stranger)
    genuine = SigningKey(trail.written.keyring.primary)
    timeless = {"ts": "once", "heads": [], "signer": genuine.public.signer}
    timeless["signature"] = genuine.sign(canonical(timeless))
    not_signed = "secret-manager: the checkpoint is not signed by a key that is known\n"
    none = "secret-manager: this is not a checkpoint\n"
    arguments = offline(trail)
    for content, said in (
        (json.dumps(made | {"heads": made["heads"][1:]}), not_signed),
        (json.dumps(made | {"heads": []}), not_signed),
        (json.dumps(made | {"ts": moment(datetime.now(UTC))}), not_signed),
        (json.dumps(made | {"signature": "zz"}), not_signed),
        (json.dumps(foreign), not_signed),
        (json.dumps(unsigned), none),
        ("[" * 100_000, none),
        ("not JSON", none),
        (json.dumps(timeless), none),
        ("[]", none),
        (b"\xff\xfe", none),
        ("", none),
    ):
        checkpoint = trail.file("checkpoint", content)
        done = trail.run("verify", *arguments, "--checkpoint", checkpoint)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_a_checkpoint_holds_all_heads(trail: Trail) -> None:
    """A checkpoint is one signed line with the newest signed entry of each stream."""
    done = trail.run("checkpoint")
    assert done.stdout.count("\n") == 1
    made = json.loads(done.stdout)
    ends = {name: records[-1] for name, records in streams(trail.written.records).items()}
    names = ("stream", "seq", "ts", "hash")
    assert {head["stream"]: head for head in made["heads"]} == {
        stream: {name: end[name] for name in names} for stream, end in ends.items()
    }
    # Forged entries are nobody's head.
    end = next(iter(ends.values()))
    for number, key in ((1, None), (2, SigningKey(new_key()))):
        forged = rehash(end | {"seq": end["seq"] + number}, end, key)
        trail.stored.audit_logs.insert_one(as_stored(forged))
    copied = end | {"seq": end["seq"] + 3}
    trail.stored.audit_logs.insert_one(as_stored(copied))
    again = json.loads(trail.run("checkpoint").stdout)
    assert again["heads"] == made["heads"]


def test_a_pruned_trail_is_intact(trail: Trail) -> None:
    """With a retention set, what is past it may be gone: it is noted, and the exit code is 0."""
    old = stream_of(20, trail.written.keyring)
    days_ago = datetime.now(UTC) - timedelta(days=3)
    for record, number in zip(old, range(20), strict=True):
        record["ts"] = moment(days_ago + timedelta(days=number // 10 * 2, seconds=number))
    old = rechain(old, 0, lambda made, _: rehash(made, None, SigningKey(trail.written.keyring.primary)))
    trail.stored.audit_logs.insert_many([as_stored(record) for record in old])
    checkpoint = trail.output("checkpoint")
    trail.stored.audit_logs.delete_many({"ts": {"$lt": datetime.now(UTC) - timedelta(days=2)}})
    stream = old[0]["stream"]
    gone = f"stream {stream} seq 10: entries 0 to 9 before it: "
    for arguments, environment in (([], {"AUDIT_TTL_DAYS": "2"}), (["--retention-days", "2"], {})):
        done = trail.run("verify", "--checkpoint", checkpoint, *arguments, **environment)
        verdict = "190 entries in 4 streams: intact"
        assert done.stdout.splitlines() == [f"note: {gone}gone, past the retention", verdict]
        assert done.returncode == 0
    # As a file it is held against no retention, unless one is given.
    exported = offline(trail)
    for arguments in ((), ("--retention-days", "0"), ("--checkpoint", checkpoint)):
        done = trail.run("verify", *exported, *arguments)
        assert done.stdout.splitlines()[0] == f"TAMPERING: {gone}missing, within the retention"
    done = trail.run("verify", *exported, "--checkpoint", checkpoint, "--retention-days", "2")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"note: {gone}gone, past the retention")
    # A whole stream that is past it may be gone, although the checkpoint knows it.
    trail.stored.audit_logs.delete_many({"stream": stream})
    done = trail.run("verify", "--checkpoint", checkpoint, AUDIT_TTL_DAYS="2")
    assert done.returncode == 1
    assert f"TAMPERING: stream {stream} seq 19: is missing with its whole stream" in done.stdout
    assert trail.run("verify", "--checkpoint", checkpoint, AUDIT_TTL_DAYS="1").returncode == 0


def test_the_retention_of_an_archive_counts_from_its_checkpoint(trail: Trail) -> None:
    """However old an archive is, only what had passed its retention when it was made may be gone."""
    key = SigningKey(trail.written.keyring.primary)
    names = ("stream", "seq", "ts", "hash")
    made_at = datetime(2020, 3, 1, 12, tzinfo=UTC)
    old = stream_of(4, trail.written.keyring)
    for record, hours in zip(old, (-72, -47, -46, 0), strict=True):
        record["ts"] = moment(made_at + timedelta(hours=hours))
    old = rechain(old, 0, lambda made, _: rehash(made, None, key))
    content = {"ts": moment(made_at), "heads": [{name: old[3][name] for name in names}]}
    signed = {"signer": key.public.signer, "signature": key.sign(canonical(content))}
    checkpoint = trail.file("checkpoint", json.dumps(content | signed))
    # The second passed its retention within the hour that the export may have taken.
    for first, tampering in ((0, False), (1, False), (2, False), (3, True)):
        exported = "\n".join(map(json.dumps, old[first:]))
        done = trail.run(
            *("verify", *offline(trail, exported), "--checkpoint", checkpoint, "--retention-days", "2")
        )
        assert done.returncode == tampering
        assert ("within the retention" in done.stdout) == tampering


def written_by(uri: str, keyring: Keyring, count: int) -> None:
    with connected(uri):
        worker = AuditTrail(keyring)
        for number in range(count):
            attempt = Attempt(action=Action.FETCH, request_id=str(number))
            worker._on_finish(attempt, status=Status.SUCCESS)
        worker.disconnect()


def test_a_trail_verifies_after_rotations(mongo_uri: str, tmp_path: Path) -> None:
    """With the old key as a fallback, without it, and offline: what was signed with it stays verifiable."""
    old, new, newest = (new_key() for _ in range(3))

    def run(*arguments: str, keys: tuple[MasterKey, ...]) -> Done:
        return run_command("audit", *arguments, environment=settings(mongo_uri, *keys), folder=tmp_path)

    written_by(mongo_uri, Keyring(old), 3)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(run("checkpoint", keys=(old,)).stdout)
    written_by(mongo_uri, Keyring(new, [old]), 3)
    written_by(mongo_uri, Keyring(newest, [new]), 3)
    for keys in ((newest, new, old), (newest, new), (newest,)):
        done = run("verify", "--checkpoint", str(checkpoint), keys=keys)
        assert (done.returncode, done.stdout) == (0, "9 entries in 3 streams: intact\n")
    # A replica that nobody has told of the newest key.
    assert "is signed by a key that is not known" in run("verify", keys=(new, old)).stdout
    bundle = run("public-key", keys=(newest,)).stdout
    expected = [SigningKey(key).public.signer for key in (newest, new, old)]
    signers = [key.signer for key in VerifyingKey.from_pem(bundle.encode())]
    assert (signers[0], set(signers)) == (expected[0], set(expected))
    (tmp_path / "bundle.pem").write_text(bundle)
    (tmp_path / "export").write_text(run("export", keys=(newest,)).stdout)
    done = run_command(
        "audit",
        *("verify", "--file", "export", "--public-key", "bundle.pem", "--checkpoint", "checkpoint"),
        environment={},
        folder=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "9 entries in 3 streams: intact\n")


def test_a_trail_verifies_after_a_rotation_without_any_traffic(mongo_uri: str, tmp_path: Path) -> None:
    """A replica vouches for the keys before it when it gets ready: the old one may be dropped unused."""
    old, new, newest = (new_key() for _ in range(3))
    written_by(mongo_uri, Keyring(old), 3)
    for keys in ((new, old), (newest, new)):
        assert (
            run_command(
                "audit", "verify", environment=settings(mongo_uri, newest), folder=tmp_path
            ).returncode
            == 1
        )
        with running_app(settings(mongo_uri, *keys)) as app:
            assert app.test_client().get("/health/ready").status_code == 200
    done = run_command("audit", "verify", environment=settings(mongo_uri, newest), folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "3 entries in 1 streams: intact\n")


def test_a_trail_with_failed_commits_is_intact(
    mongo_uri: str, stored: Stored, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a commit that failed has left behind is a note, in the database and in an export."""
    with connected(mongo_uri):
        worker = AuditTrail(keyring)
        worker._on_finish(Attempt(action=Action.FETCH), status=Status.SUCCESS)
        break_trail(stored)
        for _ in range(2):
            with pytest.raises(AuditUnavailableError):
                worker._on_finish(Attempt(action=Action.FETCH), status=Status.SUCCESS)
        mend_trail(stored)
        worker._on_finish(Attempt(action=Action.FETCH), status=Status.SUCCESS)

        def half(entries: list[Entry]) -> None:
            stored.audit_logs.insert_one(entries[0])
            raise KeyboardInterrupt

        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(AuditEntry, "store", half)
            worker._commit([{"action": "fetch", "status": "success", "principal": "p"} for _ in range(2)])
        worker._on_finish(Attempt(action=Action.FETCH), status=Status.SUCCESS)
        worker.disconnect()
    environment = settings(mongo_uri, keyring.primary)
    done = run_command("audit", "verify", environment=environment, folder=tmp_path)
    note, verdict = done.stdout.splitlines()
    assert note.startswith("note: stream ")
    assert note.endswith(" seq 1: is of a commit that failed; nothing was released")
    assert (done.returncode, verdict) == (0, "4 entries in 3 streams: intact")


def test_a_trail_is_intact_while_and_after_workers_write_it(
    environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """Under load a real service with 4 workers can be verified, also when one of them has been killed."""
    with Service({**environment, "WEB_CONCURRENCY": "4"}, folder=tmp_path) as service:
        assert service.process is not None
        ended: list[bool] = []

        def load() -> None:
            while not ended:
                try:
                    service.fetch(service.create(b"x"))
                except (OSError, AssertionError):
                    continue  # Its worker was killed.

        with ThreadPoolExecutor(12) as pool:
            for _ in range(12):
                pool.submit(load)
            try:
                wait_until(lambda: stored.audit_logs.estimated_document_count() > 500)
                wait_until(lambda: len(stored.audit_logs.distinct("stream")) >= 4)
                done = run_command("audit", "verify", environment=environment, folder=tmp_path)
                assert (done.returncode, done.stdout[-8:]) == (0, " intact\n")
                checkpoint = run_command("audit", "checkpoint", environment=environment, folder=tmp_path)
                (tmp_path / "checkpoint").write_text(checkpoint.stdout)
                known = set(stored.audit_logs.distinct("stream"))
                workers = children(service.process.pid)
                os.kill(int(next(iter(workers))), signal.SIGKILL)
                wait_until(lambda: set(stored.audit_logs.distinct("stream")) - known)
                wait_until(lambda: len(children(service.process.pid) - workers) == 1)
            finally:
                ended.append(True)
    done = run_command(
        "audit", "verify", "--checkpoint", "checkpoint", environment=environment, folder=tmp_path
    )
    written = list(stored.audit_logs.find().sort([("stream", 1), ("seq", 1)]))
    ends = {entry["stream"]: entry["hash"] for entry in written}
    assert done.stdout.splitlines()[-1] == f"{len(written)} entries in {len(ends)} streams: intact"
    assert done.returncode == 0
    # Each worker that was not killed has left the end of its stream in the log.
    logged = {line["head"]["hash"] for line in log_lines(service) if line["message"] == "audit head"}
    assert len(logged & set(ends.values())) >= len(workers) - 1


def test_tail_shows_the_newest_entries(trail: Trail) -> None:
    """The newest entries, the oldest of them first, one a line with what matters."""
    newest = sorted(trail.written.documents, key=lambda document: document["_id"])
    for arguments, count in (
        ((), 10),
        (("--lines", "3"), 3),
        (("--lines", "0"), 0),
        (("--lines", "999"), 180),
    ):
        done = trail.run("tail", "--no-follow", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        names = ("ts", "action", "status", "principal", "ip", "secret_id", "request_id")
        records = [record_of(document) for document in newest[180 - count :]]
        assert done.stdout.splitlines() == ["  ".join(record[name] for name in names) for record in records]


def test_tail_follows_until_ctrl_c(trail: Trail) -> None:
    """New entries appear as they come, each once; Ctrl-C ends it without a complaint."""
    with trail.start("tail", "--lines", "1") as process:
        assert process.stdout is not None
        assert "r-" in process.stdout.readline()
        for number in range(3):
            written_by(trail.uri, trail.written.keyring, 1)
            assert process.stdout.readline().split()[1:4] == ["fetch", "success", "anonymous"], number
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_an_attacker_stored_drives_no_terminal(trail: Trail) -> None:
    """Control characters in any field reach neither the terminal nor, unescaped, a file."""
    nasty = "\x1b]0;gotcha\x07\x9b2J\r\n\u202e"
    fields = ("action", "status", "principal", "secret_id", "ip", "ua", "request_id", "stream")
    trail.stored.audit_logs.insert_one(dict.fromkeys(fields, nasty) | {"seq": 0, "ts": nasty})
    done = trail.run("tail", "--no-follow", "--lines", "1")
    assert len(done.stdout.splitlines()) == 1
    assert "\\u001b]0;gotcha\\u0007\\u009b2J\\u000d\\u000a\\u202e" in done.stdout
    for command in (("tail", "--no-follow"), ("export",), ("verify",), ("checkpoint",)):
        done = trail.run(*command)
        assert printable(done.stdout)
        assert not set(nasty) & {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.stdout)


def test_export_prints_all_that_is_stored(trail: Trail) -> None:
    """An export is one JSON object a line, stream by stream, with every field as it is stored."""
    done = trail.run("export")
    assert [json.loads(line) for line in done.stdout.splitlines()] == trail.written.records
    assert done.stdout.isascii()


def test_export_filters(trail: Trail) -> None:
    """Each filter alone and all of them together choose exactly the entries that are meant."""
    records = trail.written.records
    middle = sorted(record["ts"] for record in records)[90]
    zoned = datetime.fromisoformat(middle).astimezone(tz=None).isoformat()
    naive = middle.removesuffix("Z")
    trail.stored.audit_logs.update_many({"seq": 5}, {"$set": {"principal": "operator"}})
    for arguments, meant in (
        (["--since", naive], lambda record: record["ts"] >= middle),
        (["--since", zoned], lambda record: record["ts"] >= middle),
        (["--since", "2026-11-01T00:00:00+14:00"], lambda _record: True),
        (["--until", middle], lambda record: record["ts"] < middle),
        (["--until", "2001-01-01"], lambda _record: False),
        (["--action", "create"], lambda record: record["action"] == "create"),
        (["--action", "$ne"], lambda _record: False),
        (["--principal", "operator"], lambda record: record["seq"] == 5),
        (["--secret", "secret-7"], lambda record: record["secret_id"] == "secret-7"),
        (
            ["--since", middle, "--action", "fetch", "--secret", "secret-7", "--principal", "anonymous"],
            lambda record: (
                record["ts"] >= middle
                and (record["action"], record["secret_id"]) == ("fetch", "secret-7")
                and record["seq"] != 5
            ),
        ),
    ):
        done = trail.run("export", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        found = {(line["stream"], line["seq"]) for line in map(json.loads, done.stdout.splitlines())}
        assert found == {(record["stream"], record["seq"]) for record in records if meant(record)}, arguments


def test_the_public_key_is_what_verifies(trail: Trail) -> None:
    """`public-key` prints PEM and nothing else: the key that the master key gives."""
    done = trail.run("public-key")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SigningKey(trail.written.keyring.primary).public.pem()


def test_looking_changes_nothing(trail: Trail) -> None:
    """None of these commands writes anything or changes the retention, whatever its settings say."""
    before = list(trail.stored.audit_logs.find().sort("_id"))
    indexes = trail.stored.audit_logs.index_information()
    for command in (("tail", "--no-follow"), ("export",), ("public-key",), ("checkpoint",), ("verify",)):
        assert trail.run(*command, AUDIT_TTL_DAYS="1").returncode == 0
    assert trail.stored.audit_logs.index_information() == indexes
    assert list(trail.stored.audit_logs.find().sort("_id")) == before
    assert trail.stored.audit_keys.count_documents({}) == 0
    assert trail.stored["keys"].count_documents({}) == 0
