"""The scheme `command`: real programs, well-behaved and hostile."""

from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from vault.features.custody import child
from vault.features.custody.child import Command
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import context_of

pytestmark = pytest.mark.process

CONTEXT = context_of("1" * 16)


def program(folder: Path, script: str, mode: int = 0o755) -> str:
    """Return the path of an executable shell script."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return str(path)


def test_a_program_wraps_and_unwraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes go through standard input and output; the context, and no other secret, is in the environment."""
    secrets = (
        *("MASTER_KEY_FILE", "TRANSIT_TOKEN", "PKCS11_PIN", "AWS_SECRET_ACCESS_KEY", "MONGO_URI"),
        *("AUDIT_WITNESS_TOKEN", "OIDC_CLIENT_SECRET_FILE", "OTEL_EXPORTER_OTLP_HEADERS"),
    )
    for name in secrets:
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("KEPT", "kept")
    command = Command(
        program(tmp_path, f'env > "{tmp_path}/$1"; test "$1" = wrap && exec base64; exec base64 -d')
    )
    blob = command.wrap(b"\0key\n", CONTEXT)
    assert command.unwrap(blob, CONTEXT).material == b"\0key\n"
    assert command.describe(blob) == ""
    command.close()
    for operation in ("wrap", "unwrap"):
        environment = (tmp_path / operation).read_text()
        assert (
            '\nCUSTODY_CONTEXT={"key_id":"1111111111111111","purpose":"secret-manager master key"}\n'
            in f"\n{environment}"
        )
        assert "\nKEPT=kept\n" in f"\n{environment}"
        assert "a secret" not in environment


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 75", CustodyUnavailableError),
        ("cat; exit 1", CustodyRefusedError),
        ("kill -9 $$", CustodyRefusedError),
        ("exit 0", CustodyRefusedError),
        ("exec head -c 40000 /dev/zero", CustodyRefusedError),
        ("exec cat /dev/zero", CustodyRefusedError),
        ("exec sleep 60", CustodyUnavailableError),
        ("exec >&-; exec sleep 60", CustodyUnavailableError),
        ("sleep 60 & cat", CustodyUnavailableError),
        ("while :; do printf x; sleep 0.1; done", CustodyUnavailableError),
    ],
)
def test_each_failure_is_one_of_two_errors(
    script: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 75 and silence mean unavailable; other failures, and too much output, are refusals."""
    # A program that answers has time, because its start can take long.
    monkeypatch.setattr(child, "TIMEOUT_SECONDS", 60 if error is CustodyRefusedError else 0.5)
    monkeypatch.setattr(child, "_GRACE_SECONDS", 0.1)
    command = Command(program(tmp_path, script))
    with pytest.raises(error):
        command.unwrap(b"blob", CONTEXT)


def test_a_program_that_cannot_run_is_refused(tmp_path: Path) -> None:
    """A relative, missing or publicly writable path is refused, as is a file that is no program."""
    good = program(tmp_path, "cat")
    for path in ("cat", str(tmp_path / "missing"), str(tmp_path), str(tmp_path / ("a" * 300))):
        with pytest.raises(CustodyRefusedError, match="absolute path"):
            Command(path)
    Path(good).chmod(0o757)
    with pytest.raises(CustodyRefusedError, match="everyone can write"):
        Command(good)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\0")
    binary.chmod(0o755)
    with pytest.raises(CustodyRefusedError, match="cannot be started"):
        Command(str(binary)).wrap(b"key", CONTEXT)


def test_nothing_that_a_program_starts_survives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's own children end with it."""
    monkeypatch.setattr(child, "_GRACE_SECONDS", 0.1)
    pid = tmp_path / "pid"
    command = Command(program(tmp_path, f"sleep 60 >/dev/null 2>&1 & echo $! > {pid}; cat"))
    assert command.wrap(b"key", CONTEXT) == b"key"
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    wait_until(lambda: not stat.exists() or stat.read_text().split()[2] in "ZX")
