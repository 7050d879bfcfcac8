"""The status of an installation: lines for people who look after it, each about one of its parts.

They are read from MongoDB and this process's settings, name no secret and no principal, and leave no entry.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from vault.common import feature
from vault.common.errors import (
    AuditStateError,
    AuditUnavailableError,
    AuthStateError,
    KeyMissingError,
    RestoreUnfinishedError,
    StorageUnavailableError,
    VaultError,
)
from vault.common.text import printable, quantity, shorten
from vault.core.documents import keys_in_use, registry
from vault.core.documents.database import Privileges
from vault.core.documents.guard import storage_errors
from vault.core.documents.primary import Primary
from vault.core.documents.registry import Program
from vault.core.parts import Parts
from vault.core.trail import assurance

_RUNBOOK = "docs/runbook.md"
_USER = "docs/mongodb.md#the-mongodb-user"

#: The maximum number of names in a line, and of characters of a text that anyone can store.
_MAX_NAMES, _MAX_LENGTH = 5, 60


class State(StrEnum):
    """What a line says, from good to bad."""

    WELL = "well"
    #: Someone should look at it.
    LOOK = "look"
    #: The service does not serve.
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Line:
    """A part of the installation, and its state."""

    subject: str
    state: State
    text: str
    #: The page of the documents that helps.
    page: str

    @classmethod
    def of(cls, subject: str, page: str, text: str, problems: Iterable[str] = ()) -> "Line":
        """Return a line that needs a look if there are *problems*; *text* says how it is otherwise."""
        found = [*problems]
        state = State.LOOK if found else State.WELL
        return cls(subject, state, "; ".join([*found, *filter(None, [text])]), page)


def moment_text(time: datetime | None) -> str:
    """Return *time* as lines show it; None stands for never."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time else "never"


def gravest(lines: Iterable[Line]) -> State:
    """Return the worst state of *lines*."""
    states = {line.state for line in lines}
    return next((state for state in (State.DOWN, State.LOOK) if state in states), State.WELL)


def check_of(error: VaultError) -> str:
    """Return the name of the check of readiness that fails by *error*."""
    checks = {
        RestoreUnfinishedError: "restore",
        KeyMissingError: "keys",
        AuthStateError: "auth",
        AuditStateError: "audit",
        AuditUnavailableError: "audit",
    }
    return next((check for kind, check in checks.items() if isinstance(error, kind)), "mongodb")


