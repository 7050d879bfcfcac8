"""`secret-manager audit witness`, and what its output proves."""

import json
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.features.proofs.time_stamps import Authority, authority
from tests.support.audit_commands import INTACT, Trail, offline
from tests.support.commands import invoke
from tests.support.rotation import connected, new_key, settings
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.streams import checkpoint
from vault.features.proofs import counter_signature
from vault.features.proofs.commands import report_section
from vault.features.proofs.witness import Witness

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority."""
    with authority(tmp_path_factory.mktemp("tsa") / "tsa") as found:
        yield found


def witnessed(trail: Trail, **environment: str) -> str:
    """Return the path of a file with witnessed checkpoints."""
    done = trail.run("witness", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return trail.file("witnessed", done.stdout)


@pytest.mark.promise(3)
def test_a_trail_that_was_cut_after_its_time_stamp_is_found(trail: Trail, tsa: Authority) -> None:
    """A time stamp verifies, offline as well; when the end of a stream is removed later, that is found."""
    proof = ["--witnesses", witnessed(trail, AUDIT_WITNESSES=tsa.url), "--tsa-ca", tsa.ca]
    done = trail.run("verify", *proof)
    assert (done.returncode, done.stdout) == (0, INTACT)
    assert re.fullmatch(rf"{re.escape(tsa.url)} has confirmed a checkpoint at 20\S+Z\n", done.stderr)
    assert trail.run("verify", *offline(trail), *proof).returncode == 0
    assert json.loads(trail.run("verify", *proof, "--json").stdout)["confirmed_checkpoints"] == 1
    stream = trail.stored.audit_logs.find_one({"seq": 39})["stream"]  # type: ignore[index]
    trail.stored.audit_logs.delete_many({"stream": stream, "seq": {"$gte": 20}})
    for arguments in ([], offline(trail)):
        done = trail.run("verify", *arguments, *proof)
        assert done.returncode == 1
        assert f"stream {stream} seq " in done.stdout
        assert "is missing at the end: the checkpoint lists it" in done.stdout


@pytest.mark.promise(3)
def test_another_installation_refuses_a_trail_that_was_cut(trail: Trail, tmp_path: Path) -> None:
    """It counter-signs a checkpoint; it refuses the next one when entries are missing, which verify finds."""
    other = re.sub("/([^/?]+)\\?", r"/\1_other?", trail.uri)
    environment = settings(other, new_key())
    with Service(environment | {"AUTH_ENABLED": "true"}, patient=True, folder=tmp_path) as service:
        service.wait_until("/health/ready")
        created = invoke(
            *("tokens", "create", "--name", "site-a", "--scope", "audit:witness", "--quiet"),
            environment=environment,
            folder=tmp_path,
        )
        own = {"AUDIT_WITNESSES": f"witness+{service.url}", "AUDIT_WITNESS_TOKEN": created.stdout.strip()}
        proof = ["--witnesses", witnessed(trail, **own)]
        key = invoke("audit", "public-key", environment=environment, folder=tmp_path).stdout
        done = trail.run("verify", *proof)
        assert (done.returncode, done.stderr.count("Nothing proves who counter-signed")) == (0, 1)
        proof += ["--witness-key", trail.file("other.pem", key)]
        done = trail.run("verify", *proof)
        assert (done.returncode, done.stderr.count("Nothing proves")) == (0, 0)
        stream = trail.stored.audit_logs.find_one({"seq": 39})["stream"]  # type: ignore[index]
        trail.stored.audit_logs.delete_many({"stream": stream})
        refused = trail.run("witness", **own)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f'Of stream "{stream}", entry ' in refused.stderr
        wrong = trail.run("witness", **own | {"AUDIT_WITNESS_TOKEN": "smt_wrong"})
        assert wrong.returncode == 1
        assert "smt_wrong" not in wrong.stderr
    found = trail.run("verify", *proof)
    assert found.returncode == 1
    assert "is missing with its whole stream: the checkpoint lists it" in found.stdout
    trail.stored.client.drop_database(f"{trail.stored.name}_other")


def test_the_output_is_appended_to_a_private_file(trail: Trail, tsa: Authority, tmp_path: Path) -> None:
    """With --output, answers are appended to one file, also those before another witness that fails."""
    arguments = ("witness", "--output", "proof")
    assert trail.run(*arguments, AUDIT_WITNESSES=tsa.url).stdout == ""
    done = trail.run(*arguments, AUDIT_WITNESSES=f"{tsa.url},tsa+http://127.0.0.1:1")
    assert done.returncode == 5
    assert done.stderr.startswith("error: 127.0.0.1:1 cannot be reached")
    proof = tmp_path / "proof"
    assert stat.S_IMODE(proof.stat().st_mode) == 0o600
    assert len(proof.read_text().splitlines()) == 2
    assert trail.run("verify", "--witnesses", str(proof), "--tsa-ca", tsa.ca).returncode == 0
    silent = SimpleNamespace(all=[Witness("tsa+http://127.0.0.1:1", "", None)])
    now = datetime.now(UTC)
    with connected(trail.uri):
        found = report_section(SimpleNamespace(of=lambda _: silent), now - timedelta(hours=1), now)
    assert found.line.startswith("2 confirmed checkpoints, 127.0.0.1:1 last NEVER, 127.0.0.1:")


def test_without_witnesses_the_command_says_so(trail: Trail) -> None:
    """Without AUDIT_WITNESSES there is no one to ask."""
    done = trail.run("witness")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: AUDIT_WITNESSES is unset. Hint: see docs/settings.md\n"


def line(trail: Trail, answer: object, made: dict[str, Any] | None = None) -> str:
    """Return a line of a witness for *made*, by default the trail's checkpoint."""
    shown = {"witness": "w", "checkpoint": made or trail.written.checkpoint, "answer": answer}
    return json.dumps({"message": "audit witnessed", "witnessed": shown}) + "\n"


