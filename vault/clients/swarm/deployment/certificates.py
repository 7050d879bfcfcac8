"""The service's certificate and key in Docker secrets, which are immutable: each pair has its own names."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from vault.clients.swarm.deployment.manager import SERVICE, Found, container_of
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.stack import DeployedStack

#: The stack file that gives the service its pair.
FILE = "deploy/stack.tls.yml"

_CERT, _KEY = "tls_cert", "tls_key"
_NAME = re.compile(f"(?:{_CERT}|{_KEY})_([0-9a-f]{{12}})")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, in PEM."""

    certificate: str
    key: str = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Pair:
        """Return the pair in two files.

        Raises:
            DeploymentError: They are no pair, or the certificate has expired.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # With a password, OpenSSL does not prompt for one.
            context.load_cert_chain(certificate, key, password="")
            pair = cls(certificate.read_text(), key.read_text())
            expiry = pair.expiry
        except (OSError, ValueError):
            raise DeploymentError(
                f"{certificate} and {key} are not a certificate and its key",
                hint="give both in PEM, the key without a password",
            ) from None
        if expiry <= datetime.now(UTC):
            raise DeploymentError(f"the certificate in {certificate} expired on {expiry:%Y-%m-%d}")
        return pair

    @property
    def expiry(self) -> datetime:
        """The time at which the first certificate of the chain expires."""
        # Imported lazily: most deployments have no pair.
        from cryptography.x509 import load_pem_x509_certificates

        chain = load_pem_x509_certificates(self.certificate.encode())
        return min(one.not_valid_after_utc for one in chain)

    @property
    def number(self) -> str:
        """What names the pair: another one has another number."""
        return sha256(self.certificate.encode()).hexdigest()[:12]


class Certificates:
    """The Docker secrets with the pairs of the service of *stack*."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack = stack

    @property
    def current(self) -> str:
        """The number of the pair that the service has; empty without one."""
        return next(iter(self._numbers("Spec")), "")

    def variables(self, number: str) -> Mapping[str, str]:
        """Return the variables of the stack file for the pair with this number."""
        return {"TLS_CERT_SECRET": f"{_CERT}_{number}", "TLS_KEY_SECRET": f"{_KEY}_{number}"}

    def create(self, pair: Pair) -> None:
        """Create the Docker secrets with *pair*, unless they exist."""
        for name, text in ((f"{_CERT}_{pair.number}", pair.certificate), (f"{_KEY}_{pair.number}", pair.key)):
            if not self._stack.secret(name):
                self._stack.create_secret(name, text, {})
        name = f"{_CERT}_{pair.number}"
        self._stack.progress.say(f"The Docker secret {name} has a certificate until {pair.expiry:%Y-%m-%d}.")

    def remove_former(self, number: str) -> None:
        """Remove the pairs other than the one with this number, and that of before, for a rollback."""
        kept = {number, *self._numbers("Spec"), *self._numbers("PreviousSpec")}
        for secret in self._stack.secrets("tls_"):
            found = _NAME.fullmatch(secret["Spec"]["Name"])
            if found and found[1] not in kept:
                self._remove(secret)

    def _remove(self, secret: Found) -> None:
        self._stack.ask(lambda client: client.remove_secret(secret["ID"]))

    def _numbers(self, spec: str) -> list[str]:
        service = self._stack.find(SERVICE)
        secrets = container_of(service, spec).get("Secrets") or () if service else ()
        found = [_NAME.fullmatch(one["SecretName"]) for one in secrets]
        return [one[1] for one in found if one]
