"""`secret-manager audit verify` on trails in use: pruned, rotated, interrupted and still growing."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.audit_commands import Trail, offline, written_by
from tests.cli.waiting import wait_until
from tests.conftest import running_app, start
from tests.server.test_gunicorn_conf import log_lines
from tests.support.commands import Done, run_command
from tests.support.rotation import Stored, connected, new_key, settings
from tests.support.service import Service
from tests.support.trail import break_trail, mend_trail
from tests.support.written_trail import as_stored, rechain, rehash, stream_of
from vault.audit.stream import StoredEntry
from vault.audit.writer import AuditTrail
from vault.core.attempt import Action, Attempt
from vault.core.errors import AuditUnavailableError
from vault.core.outcomes import Status
from vault.core.timestamps import moment
from vault.crypto import Keyring, MasterKey
from vault.crypto.chain import SigningKey, VerifyingKey, canonical
from vault.documents import AuditEntry

pytestmark = pytest.mark.process


def test_a_pruned_trail_is_intact(trail: Trail) -> None:
    """With a retention, missing entries past it are noted, and the exit code is 0."""
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
    # A file is checked without a retention, unless one is given.
    exported = offline(trail)
    for arguments in ((), ("--retention-days", "0"), ("--checkpoint", checkpoint)):
        done = trail.run("verify", *exported, *arguments)
        assert done.stdout.startswith(f"TAMPERING: {gone}missing, within the retention (")
    done = trail.run("verify", *exported, "--checkpoint", checkpoint, "--retention-days", "2")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"note: {gone}gone, past the retention")
    # A whole stream past the retention may be missing, although the checkpoint knows it.
    trail.stored.audit_logs.delete_many({"stream": stream})
    done = trail.run("verify", "--checkpoint", checkpoint, AUDIT_TTL_DAYS="2")
    assert done.returncode == 1
    assert f"TAMPERING: stream {stream} seq 19: is missing with its whole stream" in done.stdout
    assert trail.run("verify", "--checkpoint", checkpoint, AUDIT_TTL_DAYS="1").returncode == 0


def test_the_retention_of_an_archive_counts_from_its_checkpoint(trail: Trail) -> None:
    """An archive of any age may lack only entries past the retention at its creation."""
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


@pytest.mark.promise(3)
def test_a_trail_verifies_after_rotations(mongo_uri: str, stored: Stored, tmp_path: Path) -> None:
    """Signatures of the old key verify with it as a fallback, without it, and offline."""
    old, new, newest = (new_key() for _ in range(3))

    def run(*arguments: str, keys: tuple[MasterKey, ...]) -> Done:
        return run_command("audit", *arguments, environment=settings(mongo_uri, *keys), folder=tmp_path)

    written_by(mongo_uri, Keyring(old), 3)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(run("checkpoint", keys=(old,)).stdout)
    written_by(mongo_uri, Keyring(new, [old]), 3)
    done = run("verify", "--checkpoint", str(checkpoint), keys=(new,))
    assert (done.returncode, done.stdout) == (0, "6 entries in 2 streams: intact\n")
    done = run("verify", keys=(new,))
    assert "is signed by a master key that was dropped, and that no process has retired since" in done.stdout
    assert done.returncode == 3
    # Each of these retires the one key that its keyring lacks.
    written_by(mongo_uri, Keyring(newest, [new]), 3)
    written_by(mongo_uri, Keyring(newest), 3)
    for keys in ((newest, new, old), (newest, new), (newest,)):
        for arguments in ((), ("--checkpoint", str(checkpoint))):
            done = run("verify", *arguments, keys=keys)
            assert (done.returncode, done.stdout) == (0, "14 entries in 4 streams: intact\n")
    # A replica without the newest key.
    assert "signed by a key that is not known" in run("verify", keys=(new, old)).stdout
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
    # With the entry of the export.
    assert (done.returncode, done.stdout) == (0, "15 entries in 5 streams: intact\n")
    # With a dropped key, neither the trail nor the export accepts more.
    forged = stream_of(2, Keyring(old))
    stored.audit_logs.insert_many(map(as_stored, forged))
    done = run("verify", keys=(newest,))
    assert "is signed by a master key that had been dropped before" in done.stdout
    assert done.returncode == 1
    with (tmp_path / "export").open("a") as file:
        file.writelines(f"{json.dumps(record)}\n" for record in forged)
    done = run_command(
        *("audit", "verify", "--file", "export", "--public-key", "bundle.pem"),
        environment={},
        folder=tmp_path,
    )
    assert "is signed by a master key that had been dropped before" in done.stdout
    assert done.returncode == 1


def test_a_trail_verifies_after_a_rotation_without_any_traffic(mongo_uri: str, tmp_path: Path) -> None:
    """A replica endorses earlier keys when it becomes ready, so an unused key can be dropped."""
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
            start(app)
            assert app.test_client().get("/health/ready").status_code == 200
    done = run_command("audit", "verify", environment=settings(mongo_uri, newest, new), folder=tmp_path)
    # The last replica has retired the first key.
    assert (done.returncode, done.stdout) == (0, "4 entries in 2 streams: intact\n")


def test_a_trail_with_failed_commits_is_intact(
    mongo_uri: str, stored: Stored, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leftovers of a failed commit are a note, in the database and in an export."""
    with connected(mongo_uri):
        worker = AuditTrail(keyring)
        worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
        break_trail(stored)
        for _ in range(2):
            with pytest.raises(AuditUnavailableError):
                worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
        mend_trail(stored)
        worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])

        def half(entries: list[StoredEntry]) -> None:
            stored.audit_logs.insert_one(entries[0])
            raise KeyboardInterrupt

        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(AuditEntry, "store", half)
            worker._commit([{"action": "fetch", "status": "success", "principal": "p"} for _ in range(2)])
        worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
        worker.disconnect()
    environment = settings(mongo_uri, keyring.primary)
    done = run_command("audit", "verify", environment=environment, folder=tmp_path)
    note, verdict = done.stdout.splitlines()
    assert note.startswith("note: stream ")
    assert note.endswith(" seq 1: is of a commit that failed; nothing was released")
    assert (done.returncode, verdict) == (0, "4 entries in 3 streams: intact")