def signed(trail: Trail, made: dict[str, Any], keyring: Keyring) -> str:
    """Return a line with the counter-signature of *keyring*."""
    return line(trail, counter_signature.make("site-a", checkpoint.digest(made), keyring), made)


@pytest.mark.promise(3)
def test_what_the_holder_of_the_key_changed_is_found(trail: Trail) -> None:
    """A trail that was written again with its own key contradicts an earlier witnessed checkpoint."""
    keyring, witness = trail.written.keyring, Keyring(new_key())
    first = trail.written.checkpoint
    [head, *others] = first["heads"]
    older = {**head, "seq": head["seq"] - 5, "hash": "5e" * 32}
    other = {**head, "hash": "5e" * 32}
    for changed, said in ((older, "is not the entry in the checkpoint"), (other, "differs between two")):
        again = checkpoint.signed({"ts": first["ts"], "heads": [changed, *others], "retired": []}, keyring)
        content = signed(trail, again, witness) + signed(trail, first, witness)
        done = trail.run("verify", "--witnesses", trail.file("witnessed", content))
        assert done.returncode == 1
        assert f"stream {head['stream']} seq {changed['seq']}: {said}" in done.stdout


def test_an_answer_that_confirms_nothing_is_tampering(trail: Trail, tsa: Authority, tmp_path: Path) -> None:
    """A time stamp of another CA, and a counter-signature by another key, are named by their line."""
    made, witness = trail.written.checkpoint, Keyring(new_key())
    with authority(tmp_path / "another") as another:
        foreign = witnessed(trail, AUDIT_WITNESSES=another.url)
    done = trail.run("verify", "--witnesses", foreign, "--tsa-ca", tsa.ca)
    assert done.returncode == 1
    assert done.stdout.startswith("TAMPERING: line 1 of the witnessed checkpoints: tsa+http://")
    file = trail.file("witnessed", signed(trail, made, witness) + line(trail, {"digest": "x"}))
    key = trail.file("key.pem", SigningKey(Keyring(new_key()).primary).public.pem())
    done = trail.run("verify", "--witnesses", file, "--witness-key", key)
    assert done.returncode == 1
    for number in (1, 2):
        assert f"line {number} of the witnessed checkpoints: w does not confirm it: " in done.stdout


def test_another_file_is_refused(trail: Trail) -> None:
    """A file of something else, a checkpoint of another trail, and options without their file are refused."""
    foreign = checkpoint.signed(trail.written.checkpoint, Keyring(new_key()))
    for content, said in (
        ("{\n", "line 1 is not a witnessed checkpoint"),
        ("7\n", "line 1 is not a witnessed checkpoint"),
        (signed(trail, foreign, Keyring(new_key())), "the checkpoint is not signed by a key that is known"),
        (line(trail, {"time_stamp": "AA=="}), "line 1 has a time stamp. Hint: add --tsa-ca"),
    ):
        done = trail.run("verify", "--witnesses", trail.file("witnessed", content))
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {said}\n")
    junk = trail.file("junk", "junk")
    for arguments, said in (
        (("--tsa-ca", junk), "--tsa-ca and --witness-key need --witnesses."),
        (("--witnesses", junk, "--tsa-ca", junk), "--tsa-ca does not hold certificates in PEM."),
        (("--witnesses", junk, "--witness-key", junk), "--witness-key does not hold Ed25519 public keys."),
    ):
        done = trail.run("verify", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_the_service_shows_checkpoints_and_warns(
    environment: dict[str, str], tsa: Authority, tmp_path: Path
) -> None:
    """Its log has what `verify --witnesses` takes; an unavailable witness is a warning, never a 503."""
    witnesses = {"AUDIT_WITNESSES": f"{tsa.url},tsa+http://127.0.0.1:1", "WEB_CONCURRENCY": "1"}
    with Service(environment | witnesses, folder=tmp_path) as service:

        def lines() -> list[str]:
            text = service.log.read_text()
            return [one for one in text.splitlines() if '"audit witnessed"' in one]

        def warnings() -> list[str]:
            found: list[str] = service.get("/health/ready").body["warnings"]
            return [one for one in found if one.startswith("the witness ")]

        wait_until(lambda: lines() and warnings())
        assert warnings() == ["the witness 127.0.0.1:1 has confirmed no checkpoint of the audit trail yet"]
        assert service.get("/health/ready").status == 200
        (tmp_path / "proof").write_text("\n".join(lines()))
        done = invoke(
            *("audit", "verify", "--witnesses", "proof", "--tsa-ca", tsa.ca),
            environment=environment,
            folder=tmp_path,
        )
        assert (done.returncode, done.stdout.endswith(": intact\n")) == (0, True), done.stderr
