"""The services of one application, and its health: startup writes to MongoDB, checks only read.

Probes used to do both: they claimed and endorsed keys, and wrote entries of the audit trail.
"""

from contextlib import suppress
from dataclasses import dataclass

from vault.audit.writer import AuditTrail, NoAuditTrail
from vault.auth.authenticator import Authenticator
from vault.auth.tokens import Tokens
from vault.core.errors import (
    AuditStateError,
    AuditUnavailableError,
    KeyMissingError,
    RestoreUnfinishedError,
    StorageUnavailableError,
    VaultError,
)
from vault.core.periodic import Periodic
from vault.documents import Database
from vault.keys.guard import INTERVAL_SECONDS, KeyringGuard
from vault.secrets.changes import SecretWriter
from vault.secrets.queries import SecretQueries
from vault.secrets.service import SecretService

#: The checks by name, in their order; those after one that fails are not made.
CHECKS = ("mongodb", "restore", "keys", "audit")


class Startup:
    """Claims the primary key, endorses it, and begins the audit trail, before any request needs that.

    A worker begins at once, and retries every few seconds: until it succeeds, and after what it had begun
    was lost, as by a failed commit of the trail. A request does for itself what it needs and is still
    missing. Probes do none of it.
    """

    def __init__(self, key_watch: KeyringGuard, trail: AuditTrail | NoAuditTrail) -> None:
        self._key_watch = key_watch
        self._trail = trail
        self._retries = Periodic("startup", INTERVAL_SECONDS, self.attempt, at_once=True)

    def begin(self) -> None:
        """Start now, and retry, in a thread. Later calls do nothing.

        `vault.server` calls this when a worker starts. Under other servers, the first request of any kind
        does: until the process is ready, a load balancer sends only probes.
        """
        if not self._retries.started:
            self._retries.start()

    def attempt(self) -> None:
        """Do what is missing. A failure is in the log already, where it happened."""
        if self._key_watch.started and not self._trail.needs_start:
            return
        with suppress(VaultError):
            self._key_watch.require()
            self._trail.start()

    def close(self) -> None:
        """Stop retrying, once an attempt in progress has ended."""
        self._retries.close()


class Health:
    """The checks behind readiness. They write nothing to MongoDB."""

    def __init__(self, database: Database, key_watch: KeyringGuard, trail: AuditTrail | NoAuditTrail) -> None:
        self._database = database
        self._key_watch = key_watch
        self._trail = trail

    def failures(self) -> dict[str, list[str]]:
        """Return what keeps this process from serving, by the check's name; empty when it is ready."""
        try:
            self._database.ping()
            self._key_watch.check()
            self._trail.check()
        except StorageUnavailableError as error:
            return {"mongodb": [str(error)]}
        except RestoreUnfinishedError as error:
            return {"restore": [str(error)]}
        except KeyMissingError as error:
            return {"keys": [str(error)]}
        except (AuditStateError, AuditUnavailableError) as error:
            return {"audit": [str(error)]}
        return {}

    def reaches_mongodb(self) -> bool:
        """Return whether MongoDB's primary is known at this moment, without waiting for it."""
        return self._database.is_reachable()


@dataclass(frozen=True, slots=True)
class Services:
    """The operations that the floors above call."""

    secrets: SecretService
    changes: SecretWriter
    catalog: SecretQueries
    key_watch: KeyringGuard
    startup: Startup
    health: Health
    tokens: Tokens
    authenticator: Authenticator