class Overview:
    """The status of one installation, as a process with these *parts* sees it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def lines(self) -> list[Line]:
        """Return the lines: those of the core, then those of the features that are on.

        Without MongoDB, a line says so.
        """
        try:
            primary = self._parts.database.ping()
        except StorageUnavailableError as error:
            reason = error.problem if error.is_denied else self._parts.database.explanation() or error.reason
            page = _USER if error.is_denied else f"{_RUNBOOK}#symptoms"
            return [Line("mongodb", State.DOWN, reason or error.problem, page), *self._files()]
        active = feature.active(self._parts.settings.features_off)
        return [
            *_read("replicas", self._replicas),
            *_read("mongodb", partial(self._mongodb, primary)),
            # What it reads decides whether the service serves.
            *_read("keys", self._agreement, refused=State.DOWN),
            *_read("trail", self._trail),
            *self._files(),
            *self._settings(),
            *(
                line
                for one in active
                if one.status
                for status in feature.resolved([one.status])
                for line in _read(one.name, partial(status, self._parts))
            ),
        ]

    def _replicas(self) -> Iterator[Line]:
        before = registry.running_workers().total()
        programs = registry.running_programs()
        # Meanwhile, a worker can have started or ended.
        workers = min(before, registry.running_workers().total())
        serving = {one: count for one, count in programs.items() if one.serves}
        # Workers of earlier versions name no program.
        silent = max(workers - programs.total(), 0)
        count = sum(serving.values()) + silent
        if not count:
            yield Line("replicas", State.DOWN, "no replica runs", f"{_RUNBOOK}#symptoms")
            return
        failing = Counter[str]()
        for one, workers in serving.items():
            failing[one.failing] += workers
        checks = {check: workers for check, workers in failing.items() if check}
        problems = [
            f"{quantity(workers, 'worker')} not ready: {_shown(check)}" for check, workers in checks.items()
        ]
        texts = [*_versions(serving), *([f"1.1 or earlier ({quantity(silent, 'worker')})"] if silent else [])]
        if len(texts) > 1:
            problems.append("several versions: finish the upgrade")
        line = Line.of("replicas", "docs/upgrade.md", "; ".join(texts), problems)
        if sum(checks.values()) == count:
            line = Line(line.subject, State.DOWN, line.text, f"{_RUNBOOK}#symptoms")
        yield line

    def _mongodb(self, primary: Primary) -> Iterator[Line]:
        if primary.is_single_shard:
            text = "MONGO_URI leads to a single shard of a cluster, which has only a part of the data"
            yield Line("mongodb", State.DOWN, text, "docs/sharding.md")
            return
        flaws = [*_flaws(self._parts.database.privileges())]
        page = _USER if flaws else "docs/nodes.md"
        problems = [*filter(None, [primary.redundancy_warning]), *flaws]
        yield Line.of("mongodb", page, "" if problems else "it has a primary", problems)
        clock = f"{_RUNBOOK}#clocks-differ"
        if primary.clock_failure:
            yield Line("clock", State.DOWN, primary.clock_failure, clock)
        else:
            agrees = "" if primary.clock_warning else "this machine's and MongoDB's agree"
            yield Line.of("clock", clock, agrees, filter(None, [primary.clock_warning]))

    def _agreement(self) -> Iterator[Line]:
        """Yield what decides whether a process with these settings may serve: all of it at once."""
        failures = defaultdict[str, list[str]](list)
        for error in self._parts.guard.refusals():
            failures[check_of(error)].append(str(error))
        pages = {
            "restore": f"{_RUNBOOK}#a-restore-is-needed",
            "keys": f"{_RUNBOOK}#a-replica-does-not-serve-unknown-key",
            "auth": f"{_RUNBOOK}#auth_enabled-is-off-for-a-secured-database",
            "audit": f"{_RUNBOOK}#audit_enabled-disagrees-with-the-database",
        }
        for check, texts in failures.items():
            yield Line(check, State.DOWN, "; ".join(texts), pages[check])
        if "keys" not in failures:
            page = "docs/master-key.md#rotate-the-master-key"
            yield Line.of("keys", page, self._keys_text(), self._key_problems())
        if "auth" not in failures:
            text = "credentials are required" if self._parts.settings.auth_enabled else "off"
            yield Line.of("auth", "docs/access.md", text)

    def _keys_text(self) -> str:
        count = len(list(self._parts.keyring))
        workers = quantity(registry.running_workers().total(), "worker")
        return f"{quantity(count, 'master key')} here, claims of {workers}"

    def _key_problems(self) -> Iterator[str]:
        own, *fallbacks = [key.id for key in self._parts.keyring]
        if keys_in_use.needs_any(fallbacks):
            yield "values are under a fallback key: run `secret-manager keys rewrap`"
        elif fallbacks:
            yield f"nothing stored needs {quantity(len(fallbacks), 'fallback key')}: finish the rotation"
        if registry.writing_key_ids() - {own}:
            yield "workers encrypt under another primary key: finish the rotation"
        for weakness in self._parts.settings.weak_keys:
            yield f"{weakness}: rotate it"

    def _trail(self) -> Iterator[Line]:
        found = assurance.condition(self._parts.settings.audit_ttl_days)
        page = f"{_RUNBOOK}#audit-verify-reports-a-finding" if found.problems else "docs/audit.md"
        problems = [*found.problems]
        if found.is_enabled is False:
            problems.append("off: requests leave no entries")
        newest, verified = moment_text(found.newest_at), moment_text(found.verified_at)
        text = f"newest entry {newest}, verified by a report {verified}"
        yield Line.of("trail", page, text, problems)

    def _files(self) -> Iterator[Line]:
        page = f"{_RUNBOOK}#a-certificate-has-expired"
        found = self._parts.settings.certificates
        ends = ", ".join(f"{name} until {time:%Y-%m-%d}" for name, time in found.expiries.items())
        yield Line.of("certificates", page, ends or "none here", found.warnings)

    def _settings(self) -> Iterator[Line]:
        settings = self._parts.settings
        problems = [*settings.exposures, *settings.mistakes]
        if problems:
            yield Line.of("settings", "docs/settings.md", "", problems)


def _read(subject: str, lines: Callable[[], Iterable[Line]], refused: State = State.LOOK) -> list[Line]:
    """Return the *lines*, or one that says why there are none: it is *refused* if the user may not read."""
    try:
        with storage_errors(is_logged=False):
            return [*lines()]
    except VaultError as error:
        is_denied = isinstance(error, StorageUnavailableError) and error.is_denied
        state, page = (refused, _USER) if is_denied else (State.LOOK, _RUNBOOK)
        return [Line(subject, state, f"not known: {error.problem}", page)]


def _flaws(privileges: Privileges) -> Iterator[str]:
    lacking = [
        f"{', '.join(actions)} on {collection or 'the database'}"
        for collection, actions in privileges.missing.items()
    ]
    if lacking:
        yield f"MongoDB's user may not {_some(lacking)}: run `secret-manager replicaset grant`"
    if privileges.rewriting:
        yield f"MongoDB's user may rewrite the audit trail ({', '.join(privileges.rewriting)})"


def _versions(serving: dict[Program, int]) -> list[str]:
    """Return a text for each version, the latest first: its hosts, and the number of workers."""
    workers, hosts = Counter[str](), defaultdict[str, set[str]](set)
    for one, count in serving.items():
        workers[one.version] += count
        hosts[one.version].add(one.host)
    return [
        f"{_shown(version)} on {_some(sorted(hosts[version]))} ({quantity(workers[version], 'worker')})"
        for version in sorted(workers, reverse=True)
    ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    shown = ", ".join(map(_shown, names[:_MAX_NAMES]))
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(text: str) -> str:
    """Return a *text* of the database, in which anyone who can write to it can store any."""
    return printable(shorten(text, _MAX_LENGTH))
