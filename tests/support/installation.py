"""An installation in which all is well, until a test breaks a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.docs.documents import ROOT, anchors
from tests.support.rotation import Stored, age_claims, connected
from vault.common.config.settings import Settings
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import Database
from vault.core.documents.registry import Worker
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.status import Line, Overview, State
from vault.core.trail.writer import AuditTrail

_HOUR = 3_600_000


@dataclass
class Installation:
    """A database with a running worker and a trail, and the settings of the worker."""

    environment: dict[str, str]
    stored: Stored
    key: MasterKey
    #: Further names of settings, as in `environment`.
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The connection string."""
        return self.environment["MONGO_URI"]

    def build(self) -> None:
        """Start a worker, begin the trail, and put a report and a backup on record."""
        with connected(self.uri):
            self.claim(self.key)
            trail = AuditTrail(Keyring(self.key))
            trail.connect()
            trail.start()
            report = Attempt(action=Action.AUDIT_REPORT, principal=OPERATOR, details={"verify": True})
            report.finish(Status.SUCCESS)
            Attempt(action=Action.BACKUP, principal=OPERATOR).finish(Status.SUCCESS)
            trail.disconnect()

    def claim(self, primary: MasterKey, *fallbacks: MasterKey, serves: bool = True) -> None:
        """Start another worker with these keys, or else a command; it runs for an hour."""
        worker = Worker(Keyring(primary, fallbacks), auth_enabled=serves or None)
        assert worker.claim()
        age_claims(self.stored, -_HOUR)

    @contextmanager
    def parts(self) -> Iterator[Parts]:
        """Yield the parts of a process with the settings, which has not started."""
        settings = Settings.from_mapping(self.environment | self.changes)
        database = Database(settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days, timeout_seconds=60)
        parts = Parts(settings, database, auth_enabled=settings.auth_enabled)
        try:
            yield parts
        finally:
            parts.close()

    def lines(self) -> dict[str, Line]:
        """Return the lines of the status by their subjects; each names a page that exists."""
        with self.parts() as parts:
            lines = Overview(parts).lines()
        for line in lines:
            page, _, anchor = line.page.partition("#")
            assert (ROOT / page).is_file(), line.page
            assert not anchor or anchor in anchors(page), line.page
        found = {line.subject: line for line in lines}
        assert len(found) == len(lines)
        return found

    def flaws(self) -> dict[str, Line]:
        """Return the lines that are not well."""
        return {subject: line for subject, line in self.lines().items() if line.state is not State.WELL}