@pytest.mark.promise(3)
def test_a_failed_commit_of_an_earlier_version_needs_review(trail: Trail) -> None:
    """If a successor lists no hashes, the exit code is 3; with additional tampering, it is 1."""
    key = SigningKey(trail.written.keyring.primary)
    whole = stream_of(9, trail.written.keyring, signed=3)
    left = {"stream": whole[5]["stream"], "seq": 5, "ts": whole[5]["ts"]}
    first = {"ts": moment(datetime.now(UTC)), "stream": "next", "seq": 0, "replaces": [left]}
    exported = [*whole[:7], rehash(first, None, key)]
    done = trail.run("verify", *offline(trail, "\n".join(map(json.dumps, exported))))
    finding, verdict = done.stdout.splitlines()
    assert finding.startswith(f"needs a look: stream {left['stream']} seq 6: is of a commit that failed, or ")
    assert (done.returncode, verdict) == (3, "8 entries in 2 streams: not proven intact")
    del exported[1]
    done = trail.run("verify", *offline(trail, "\n".join(map(json.dumps, exported))))
    assert "needs a look: " in done.stdout
    assert (done.returncode, done.stdout.splitlines()[-1][-26:]) == (1, "NOT what the service wrote")


def test_a_trail_is_intact_while_and_after_workers_write_it(
    environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """A trail of 4 workers under load verifies, even after one of them was killed."""
    with Service({**environment, "WEB_CONCURRENCY": "4"}, folder=tmp_path) as service:
        assert service.process is not None
        ended: list[bool] = []

        def load() -> None:
            while not ended:
                try:
                    service.fetch(service.create(b"x"))
                except (OSError, AssertionError):
                    continue  # Its worker was killed.
                finally:
                    # Leaves time for the commands and for starting workers.
                    time.sleep(0.02)

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
                workers = service.workers(4)
                os.kill(int(next(iter(workers))), signal.SIGKILL)
                wait_until(lambda: set(stored.audit_logs.distinct("stream")) - known)
                wait_until(lambda: len(service.workers(4) - workers) == 1)
            finally:
                ended.append(True)
    done = run_command(
        "audit", "verify", "--checkpoint", "checkpoint", environment=environment, folder=tmp_path
    )
    written = list(stored.audit_logs.find().sort([("stream", 1), ("seq", 1)]))
    ends = {entry["stream"]: entry["hash"] for entry in written}
    assert done.stdout.splitlines()[-1] == f"{len(written)} entries in {len(ends)} streams: intact"
    assert done.returncode == 0
    # Each worker that was not killed has logged the end of its stream.
    logged = {line["head"]["hash"] for line in log_lines(service) if line["message"] == "audit head"}
    assert len(logged & set(ends.values())) >= len(workers) - 1
