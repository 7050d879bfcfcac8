"""The TLS files: certificate, key and clients' authority, each with the reason if it cannot be used."""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from marshmallow import ValidationError

from vault.common.config.validators import MISSING

_NAMES = ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")
_NO_PAIR = "TLS_CERT and TLS_KEY must name a matching certificate and key, in PEM, without a password."
#: OpenSSL's reasons for a key that is not the certificate's.
_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


def check(values: Mapping[str, str]) -> None:
    """Refuse TLS settings that contradict each other, and unusable files. Errors as a validator's."""
    if missing := [name for name in ("TLS_CERT", "TLS_KEY") if not values.get(name)]:
        if given := [name for name in _NAMES if name in values]:
            reason = f"is required, because {' and '.join(given)} {'is' if len(given) == 1 else 'are'} set."
            raise ValidationError({name: [reason] for name in missing})
        return
    files = {name: Path(values[name]) for name in _NAMES if name in values}
    errors = {name: [reason] for name, path in files.items() if (reason := unreadable(path))}
    if errors:
        raise ValidationError(errors)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a password, OpenSSL does not prompt for one.
        context.load_cert_chain(values["TLS_CERT"], values["TLS_KEY"], password="")
    except (OSError, ValueError) as error:
        raise ValidationError(_unusable(files, error)) from None
    try:
        if authority := values.get("TLS_CLIENT_CA"):
            context.load_verify_locations(authority)
    except (OSError, ValueError):
        raise ValidationError({"TLS_CLIENT_CA": ["must name a file with certificates in PEM."]}) from None


def authorities(path: str) -> None:
    """Refuse a file that has no certificates. Errors as a validator's."""
    if reason := unreadable(Path(path)):
        raise ValidationError(reason)
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        raise ValidationError("must name a file with certificates in PEM.") from None


def refusal(certificate: str, key: str, authority: str) -> str:
    """Return why a service that trusts *authority* refuses a client with this *certificate*; empty if not.

    By a handshake in memory, as a health check has one.
    """
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority)
    for context in (client, server):
        context.load_cert_chain(certificate, key)
    sent, replied = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(replied, sent), server.wrap_bio(sent, replied, server_side=True))
    try:
        # The client's certificate is in its second message.
        for end in (*ends, *ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLError as error:
        return str(getattr(error, "verify_message", error.reason))
    return ""


def unreadable(path: Path) -> str:
    """Return the reason why the file at *path* cannot be read; empty if it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return f"names a file {MISSING}"
    except PermissionError:
        return "names a file that the service's user cannot read."
    except (OSError, ValueError):
        return "does not name a readable file."
    return ""


def _unusable(files: Mapping[str, Path], error: Exception) -> dict[str, list[str]]:
    """Return the reasons why OpenSSL refused the certificate and the key with *error*."""
    if getattr(error, "reason", None) in _MISMATCHES:
        return {"TLS_KEY": ["is not the key of the certificate in TLS_CERT."]}
    certificate, key = (files[name].read_bytes() for name in ("TLS_CERT", "TLS_KEY"))
    reasons = {}
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        reasons["TLS_CERT"] = ["names a file without a certificate in PEM."]
    if b"PRIVATE KEY-----" not in key:
        reasons["TLS_KEY"] = ["names a file without a private key in PEM."]
    elif b"ENCRYPTED" in key:
        reasons["TLS_KEY"] = ["has a password. Store the key without one."]
    return reasons or {"TLS_CERT": [_NO_PAIR], "TLS_KEY": [_NO_PAIR]}
