"""The services of one application, its startup and its health checks.

Startup writes to MongoDB; health checks only read.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vault.common.certificates import Certificates
from vault.common.errors import (
    AuditStateError,
    AuditUnavailableError,
    AuthStateError,
    KeyMissingError,
    RestoreUnfinishedError,
    StorageUnavailableError,
    VaultError,
)
from vault.common.feature import Task
from vault.common.periodic import Periodic
from vault.common.text import shorten
from vault.core.access.authenticator import Authenticator
from vault.core.access.tokens.ended import EndedTokens
from vault.core.access.tokens.own_credential import OwnCredential
from vault.core.access.tokens.tokens import Tokens
from vault.core.documents import Database
from vault.core.documents.primary import Primary
from vault.core.keys.guard import INTERVAL_SECONDS, KeyringGuard
from vault.core.keys.status import KeyStatuses
from vault.core.secrets.changes import SecretWriter
from vault.core.secrets.metadata import MetadataWriter
from vault.core.secrets.queries import SecretQueries
from vault.core.secrets.service import SecretService
from vault.core.secrets.versions import VersionWriter
from vault.core.secrets.wrapping import Wrapping
from vault.core.status import Overview, check_of
from vault.core.trail.writer import AuditTrail, NoAuditTrail

logger = logging.getLogger(__name__)

Kind = TypeVar("Kind")

#: Characters of the reason why MongoDB is not available: it names each server of `MONGO_URI`.
_MAX_REASON = 250
_DIGITS = re.compile(r"\d+")

#: Names of the health checks, in order; a failed check skips the later ones.
CHECKS = ("mongodb", "restore", "keys", "auth", "audit", "clock")


class Startup:
    """Claim the primary key, endorse it and begin the audit trail, before any request needs them.

    A worker attempts this immediately, and then every few seconds until it succeeds. It starts again if the
    result is lost, for example after a failed commit of the trail. A request itself completes the steps that
    it needs. Health checks do not.
    """

    def __init__(
        self,
        database: Database,
        guard: KeyringGuard,
        trail: AuditTrail | NoAuditTrail,
        ended_tokens: EndedTokens,
        tasks: Sequence[Task] = (),
    ) -> None:
        self._database = database
        self._guard = guard
        self._trail = trail
        self._ended_tokens = ended_tokens
        self._tasks = tasks
        self._has_warned = False
        self._reported = ""
        self._is_first = True
        self._retries = Periodic("startup", INTERVAL_SECONDS, self.attempt, at_once=True)
        #: The failure of the last attempt; None after a success.
        self.failure: VaultError | None = None

    def begin(self, *, is_first: bool = True) -> None:
        """Start now, and retry, in a thread; remove ended tokens in another. Later calls do nothing.

        Of the workers of a replica, the first one reports an unavailable MongoDB as an error. `vault.server`
        calls this when a worker starts. Under other servers, the first request of any kind does: until the
        process is ready, a load balancer sends only probes.
        """
        if not self._retries.started:
            self._is_first = is_first
            self._retries.start()
            self._ended_tokens.start()

    def attempt(self) -> None:
        """Complete the missing steps, and keep the failure if there is one."""
        try:
            if not self._guard.started or self._trail.needs_start:
                self._guard.require()
                self._trail.start()
            for task in self._tasks:
                task.start()
            if not self._has_warned:
                self._warn(self._database.ping())
            self.failure = None
        except StorageUnavailableError as error:
            self.failure = error
            self._report(error)
        except VaultError as error:
            self.failure = error
        self._guard.show(check_of(self.failure) if self.failure else "")

    def _warn(self, primary: Primary) -> None:
        self._has_warned = True
        if primary.redundancy_warning:
            logger.warning("no redundancy: %s", primary.redundancy_warning)
        if primary.clock_failure:
            logger.error("not serving: %s", primary.clock_failure)
        elif primary.clock_warning:
            logger.warning("clocks differ: %s", primary.clock_warning)

    def _report(self, error: StorageUnavailableError) -> None:
        """Log why MongoDB is not available, and again only if that changes."""
        if self._retries.closed:
            # A process that ends cannot start the threads of a client.
            return
        if error.is_denied:
            reason = error.problem
        else:
            reason = error.reason and (self._database.explanation() or error.reason)
        # Some reasons have a number that differs each time.
        known = _DIGITS.sub("", reason)
        if reason and known != self._reported:
            self._reported = known
            text = shorten(reason, _MAX_REASON)
            if self._is_first:
                logger.error("not serving: MongoDB is not available: %s", text)
            else:
                logger.info("not serving: MongoDB is not available: %s", text)

    def close(self) -> None:
        """Stop retrying, after the current attempt if there is one, and stop removing tokens."""
        self._retries.close()
        self._ended_tokens.close()
        for task in self._tasks:
            task.close()

    @property
    def warnings(self) -> list[str]:
        """The warnings of the features' tasks."""
        return [warning for task in self._tasks for warning in task.warnings]


