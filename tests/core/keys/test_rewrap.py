"""A rewrap encrypts every secret with the primary key and loses none."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from bson import Binary
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect

from tests.conftest import running_app
from tests.support.lifecycle import b64, in_future, in_past
from tests.support.rotation import (
    Stored,
    claim,
    fill,
    new_key,
    settings,
    under,
    values,
    versioned,
    versions_of,
)
from tests.support.trail import block_trail
from vault.common.errors import (
    AuditUnavailableError,
    KeyMissingError,
    RewrapRefusedError,
    StorageUnavailableError,
)
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import EncryptOnSave, Secret, keys_in_use
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.token import StoredTokenKey
from vault.core.keys import rewrap as rewrap_module
from vault.core.keys.guard import KeyringGuard
from vault.core.keys.rewrap import Rewrap, Rewrapped, rewrap
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output

#: Documents as bytes: some contain values that Python cannot represent.
RAW = CodecOptions(document_class=RawBSONDocument)
OLD, OLDER, NEW, FOREIGN = (new_key() for _ in range(4))
#: The guard of the operator's command.
GUARDS: list[KeyringGuard] = []


@pytest.fixture(autouse=True)
def operator(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect like the command; a batch is ten secrets."""
    monkeypatch.setattr(rewrap_module, "_BATCH", 10)
    monkeypatch.chdir(tmp_path)
    for name, value in settings(mongo_uri, NEW, OLD, OLDER).items():
        monkeypatch.setenv(name, value)
    with connected(Output()) as parts:
        GUARDS.append(parts.guard)
        yield
        GUARDS.clear()


def run(
    *fallbacks: MasterKey, dry_run: bool = False, progress: Callable[[Rewrap], None] = lambda _: None
) -> Rewrap:
    [guard] = GUARDS
    return rewrap(Keyring(NEW, fallbacks or [OLD]), guard, dry_run=dry_run, progress=progress)


def trail(stored: Stored) -> list[dict[str, Any]]:
    entries = stored.audit_logs.find({}, dict.fromkeys(("action", "status", "principal", "details"), True))
    assert not stored.audit_logs.count_documents({"secret_id": {"$exists": True}})
    return [{name: value for name, value in entry.items() if name != "_id"} for entry in entries.sort("_id")]


def entry(action: str, status: str, **counts: int) -> dict[str, Any]:
    details = {"total": 0, "rewrapped": 0, "overtaken": 0, "unreadable": 0, "left": 0, **counts}
    return {
        "action": action,
        "status": status,
        "principal": "operator",
        "details": {"primary": NEW.id, **details},
    }


def tamper(stored: Stored, secret_id: str) -> dict[str, Any]:
    stored.secrets.update_one({"_id": secret_id}, {"$inc": {"version": 1}})
    document: dict[str, Any] | None = stored.secrets.find_one({"_id": secret_id})
    assert document
    return document


