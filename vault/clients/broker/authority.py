"""The broker's certificate authority: it lives as long as the process, and its key is in memory only."""

import ssl
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from secrets import token_hex
from tempfile import NamedTemporaryFile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: A broker can run for years.
_LIFETIME = timedelta(days=3_650)
_LEAF_LIFETIME = timedelta(days=1)
#: Clocks of clients can be behind.
_BEFORE = timedelta(hours=1)

#: Hosts whose certificates are kept.
_MAX_LEAVES = 256

_ALPN = ["http/1.1"]

_IS_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)

#: No request is longer than what the clients of a leaf may still trust.
_RENEWED_AFTER = _LEAF_LIFETIME / 2


class CertificateAuthority:
    """An authority with a new key, and the certificates of hosts that it signs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        common_name = f"Secret Manager broker {token_hex(4)}"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        self._leaves: OrderedDict[str, tuple[datetime, ssl.SSLContext]] = OrderedDict()
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key(), _LIFETIME, constraints)
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        #: The certificate of the authority, in PEM.
        self.pem = self._signed(builder)

    def context(self, host: str) -> ssl.SSLContext:
        """Return the server's side of TLS for *host*, a name or an address, with a certificate for a day."""
        now = datetime.now(UTC)
        made, context = self._leaves.pop(host, (None, None))
        if made is None or context is None or now - made > _RENEWED_AFTER:
            made, context = now, self._new_context(host)
        self._leaves[host] = made, context
        if len(self._leaves) > _MAX_LEAVES:
            self._leaves.popitem(last=False)
        return context

    def _new_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(_ALPN)
        # Python takes the key from a file only. This one is useless without the password.
        password = token_hex()
        encrypted = self._leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode()),
        )
        with NamedTemporaryFile() as file:
            file.write(self._leaf(host) + encrypted)
            file.flush()
            context.load_cert_chain(file.name, password=password)
        return context

    def _leaf(self, host: str) -> bytes:
        # The name may be longer than a common name can be: clients read the alternative one.
        names = x509.SubjectAlternativeName([_general_name(host)])
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        builder = self._builder(x509.Name([]), self._leaf_key.public_key(), _LEAF_LIFETIME, constraints)
        builder = builder.add_extension(names, critical=True)
        return self._signed(builder.add_extension(_IS_SERVER, critical=False))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        lifetime: timedelta,
        constraints: x509.BasicConstraints,
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - _BEFORE)
            .not_valid_after(now + lifetime)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer_key, critical=False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
