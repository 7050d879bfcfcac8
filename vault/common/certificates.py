"""Expiry of the certificates in files."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: Certificates that expire within this time cause a warning.
_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The time at which the first certificate of each file expires, by the name of the file's setting."""

    expiries: Mapping[str, datetime]

    @classmethod
    def of(cls, files: Mapping[str, str | None]) -> "Certificates":
        """Read the *files* that are set, in PEM. Files that cannot be read are left out."""
        return cls(dict(_expiries(files)))

    @property
    def warnings(self) -> list[str]:
        """A phrase for each file with a certificate that has expired or expires within 30 days."""
        now = datetime.now(UTC)
        return [
            f"a certificate in {name} {'expired' if time <= now else 'expires'} on {time:%Y-%m-%d}"
            for name, time in self.expiries.items()
            if time <= now + _SOON
        ]


def _expiries(files: Mapping[str, str | None]) -> Iterator[tuple[str, datetime]]:
    for name, file in files.items():
        # The settings were checked already. OpenSSL accepts more forms than this parser does.
        with suppress(OSError, ValueError):
            if file:
                yield name, _first_expiry(Path(file))


def _first_expiry(path: Path) -> datetime:
    # Imported lazily: few services have TLS files.
    from cryptography.x509 import load_pem_x509_certificates

    return min(one.not_valid_after_utc for one in load_pem_x509_certificates(path.read_bytes()))
