"""Certificates that expire soon are named before clients are refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vault.common.certificates import Certificates


def pem(expiry: datetime, begin: datetime | None = None) -> bytes:
    """Return a certificate that expires at this time, and is valid from *begin* on, or else long since."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    begun = builder.not_valid_before(begin or expiry - timedelta(days=900)).not_valid_after(expiry)
    return begun.sign(key, SHA256()).public_bytes(Encoding.PEM)


def in_days(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


@pytest.mark.parametrize(
    ("days", "verb"), [(-400, "expired"), (-0.01, "expired"), (0.01, "expires"), (29, "expires"), (31, "")]
)
def test_a_certificate_is_named_a_month_before_it_expires(tmp_path: Path, days: float, verb: str) -> None:
    """The first expiry of a file counts: of a chain, or of several authorities."""
    expiry = in_days(days)
    (tmp_path / "chain").write_bytes(pem(in_days(800)) + pem(expiry))
    found = Certificates.of({"TLS_CERT": str(tmp_path / "chain"), "TLS_CLIENT_CA": None})
    assert found.expiries == {"TLS_CERT": expiry}
    expected = [f"a certificate in TLS_CERT {verb} on {expiry:%Y-%m-%d}"] if verb else []
    assert found.warnings == expected


def test_a_certificate_that_is_not_valid_yet_is_named(tmp_path: Path) -> None:
    """Clients refuse a service whose certificate begins later."""
    begin = in_days(1)
    (tmp_path / "chain").write_bytes(pem(in_days(800)) + pem(in_days(90), begin))
    found = Certificates.of({"TLS_CERT": str(tmp_path / "chain")})
    assert found.warnings == [f"a certificate in TLS_CERT is not valid before {begin:%Y-%m-%d %H:%M} UTC"]


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
)
def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes | None) -> None:
    """The settings report an unusable file; here it is no second error."""
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert Certificates.of({"TLS_CERT": str(file)}).expiries == {}
