"""The times of the certificates in files."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: Certificates that expire within this time cause a warning.
_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The times of the certificates in files, by the name of the file's setting."""

    #: The time at which the first certificate of each file expires, and from which on all are valid.
    expiries: Mapping[str, datetime]
    begins: Mapping[str, datetime]

    @classmethod
    def of(cls, files: Mapping[str, str | None]) -> "Certificates":
        """Read the *files* that are set, in PEM. Files that cannot be read are left out."""
        periods = dict(_periods(files))
        return cls(
            expiries={name: expiry for name, (_, expiry) in periods.items()},
            begins={name: begin for name, (begin, _) in periods.items()},
        )

    @property
    def warnings(self) -> list[str]:
        """A phrase for each file with a certificate that is not valid yet, or not for another 30 days."""
        now = datetime.now(UTC)
        late = [
            f"a certificate in {name} is not valid before {time:%Y-%m-%d %H:%M} UTC"
            for name, time in self.begins.items()
            if time > now
        ]
        return late + [
            f"a certificate in {name} {'expired' if time <= now else 'expires'} on {time:%Y-%m-%d}"
            for name, time in self.expiries.items()
            if time <= now + _SOON
        ]


def _periods(files: Mapping[str, str | None]) -> Iterator[tuple[str, tuple[datetime, datetime]]]:
    for name, file in files.items():
        # The settings were checked already. OpenSSL accepts more forms than this parser does.
        with suppress(OSError, ValueError):
            if file:
                yield name, _period(Path(file))


def _period(path: Path) -> tuple[datetime, datetime]:
    """Return from when on and until when all certificates in the file are valid."""
    # Imported lazily: few services have TLS files.
    from cryptography.x509 import load_pem_x509_certificates

    found = load_pem_x509_certificates(path.read_bytes())
    return max(one.not_valid_before_utc for one in found), min(one.not_valid_after_utc for one in found)