@dataclass(frozen=True, slots=True)
class Readiness:
    """The result of the readiness checks."""

    #: The reasons why this process does not serve, by check; empty if it is ready.
    failures: dict[str, list[str]]
    #: None if MongoDB is not available.
    primary: Primary | None = None
    #: The warnings of the features' tasks.
    task_warnings: Sequence[str] = ()
    certificate_warnings: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """The facts about MongoDB, features and certificates that operators should know."""
        if self.primary is None:
            return []
        texts = (self.primary.redundancy_warning, self.primary.clock_warning)
        return [
            *filter(None, texts),
            *self.task_warnings,
            *self.certificate_warnings,
        ]


class Health:
    """The readiness checks. They write nothing to MongoDB."""

    def __init__(
        self,
        database: Database,
        guard: KeyringGuard,
        trail: AuditTrail | NoAuditTrail,
        startup: Startup,
        certificates: Certificates,
    ) -> None:
        self._database = database
        self._guard = guard
        self._trail = trail
        self._startup = startup
        self.certificates = certificates

    def readiness(self) -> Readiness:
        """Check whether this process serves."""
        try:
            primary = self._database.ping()
        except StorageUnavailableError as error:
            return Readiness({"mongodb": [str(error)]})
        failures = self._disagreement()
        if not failures and primary.clock_failure:
            failures = {"clock": [primary.clock_failure]}
        return Readiness(
            failures,
            primary,
            self._startup.warnings,
            self.certificates.warnings,
        )

    def _disagreement(self) -> dict[str, list[str]]:
        try:
            self._guard.check()
            self._trail.check()
        except (StorageUnavailableError, AuditUnavailableError) as error:
            # Only startup knows why a process has not started, because only startup tries.
            return _by_check(self._startup.failure or error)
        except (RestoreUnfinishedError, KeyMissingError, AuthStateError, AuditStateError) as error:
            return _by_check(error)
        return {}

    def reaches_mongodb(self) -> bool:
        """Return whether MongoDB's primary is known now, without waiting for it."""
        return self._database.is_reachable()


def _by_check(error: VaultError) -> dict[str, list[str]]:
    return {check_of(error): [str(error)]}


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the API calls."""

    secrets: SecretService
    changes: SecretWriter
    versions: VersionWriter
    metadata: MetadataWriter
    queries: SecretQueries
    guard: KeyringGuard
    startup: Startup
    health: Health
    tokens: Tokens
    own_credential: OwnCredential
    authenticator: Authenticator
    wrapping: Wrapping
    keys: KeyStatuses
    overview: Overview
    #: Those of features, by their type.
    features: Mapping[type, Any]

    def of(self, kind: type[Kind]) -> Kind:
        """Return the service of this *kind*, which a feature brings."""
        found: Kind = self.features[kind]
        return found
