"""Each unusable TLS file has its own reason."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from marshmallow import ValidationError

from tests.system.test_tls import Pair, make, write_key
from vault.common.config import tls_files


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a certificate with its key."""
    return make(tmp_path_factory.mktemp("pair"), "server")


def written(path: Path, encryption: KeySerializationEncryption) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def reasons(pair: Pair, **changes: str) -> Any:
    good = {"TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    tls_files.check(good)
    with pytest.raises(ValidationError) as refused:
        tls_files.check(good | changes)
    return refused.value.messages


@pytest.mark.parametrize("name", ["TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"])
def test_a_file_that_cannot_be_read_is_named(
    pair: Pair, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file, one without permission and a folder have their own reasons."""
    assert reasons(pair, **{name: str(tmp_path / "no")}) == {name: ["names a file that does not exist."]}
    for wrong in (str(tmp_path), "a\0b"):
        assert reasons(pair, **{name: wrong}) == {name: ["does not name a readable file."]}
    locked = tmp_path / "locked"
    locked.touch()
    path_open = Path.open

    def denied(path: Path, *arguments: Any) -> Any:
        if path == locked:
            raise PermissionError
        return path_open(path, *arguments)

    # Root can read every file.
    monkeypatch.setattr(Path, "open", denied)
    text = "names a file that the service's user cannot read."
    assert reasons(pair, **{name: str(locked)}) == {name: [text]}


def test_both_missing_files_are_named(pair: Pair) -> None:
    """Each file that does not exist is named at once."""
    assert reasons(pair, TLS_CERT="/no/cert", TLS_KEY="/no/key").keys() == {"TLS_CERT", "TLS_KEY"}


def test_a_mismatch_is_named(pair: Pair, tmp_path: Path) -> None:
    """The key of another certificate is distinguished from a file without a key."""
    other = written(tmp_path / "other", NoEncryption())
    assert reasons(pair, TLS_KEY=other) == {"TLS_KEY": ["is not the key of the certificate in TLS_CERT."]}


def test_a_key_of_another_kind_is_a_mismatch(pair: Pair, tmp_path: Path) -> None:
    """For a key that cannot be the certificate's, such as RSA for EC, the reason is the same."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    file = write_key(tmp_path / "rsa", key, NoEncryption())
    reason = "is not the key of the certificate in TLS_CERT."
    assert reasons(pair, TLS_KEY=str(file)) == {"TLS_KEY": [reason]}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (["TLS_CERT"], ["TLS_KEY"]),
        (["TLS_KEY"], ["TLS_CERT"]),
        (["TLS_CLIENT_CA"], ["TLS_CERT", "TLS_KEY"]),
        (["TLS_CERT", "TLS_CLIENT_CA"], ["TLS_KEY"]),
    ],
)
def test_a_missing_setting_is_named(given: list[str], missing: list[str]) -> None:
    """Without its file, the setting that is unset is the reason, not the one that is set."""
    with pytest.raises(ValidationError) as refused:
        tls_files.check(dict.fromkeys(given, "/no/file"))
    reason = f"is required, because {' and '.join(given)} {'is' if len(given) == 1 else 'are'} set."
    assert refused.value.messages == {name: [reason] for name in missing}


def test_contents_are_told_apart(pair: Pair, tmp_path: Path) -> None:
    """Swapped files, an encrypted key and damaged contents have their own reasons."""
    assert reasons(pair, TLS_CERT=str(pair.key), TLS_KEY=str(pair.certificate)) == {
        "TLS_CERT": ["names a file without a certificate in PEM."],
        "TLS_KEY": ["names a file without a private key in PEM."],
    }
    locked = written(tmp_path / "locked", BestAvailableEncryption(b"hunter2"))
    assert reasons(pair, TLS_KEY=locked) == {"TLS_KEY": ["has a password. Store the key without one."]}
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n")
    found = reasons(pair, TLS_CERT=str(damaged))
    assert found.keys() == {"TLS_CERT", "TLS_KEY"}
    assert "hunter2" not in str(found)
    text = "must name a file with certificates in PEM."
    assert reasons(pair, TLS_CLIENT_CA=str(damaged)) == {"TLS_CLIENT_CA": [text]}


def test_authorities_need_certificates(pair: Pair) -> None:
    """A file of trusted certificates is accepted only if it has some."""
    tls_files.authorities(str(pair.certificate))
    with pytest.raises(ValidationError, match="must name a file with certificates in PEM"):
        tls_files.authorities(str(pair.key))
