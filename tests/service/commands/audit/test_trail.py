"""The operators' commands for the audit trail."""

import json
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bson import BSON, Binary, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from tests.support.audit_commands import Trail, offline, printable, written_by
from tests.support.commands import invoke
from tests.support.rotation import Stored, new_key, settings
from tests.support.trail import block_trail
from tests.support.written_trail import WrittenTrail
from vault.common.timestamps import moment
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.audit import record_of
from vault.core.trail.streams.stream import derive_entry_id
from vault.toolkit.cli import entries
from vault.toolkit.cli.exits import SignalledError
from vault.toolkit.cli.output import Output

pytestmark = pytest.mark.process

#: The ID of a secret.
_ID = "550e8400-e29b-41d4-a716-446655440000"


def junk(trail: WrittenTrail) -> Iterator[Any]:
    """Yield junk documents for the collection."""
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
    """With any junk in the collection, every command works, and `verify` finds all of it."""
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
    # One is the export's own.
    assert len(exported.stdout.splitlines()) == 192
    done = trail.run("verify", *offline(trail, exported.stdout))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("NOT what the service wrote")
    done = trail.run("tail", "--no-follow", "--lines", "500")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 193)
    assert printable(done.stdout)
    # A checkpoint contains only the service's entries.
    heads = {head["stream"]: head for head in json.loads(trail.run("checkpoint").stdout)["heads"]}
    [export] = trail.stored.audit_logs.find({"action": "audit_export"})
    assert heads.pop(export["stream"])["seq"] == 0
    assert heads == trail.written.heads


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--file", "EXPORT"),
        ("verify", "--public-key", "PEM"),
        ("verify", "--file", "EXPORT", "--public-key", "EXPORT"),
        ("verify", "--file", "EXPORT", "--public-key", "PEM", "--retention-days", "90"),
        ("verify", "--retention-days", "1000000000"),
        ("export", "--since", "yesterday"),
        ("export", "--since", "0001-01-01T00:01:00+01:01"),
        ("export", "--until", "2026-13-01"),
        ("export", "--since", "0h"),
        ("export", "--action", "fetsh"),
        ("export", "--secret", "a//b"),
        ("query", "--status", "refused"),
        ("query", "--since", "2026-11-02", "--until", "2026-11-01"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_reported(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Invalid options are one line that names the help, and the exit code is 2."""
    (tmp_path / "EXPORT").write_text("{}\n")
    (tmp_path / "PEM").write_bytes(SigningKey(new_key()).public.pem().encode())
    done = invoke("audit", *arguments, environment={}, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f" Hint: see `secret-manager audit {arguments[0]} --help`\n")
    assert done.stderr.count("\n") == 1


def test_tail_shows_the_newest_entries(trail: Trail) -> None:
    """`tail` prints the newest entries, oldest first, one per line."""
    newest = sorted(trail.written.documents, key=lambda document: document["ts"])
    for arguments, count in (
        ((), 10),
        (("--lines", "3"), 3),
        (("--lines", "0"), 0),
        (("--lines", "999"), 180),
    ):
        done = trail.run("tail", "--no-follow", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        headings, *lines = done.stdout.splitlines()
        assert headings.split() == ["time", "action", "status", "principal", "about", "reason"]
        names = ("ts", "action", "status", "principal", "secret_id")
        records = [record_of(document) for document in newest[180 - count :]]
        assert [line.split() for line in lines] == [[record[name] for name in names] for record in records]
        assert max(map(len, [headings, *lines])) <= 100


def test_columns_align(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as their longest text so far, and name the token, role or issuer of an entry."""
    lines = entries.lines(Output())
    entry = {"ts": "2026-11-24T15:30:00.000Z", "action": "fetch", "status": "success", "principal": "ci"}
    details: list[Any] = [
        {"name": "app/key", "namespace": "default"},
        {"token": "web", "namespace": "team-a"},
        {"role_name": "deploy", "reason": "has more: scopes"},
        {"issuer_name": "github", "reason": "x"},
        {},
        "forged",
    ]
    lines.show([{**entry, "details": each} for each in details])
    long = {"action": "update_metadata", "status": "bad_request", "principal": "p" * 50, "secret_id": "s"}
    lines.show([entry | long, {**entry, "details": {"token": "web"}}])
    heading, *shown = capsys.readouterr().out.splitlines()
    found = [re.split("  +", line)[4:] for line in shown]
    assert found == [
        ["app/key"],
        ["token team-a: web"],
        ["role deploy", "has more: scopes"],
        ["issuer github", "x"],
        ["-"],
        ["-"],
        ["s"],
        ["token web"],
    ]
    starts = [heading.index("about"), heading.index("reason")]
    assert [line.index("app") if "app" in line else line.index("token") for line in shown[:2]] == starts[
        :1
    ] * 2
    assert {shown[2].index("has"), shown[3].index(" x") + 1} == {starts[1]}
    # A longer principal than 40 characters moves its own line only.
    assert shown[7].index("token") == 24 + 2 + 15 + 2 + 11 + 2 + 40 + 2


def test_tail_has_the_newest_entry_of_all_streams_last(trail: Trail) -> None:
    """The newest entry is last, also within a second, where identifiers are in the order of the streams."""
    # After the trail, which can have been written in this second.
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    for milliseconds, stream, number in ((300, "0", 0), (200, "f", 0), (100, "7", 0)):
        ts = now + timedelta(milliseconds=milliseconds)
        name = f"1-{stream * 32}"
        entry = {"ts": ts, "stream": name, "seq": number, "action": f"after-{milliseconds}"}
        trail.stored.audit_logs.insert_one(entry | {"_id": derive_entry_id(ts, name, number)})
    lines = trail.run("tail", "--no-follow", "--lines", "3").stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["after-100", "after-200", "after-300"]
    [line] = trail.run("tail", "--no-follow", "--lines", "1", "--json").stdout.splitlines()
    assert json.loads(line)["action"] == "after-300"
    with trail.start("tail", "--lines", "2") as process:
        assert process.stdout is not None
        shown = [process.stdout.readline().split()[1] for _ in range(3)]
        assert shown == ["action", "after-200", "after-300"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_query_shows_entries_in_either_order(trail: Trail, stored: Stored) -> None:
    """`query` prints the entries of its filters in either order, at most `--limit`, and is recorded."""
    fetches = [document for document in trail.written.documents if document["action"] == "fetch"]
    times = sorted(moment(document["ts"]) for document in fetches)

    def shown(*arguments: str) -> list[str]:
        done = trail.run("query", "--until", moment(datetime.now(UTC) + timedelta(days=1)), *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["ts"] for line in done.stdout.splitlines()]

    oldest = shown("--json", "--action", "fetch", "--limit", "999")
    assert oldest == times
    newest = shown("--json", "--newest-first", "--action", "fetch", "--limit", "50")
    assert newest == sorted(newest, reverse=True)
    assert [text[:19] for text in newest] == [text[:19] for text in times[::-1][:50]]
    done = trail.run("query", "--limit", "2", "-q", "--since", "520w")
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 3)
    assert "higher --limit" in trail.run("query", "--limit", "2").stderr
    entries = list(stored.audit_logs.find({"action": "audit_query"}))
    assert [entry["principal"] for entry in entries] == ["operator"] * 4
    assert entries[0]["details"]["action"] == "fetch"


def test_query_finds_a_secret_by_name_or_id_and_an_outcome(trail: Trail, stored: Stored) -> None:
    """`query` finds entries by the name or ID of a secret and by outcome, and shows name and reason."""
    now = datetime.now(UTC)
    stream = f"1-{'0' * 32}"
    entry = {"action": "fetch", "principal": "ci", "stream": stream, "ts": now}
    fetched = {"status": "success", "secret_id": _ID, "details": {"name": "app/key", "namespace": "b"}}
    other = {"status": "success", "details": {"name": "app/key", "namespace": "default"}}
    denied = {"status": "denied", "details": {"name": "x", "namespace": "default", "reason": "no scope"}}
    for number, fields in enumerate((fetched, other, denied)):
        identifier = derive_entry_id(now, stream, number)
        stored.audit_logs.insert_one({**entry, "seq": number, "_id": identifier, **fields})

    def shown(*arguments: str) -> list[list[str]]:
        done = trail.run("query", "--action", "fetch", *arguments)
        assert done.returncode == 0, done.stderr
        return [re.split("  +", line)[1:] for line in done.stdout.splitlines()[1:]]

    found = ["fetch", "success", "ci", "b: app/key"]
    assert shown("--secret", "app/key") == [["fetch", "success", "ci", "app/key"]]
    assert shown("--secret", "app/key", "--namespace", "b") == shown("--secret", _ID) == [found]
    assert shown("--namespace", "b") == [found]
    assert shown("--status", "denied", "--secret", "x") == [["fetch", "denied", "ci", "x", "no scope"]]
    queries = list(stored.audit_logs.find({"action": "audit_query"}).sort("ts"))
    asked = [(query["details"].get("secret_name"), query["details"].get("namespace")) for query in queries]
    assert asked == [("app/key", "default"), ("app/key", "b"), (None, None), (None, "b"), ("x", "default")]
    done = trail.run("query", "--secret", "nothing")
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "0 entries\n")


def test_tail_follows_until_ctrl_c(trail: Trail) -> None:
    """New entries are printed once each as they arrive; Ctrl-C ends the command quietly."""
    with trail.start("tail", "--lines", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("time ")
        assert process.stdout.readline()
        for number in range(3):
            written_by(trail.uri, trail.written.keyring, 1)
            assert process.stdout.readline().split()[1:4] == ["fetch", "success", "anonymous"], number
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (KeyboardInterrupt(), 0),
        (SignalledError(signal.SIGTERM), 143),
        (SignalledError(signal.SIGHUP), 129),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_only_ctrl_c_is_the_end_of_tail(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int
) -> None:
    """Ctrl-C is the end that `tail` waits for; after another signal, its exit code says so."""

    def stop(_seconds: float) -> None:
        raise end

    monkeypatch.setattr("vault.service.commands.audit.trail.time", SimpleNamespace(sleep=stop))
    done = trail.run("tail", "--lines", "1")
    assert (done.returncode, len(done.stdout.splitlines())) == (code, 2)


def test_export_prints_all_stored_entries(trail: Trail) -> None:
    """An export is one JSON object per line, stream by stream, with every field as stored."""
    done = trail.run("export")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    [own] = [record for record in printed if record["action"] == "audit_export"]
    printed.remove(own)
    assert printed == trail.written.records
    assert done.stdout.isascii()


@pytest.mark.promise(3)
def test_an_export_is_on_record(trail: Trail, stored: Stored) -> None:
    """An export leaves an entry with its filters before it prints anything, and prints nothing without it."""
    filters = ("--since", "2026-11-01", "--action", "create", "--secret", _ID)
    assert trail.run("export", *filters).returncode == 0
    entry = stored.audit_logs.find_one({"action": "audit_export"})
    assert entry is not None
    assert (entry["principal"], entry["status"], entry["secret_id"]) == ("operator", "success", _ID)
    assert entry["details"] == {"since": "2026-11-01T00:00:00.000Z", "action": "create"}
    # The whole trail with the entry verifies, in the database and as a file.
    assert trail.run("verify").stdout == "181 entries in 4 streams: intact\n"
    assert trail.run("verify", *offline(trail)).stdout == "182 entries in 5 streams: intact\n"
    block_trail(stored)
    done = trail.run("export")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "error: the audit trail cannot be written"
    # A MongoDB user with read access can still verify.
    assert trail.run("verify").returncode == 0


@pytest.mark.new_database
def test_an_empty_export_leaves_no_entry(mongo_uri: str, stored: Stored, tmp_path: Path) -> None:
    """A database without a trail stays empty, so that a backup can be restored into it."""
    done = invoke("audit", "export", environment=settings(mongo_uri, new_key()), folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert stored.list_collection_names() == []


def test_export_filters(trail: Trail) -> None:
    """Each filter, alone and combined with the others, selects exactly the matching entries."""
    records = trail.written.records
    middle = sorted(record["ts"] for record in records)[90]
    zoned = datetime.fromisoformat(middle).astimezone(tz=None).isoformat()
    naive = middle.removesuffix("Z")
    trail.stored.audit_logs.update_many({"seq": 5}, {"$set": {"principal": "operator"}})
    trail.stored.audit_logs.update_many({"secret_id": "secret-7"}, {"$set": {"secret_id": _ID}})
    for arguments, meant in (
        (["--since", naive], lambda record: record["ts"] >= middle),
        (["--since", zoned], lambda record: record["ts"] >= middle),
        (["--until", middle], lambda record: record["ts"] < middle),
        (["--action", "create"], lambda record: record["action"] == "create"),
        (["--principal", "$ne"], lambda _record: False),
        (["--principal", "operator"], lambda record: record["seq"] == 5),
        (["--secret", _ID], lambda record: record["secret_id"] == "secret-7"),
        (
            ["--since", middle, "--action", "fetch", "--secret", _ID, "--principal", "anonymous"],
            lambda record: (
                record["ts"] >= middle
                and (record["action"], record["secret_id"]) == ("fetch", "secret-7")
                and record["seq"] != 5
            ),
        ),
    ):
        done = trail.run("export", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found = {(line["stream"], line["seq"]) for line in lines if line["action"] != "audit_export"}
        assert found == {(record["stream"], record["seq"]) for record in records if meant(record)}, arguments


def test_the_public_key_verifies_the_trail(trail: Trail) -> None:
    """`public-key` prints only PEM: the public key of the master key's signing key."""
    done = trail.run("public-key")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SigningKey(trail.written.keyring.primary).public.pem()


def test_read_commands_change_nothing(trail: Trail) -> None:
    """None of these commands writes or changes the retention, whatever their settings are."""
    before = list(trail.stored.audit_logs.find().sort("_id"))
    indexes = trail.stored.audit_logs.index_information()
    for command in (("tail", "--no-follow"), ("public-key",), ("checkpoint",), ("verify",)):
        assert trail.run(*command, AUDIT_TTL_DAYS="1").returncode == 0
    assert trail.stored.audit_logs.index_information() == indexes
    assert list(trail.stored.audit_logs.find().sort("_id")) == before
    assert trail.stored.audit_keys.count_documents({}) == 0
    assert trail.stored["keys"].count_documents({}) == 0
