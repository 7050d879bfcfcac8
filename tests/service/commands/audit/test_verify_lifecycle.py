"""`secret-manager audit verify` on trails in use: pruned, rotated, interrupted and still growing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.audit_commands import Trail, offline, written_by
from tests.support.commands import Done, invoke
from tests.support.rotation import Stored, new_key, settings
from tests.support.written_trail import as_stored, rechain, rehash, stream_of
from vault.common.timestamps import moment
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey, canonical

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
        return invoke("audit", *arguments, environment=settings(mongo_uri, *keys), folder=tmp_path)

    written_by(mongo_uri, Keyring(old), 3)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(run("checkpoint", keys=(old,)).stdout)
    written_by(mongo_uri, Keyring(new, [old]), 3)
    done = run("verify", "--checkpoint", str(checkpoint), keys=(new,))
    assert (done.returncode, done.stdout) == (0, "6 entries in 2 streams: intact\n")
    done = run("verify", keys=(new,))
    assert "is not retired yet: a running service retires it within two minutes" in done.stdout
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
    done = invoke(
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
    done = invoke(
        *("audit", "verify", "--file", "export", "--public-key", "bundle.pem"),
        environment={},
        folder=tmp_path,
    )
    assert "is signed by a master key that had been dropped before" in done.stdout
    assert done.returncode == 1