def before_writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Run *act* once, between the reading of a batch and its writing."""
    write, pending = rewrap_module.write_rewrapped, [act]

    def act_first(changes: Sequence[Rewrapped]) -> int:
        if pending:
            pending.pop()()
        return write(changes)

    monkeypatch.setattr(rewrap_module, "write_rewrapped", act_first)


def test_a_rewrap_leaves_only_the_primary_key(stored: Stored) -> None:
    """Secrets of any fallback key get the primary key once, with two entries that name none of them."""
    before = fill(stored, OLD, 45) | fill(stored, OLDER, 7) | fill(stored, NEW, 3)
    others = {"envelope": False, "key_id": False}
    untouched = list(stored.secrets.find({}, others).sort("_id"))
    new = list(stored.secrets.find({"key_id": NEW.id}).sort("_id"))
    assert run(OLD, OLDER) == Rewrap(total=52, rewrapped=52)
    assert keys_in_use.stored_key_ids() == {NEW.id}
    assert values(stored, NEW) == before
    assert list(stored.secrets.find({}, others).sort("_id")) == untouched
    # Secrets with the primary key are not even written.
    assert [stored.secrets.find_one({"_id": document["_id"]}) for document in new] == new
    documents = list(stored.secrets.find())
    assert trail(stored) == [
        entry("rewrap_start", "success", total=52, left=52),
        entry("rewrap_end", "success", total=52, rewrapped=52),
    ]
    assert run(OLD, OLDER) == Rewrap()
    assert list(stored.secrets.find()) == documents


def test_progress_is_reported_after_each_batch(stored: Stored) -> None:
    """Progress is reported after each batch, including the last."""
    fill(stored, OLD, 25)
    reports: list[tuple[int, int, int]] = []
    run(progress=lambda outcome: reports.append((outcome.seen, outcome.total, outcome.left)))
    assert reports == [(10, 25, 15), (20, 25, 5), (25, 25, 0)]


def test_a_dry_run_changes_nothing_and_finds_unreadable_secrets(stored: Stored) -> None:
    """A dry run decrypts all, counts a real run's work, and leaves database and trail alone."""
    first, *_ = fill(stored, OLD, 25)
    tamper(stored, first)
    documents = list(stored.secrets.find())
    assert run(dry_run=True) == Rewrap(total=25, rewrapped=24, unreadable=1, left=1)
    assert list(stored.secrets.find()) == documents
    assert trail(stored) == []


def test_an_altered_document_is_left_and_counted(stored: Stored) -> None:
    """An altered document is left unchanged, keeps its key in use, and blocks no other."""
    first, *_ = before = fill(stored, OLD, 25)
    altered = tamper(stored, first)
    assert run() == Rewrap(total=25, rewrapped=24, unreadable=1, left=1)
    assert stored.secrets.find_one({"_id": first}) == altered
    stored.secrets.update_one({"_id": first}, {"$inc": {"version": -1}})
    assert values(stored, NEW, OLD) == before
    assert trail(stored)[-1] == entry("rewrap_end", "error", total=25, rewrapped=24, unreadable=1, left=1)


#: Fields of a secret that the service does not write.
DAMAGES: list[dict[str, Any]] = [
    {"envelope": None},
    {"envelope": "text"},
    {"envelope": Binary(b"")},
    {"version": "one"},
    {"version": {"a": 1}},
    {"namespace": 5},
    {"expires_at": "tomorrow"},
    # The year 292 million: no `datetime` can represent it.
    {"expires_at": 2**63 - 1},
    {"created_at": 2**63 - 1},
    {"_cls": "Other"},
    {"max_reads": [1]},
    {"key_id": [OLD.id]},
    {"key_id": [OLD.id, 5]},
    {"key_id": 7},
    {"key_id": None},
    {"key_id": {"a": 1}},
    {"key_id": []},
    {"key_id": [[OLD.id]]},
]


def test_no_damage_stops_a_rewrap(stored: Stored) -> None:
    """A document with any damage is left unchanged, and all others are rewrapped."""
    raw = stored.get_collection("secrets", codec_options=RAW)
    for damage in DAMAGES:
        first, *others = before = fill(stored, OLD, 5)
        pipeline = [
            {
                "$set": {
                    name: {"$toDate": value}
                    if name.endswith("_at") and isinstance(value, int)
                    else {"$literal": value}
                }
            }
            for name, value in damage.items()
        ]
        stored.secrets.update_one({"_id": first}, pipeline)
        damaged = raw.find_one({"_id": first}).raw
        outcome = run()
        if damage.keys() & {"created_at", "_cls"}:
            # These fields are not authenticated and have no effect.
            assert outcome == Rewrap(total=5, rewrapped=5), damage
        else:
            assert outcome == Rewrap(total=5, rewrapped=4, unreadable=1, left=1), damage
            assert raw.find_one({"_id": first}).raw == damaged
            stored.secrets.delete_one({"_id": first})
            assert values(stored, NEW) == {secret_id: before[secret_id] for secret_id in others}
        stored.secrets.delete_many({})


