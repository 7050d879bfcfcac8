"""The broker's certificates."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from vault.clients.broker import authority as module
from vault.clients.broker.authority import CertificateAuthority


def test_a_certificate_is_for_one_host_and_a_day() -> None:
    """A leaf is valid for its host, under an authority that can sign no further authorities."""
    authority = CertificateAuthority()
    root = x509.load_pem_x509_certificate(authority.pem)
    leaf = x509.load_pem_x509_certificate(authority._leaf("a.example"))
    builder = PolicyBuilder().store(Store([root]))
    builder.build_server_verifier(x509.DNSName("a.example")).verify(leaf, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("b.example")).verify(leaf, [])
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=1)


def test_every_process_has_its_own_authority() -> None:
    """Two brokers share neither key nor name."""
    one, two = (x509.load_pem_x509_certificate(CertificateAuthority().pem) for _ in range(2))
    assert one.subject != two.subject
    assert one.public_key() != two.public_key()


def test_certificates_are_kept_and_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's certificate is used again for half a day; few hosts are kept."""
    authority = CertificateAuthority()
    first = authority.context("a.example")
    assert authority.context("a.example") is first
    monkeypatch.setattr(module, "_RENEWED_AFTER", timedelta(0))
    second = authority.context("a.example")
    assert second is not first
    monkeypatch.setattr(module, "_MAX_LEAVES", 1)
    authority.context("b.example")
    assert [*authority._leaves] == ["b.example"]