@pytest.mark.parametrize("key_id", [7, None, {"a": 1}], ids=str)
def test_an_older_version_without_a_key_id_is_left(stored: Stored, key_id: object) -> None:
    """A version or token key without a key ID keeps a rotation from completing."""
    secret_id, _ = versioned(stored, NEW, NEW)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"older.0.key_id": key_id}})
    assert run().left == 1
    stored.secrets.delete_many({})
    token_key = StoredTokenKey.of(bytes(32), Keyring(OLD))
    token_key.save()
    stored.token_keys.update_one({}, {"$set": {"key_id": key_id}})
    assert run() == Rewrap(total=1, unreadable=1, left=1)
    assert run(dry_run=True) == Rewrap(total=1, unreadable=1, left=1)
    stored.token_keys.update_one({}, {"$set": {"key_id": OLD.id}})
    assert run() == Rewrap(total=1, rewrapped=1)


def test_a_list_names_the_keys_in_it(stored: Stored) -> None:
    """A version whose key ID is a list of texts needs those keys, as MongoDB treats it."""
    secret_id, _ = versioned(stored, NEW, NEW)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"older.0.key_id": ["x"]}})
    assert run(dry_run=True).left == 1
    with pytest.raises(KeyMissingError, match=": x"):
        run()


def test_a_concurrent_change_is_not_overwritten(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret changed or deleted between reading and writing keeps that change."""
    changed, deleted, altered, *_ = before = fill(stored, OLD, 9)

    def change() -> None:
        stored.secrets.delete_one({"_id": deleted})
        [newer] = fill(stored, OLD, 1)
        document = stored.secrets.find_one_and_delete({"_id": newer})
        assert document
        stored.secrets.update_one({"_id": changed}, {"$set": {"envelope": document["envelope"]}})
        stored.secrets.update_one({"_id": altered}, {"$set": {"envelope": Binary(b"")}})

    before_writing(monkeypatch, change)
    outcome = run()
    assert outcome == Rewrap(total=9, rewrapped=6, overtaken=3, left=2)
    assert stored.secrets.find_one({"_id": deleted}) is None
    assert under(stored, NEW) == 6
    assert {document["_id"] for document in stored.secrets.find({"key_id": OLD.id})} == {changed, altered}
    stored.secrets.delete_many({"key_id": OLD.id})
    assert values(stored, NEW).items() <= before.items()


def test_a_concurrent_rewrap_is_not_repeated(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that another rewrap already changed keeps that envelope."""
    before = fill(stored, OLD, 9)
    outcomes: list[Rewrap] = []
    documents: list[dict[str, Any]] = []

    def overtake() -> None:
        outcomes.append(run())
        documents.extend(stored.secrets.find())

    before_writing(monkeypatch, overtake)
    assert run() == Rewrap(total=9, overtaken=9)
    assert outcomes == [Rewrap(total=9, rewrapped=9)]
    assert list(stored.secrets.find()) == documents
    assert values(stored, NEW) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_it_is_refused_while_replicas_write_with_other_keys(stored: Stored, dry_run: bool) -> None:
    """If running replicas may lack the primary key, the rewrap changes nothing and says why."""
    before = fill(stored, OLD, 5)
    claim(Keyring(OLD))
    with pytest.raises(RewrapRefusedError) as refused:
        run(dry_run=dry_run)
    assert (
        str(refused.value) == f"running workers encrypt under {OLD.id}, and {NEW.id} is primary here; "
        "make it theirs first, or run this with their keys"
    )
    assert values(stored, OLD) == before
    assert trail(stored) == []


@pytest.mark.promise(3)
def test_without_its_start_on_record_nothing_is_changed(stored: Stored) -> None:
    """While the trail cannot be written, no secret is changed."""
    fill(stored, OLD, 5)
    documents = list(stored.secrets.find())
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        run()
    assert list(stored.secrets.find()) == documents


def test_an_interrupted_rewrap_reports_its_progress(stored: Stored) -> None:
    """A rewrap interrupted by Ctrl-C ends immediately and records exactly the secrets done."""

    def interrupt(_: Rewrap) -> None:
        raise KeyboardInterrupt

    before = fill(stored, OLD, 100)
    with pytest.raises(KeyboardInterrupt):
        run(progress=interrupt)
    done = under(stored, NEW)
    assert 10 <= done <= 50
    assert trail(stored) == [
        entry("rewrap_start", "success", total=100, left=100),
        entry("rewrap_end", "error", total=100, rewrapped=done, left=100 - done),
    ]
    assert values(stored, NEW, OLD) == before
    assert run() == Rewrap(total=100 - done, rewrapped=100 - done)
    assert values(stored, NEW) == before


def test_a_rewrap_that_loses_mongodb_reports_its_progress(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When MongoDB fails, the secrets done so far are recorded, and the next run continues."""
    before = fill(stored, OLD, 40)
    write, batches = rewrap_module.write_rewrapped, iter(range(4))
    # All four are in progress before the first of them is waited for.
    others_written = Event()

    def fail_once(changes: Sequence[Rewrapped]) -> int:
        number = next(batches)
        if number == 1:
            assert others_written.wait(60)
            raise AutoReconnect("gone")
        written = write(changes)
        if number == 2:
            others_written.set()
        return written

    with monkeypatch.context() as failing:
        failing.setattr(rewrap_module, "write_rewrapped", fail_once)
        with pytest.raises(StorageUnavailableError):
            run()
    done = under(stored, NEW)
    assert done == 30
    assert trail(stored)[-1] == entry("rewrap_end", "error", total=40, rewrapped=done, left=40 - done)
    assert run() == Rewrap(total=40 - done, rewrapped=40 - done)
    assert values(stored, NEW) == before


def test_two_concurrent_rewraps_and_creates_lose_nothing(stored: Stored) -> None:
    """Two concurrent rewraps, with creates under both keys, change each secret once and lose none."""
    before = fill(stored, OLD, 300)
    hook = EncryptOnSave(Keyring(NEW, [OLD]))
    hook.connect()
    ended = Event()

    def create(_: int) -> dict[str, bytes]:
        created: dict[str, bytes] = {}
        while not ended.is_set():
            # By a replica that has the new key, and by one that does not have it yet.
            secret_id, value = f"{len(created):08x}-{id(created):027x}", f"{len(created)}".encode()
            secret = Secret(id=secret_id, created_at=datetime.now(UTC))
            secret.set_plaintext(value)
            secret.save(force_insert=True)
            created |= {secret_id: value} | fill(stored, OLD, 1)
        return created

    with ThreadPoolExecutor(4) as pool:
        creating = [pool.submit(create, number) for number in range(2)]
        first, second = [pool.submit(run) for _ in range(2)]
        outcomes = [first.result(), second.result()]
        ended.set()
        for created in creating:
            before |= created.result()
    hook.disconnect()
    outcomes.append(run())
    assert outcomes[-1].left == 0
    assert sum(outcome.unreadable for outcome in outcomes) == 0
    under_old = 300 + (len(before) - 300) // 2
    assert sum(outcome.rewrapped for outcome in outcomes) == under_old
    assert values(stored, NEW) == before


def test_older_versions_are_rewrapped_and_counted(stored: Stored) -> None:
    """Every version of a secret gets the primary key and counts, whatever its key was."""
    limits = {
        "namespace": "other",
        "name": "a/b",
        "max_reads": 5,
        "expires_at": datetime(2100, 1, 1, 1, 2, 3, 4_000, tzinfo=UTC),
    }
    secrets = dict(
        [
            versioned(stored, OLD, OLD, OLD),
            versioned(stored, OLD, OLDER, NEW, **limits),
            versioned(stored, NEW, NEW, OLDER),
            versioned(stored, NEW, OLD, NEW),
            versioned(stored, NEW, NEW),
        ]
    )
    assert [keys_in_use.stored_versions(key.id) for key in (OLD, OLDER, NEW)] == [5, 2, 7]
    assert run(OLD, OLDER, dry_run=True) == Rewrap(total=7, rewrapped=7)
    assert run(OLD, OLDER) == Rewrap(total=7, rewrapped=7)
    assert keys_in_use.stored_key_ids() == {NEW.id}
    assert keys_in_use.stored_versions(NEW.id) == 14
    for secret_id, versions in secrets.items():
        assert versions_of(stored, secret_id, NEW) == versions


def test_unreadable_secrets_are_rewrapped_too(stored: Stored) -> None:
    """A deleted, pending, expired or used-up secret that is still stored no longer needs its old key."""
    unreadable: list[dict[str, Any]] = [
        {"deleted_at": in_past(days=1), "purge_at": in_future(days=1)},
        {"name": "a/b", "pending": True, "purge_at": in_future(days=1)},
        {"expires_at": in_past(days=1)},
        {"max_reads": 1, "reads": 1, "purge_at": in_future(days=1)},
    ]
    secrets = dict(versioned(stored, OLD, OLD, **fields) for fields in unreadable)
    others = {"envelope": 0, "key_id": 0, "older": 0}
    before = list(stored.secrets.find({}, others).sort("_id"))
    assert run() == Rewrap(total=8, rewrapped=8)
    assert list(stored.secrets.find({}, others).sort("_id")) == before
    for secret_id, versions in secrets.items():
        assert versions_of(stored, secret_id, NEW) == versions


def test_an_old_version_with_a_lost_key_must_be_removed_first(stored: Stored) -> None:
    """A version whose key is missing blocks the rewrap of all others, with no entry, until it is removed."""
    before = fill(stored, OLD, 5)
    secret_id, versions = versioned(stored, OLD, FOREIGN, OLD)
    assert run(dry_run=True) == Rewrap(total=8, rewrapped=7, left=1)
    with pytest.raises(KeyMissingError):
        run()
    assert versions_of(stored, secret_id, OLD, FOREIGN) == versions
    assert trail(stored) == []
    stored.secrets.delete_one({"_id": secret_id})
    assert run() == Rewrap(total=5, rewrapped=5)
    assert values(stored, NEW) == before


def test_an_altered_secret_counts_once(stored: Stored) -> None:
    """Versions that do not verify, with any keys, are counted once each."""
    versioned(stored, OLD, OLDER, OLD, OLDER)
    stored.secrets.update_one({}, {"$set": {"namespace": "other"}})
    assert run(OLD, OLDER) == Rewrap(total=4, unreadable=4, left=4)


#: Malformed data in place of older versions.
DAMAGED_OLDER: list[Any] = [
    "text",
    5,
    ["text"],
    [None],
    [[]],
    [{}],
    [{"version": 1}],
    [{"version": 1, "key_id": OLD.id}],
    [{"version": 1, "key_id": OLD.id, "envelope": "text"}],
    [{"version": "one", "key_id": OLD.id, "envelope": Binary(b"")}],
    [{"version": 2, "key_id": OLD.id, "envelope": Binary(bytes(60))}],
    {"key_id": OLD.id},
    [{"version": 1, "key_id": [OLD.id], "envelope": Binary(b"")}],
    [{"version": 1, "key_id": [[OLD.id]], "envelope": Binary(b"")}],
]


def test_no_damage_of_older_versions_stops_a_rewrap(stored: Stored) -> None:
    """Malformed data in place of older versions stays, and all other secrets are rewrapped."""
    for older in DAMAGED_OLDER:
        first, *_ = before = fill(stored, OLD, 5)
        stored.secrets.update_one({"_id": first}, {"$set": {"older": older}})
        outcome = run()
        assert outcome.rewrapped >= 4
        assert outcome.left == outcome.total - outcome.rewrapped
        assert stored.secrets.count_documents({"_id": first, "older": older}) == 1
        stored.secrets.update_one({"_id": first}, {"$unset": {"older": ""}})
        assert values(stored, NEW, OLD) == before
        stored.secrets.delete_many({})


def test_an_update_between_read_and_write_loses_nothing(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret updated during the rewrap keeps all versions, and the next run completes it."""
    secret_id, values = versioned(stored, OLD, OLD)

    def update() -> None:
        document = stored.secrets.find_one({"_id": secret_id})
        assert document
        newest = {name: document[name] for name in ("version", "envelope", "key_id", "created_at")}
        secret = StoredSecret(document)
        secret.decrypt(Keyring(NEW, [OLD]))
        change = {
            "older": [*document["older"], newest],
            "version": 3,
            "envelope": Keyring(NEW).encrypt(b"value 3", secret.binding(3)),
            "key_id": NEW.id,
        }
        stored.secrets.update_one({"_id": secret_id}, {"$set": change})

    before_writing(monkeypatch, update)
    assert run() == Rewrap(total=2, rewrapped=1, overtaken=1, left=1)
    assert versions_of(stored, secret_id, NEW, OLD) == values | {3: b"value 3"}
    assert run() == Rewrap(total=1, rewrapped=1)
    assert versions_of(stored, secret_id, NEW) == values | {3: b"value 3"}


def test_a_version_dropped_meanwhile_does_not_come_back(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version that is dropped while it is rewrapped stays removed."""
    secret_id, values = versioned(stored, OLD, OLD, OLD)
    drop = {"$pull": {"older": {"version": 1}}}
    before_writing(monkeypatch, lambda: stored.secrets.update_one({"_id": secret_id}, drop) and None)
    assert run() == Rewrap(total=3, rewrapped=2, overtaken=1)
    assert versions_of(stored, secret_id, NEW) == {2: values[2], 3: values[3]}


def test_changes_under_the_old_key_during_a_rewrap_lose_nothing(stored: Stored, mongo_uri: str) -> None:
    """While a worker encrypts under the old key, rewraps lose no version, label, expiry, read or deletion."""
    secrets = [versioned(stored, OLD, NEW, max_reads=9)[0] for _ in range(4)]

    def run_next_to_a_new_worker() -> Rewrap:
        assert claim(Keyring(NEW, [OLD]))
        return run()

    assert claim(Keyring(NEW, [OLD]))
    with running_app({**settings(mongo_uri, OLD, NEW), "DELETE_RECOVERY_DAYS": "1"}) as app:
        client = app.test_client()

        def ask(action: str, secret_id: str, **body: Any) -> Any:
            reply = client.post(f"/vault/secret/{action}", json={"secret_id": secret_id, **body})
            assert reply.status_code == 200, reply.data
            return reply.json

        def change(secret_id: str) -> None:
            for version in range(3, 7):
                value = b64(b"value %d" % version)
                ask("update", secret_id, secret=value, expected_version=version - 1)
                ask("update-metadata", secret_id, labels={"version": str(version)})
                ask("update-metadata", secret_id, ttl_seconds=version * 100_000)
                ask("delete", secret_id)
                ask("restore", secret_id)
                assert ask("fetch", secret_id) == {"secret": value}
            ask("delete", secret_id)

        with ThreadPoolExecutor(4) as pool:
            changing = [pool.submit(change, secret_id) for secret_id in secrets]
            while not all(future.done() for future in changing):
                run_next_to_a_new_worker()
            for future in changing:
                future.result()
        assert run_next_to_a_new_worker().left == 0
        assert keys_in_use.stored_key_ids() == {NEW.id}
    for secret_id in secrets:
        assert versions_of(stored, secret_id, NEW) == {n: b"value %d" % n for n in range(1, 7)}
        found = stored.secrets.find_one({"_id": secret_id})
        assert found
        assert (found["labels"], found["reads"]) == (["version=6"], 4)
        assert found["expires_at"] > in_future(seconds=500_000)
        assert found["deleted_at"]
