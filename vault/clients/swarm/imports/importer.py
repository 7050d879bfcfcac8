"""Imports of a swarm's own secrets, by a task in the swarm that mounts them and stores them here."""

import json
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vault.clients.swarm.engine import EngineUnavailableError
from vault.clients.swarm.imports.one_shot import ImportEngine, TaskSpec, TaskState
from vault.clients.swarm.imports.plan import IMPORT_LABEL, Item
from vault.clients.swarm.imports.task import ORDER, Order, Report
from vault.common.errors import VaultError
from vault.common.outcomes import ImportOutcome

#: A task gets its secrets in one message, of at most 128 MB.
_MAX_SECRETS = 100

#: A task that has not started by then, with the pull of its image, will not start.
_START_SECONDS = 120
#: A secret takes three calls of the service, each of at most 40 s.
_REPORT_SECONDS = 300
#: The time to wait while Docker is unavailable.
_AWAY_SECONDS = 60
_POLL_SECONDS = 0.25
#: The time for the end of an ended task's log to arrive.
_LOG_SECONDS = 10

_NAME = "secret-manager-import"
_COMMAND = ("swarm", "import-task")

Result = TypeVar("Result")


class ImportTaskError(VaultError):
    """The task of an import failed; the message says why."""

    kind = "import_task"


class ImportRunsError(VaultError):
    """Another import is running in this swarm."""

    kind = "import_runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The place of the task, and the service as it reaches it."""

    image: str
    network: str
    node: str
    url: str
    token: str = field(repr=False)
    #: The role of a JWT; empty for none.
    role: str
    #: Certificates in PEM; empty for the system's.
    ca: str


class Importer:
    """Imports of secrets of *swarm* by tasks at *target*.

    With *update*, differing values become new versions.
    """

    def __init__(self, swarm: ImportEngine, target: Target, *, update: bool) -> None:
        self._swarm = swarm
        self._target = target
        self._update = update
        self._hash_key = secrets.token_hex(32)

    def run(self, items: Sequence[Item]) -> Generator[tuple[Item, Report], None, None]:
        """Yield each of *items* with its report, as they are stored.

        What an earlier run left in the swarm is removed first, and what this run makes at the end.

        Raises:
            ImportRunsError: Another import is running.
            ImportTaskError: A task failed, or its order stays in the swarm. Secrets that were reported before
                are stored.
            EngineUnavailableError: Docker is unavailable for longer than a minute.
        """
        self._remove_leftovers()
        for start in range(0, len(items), _MAX_SECRETS):
            batch = items[start : start + _MAX_SECRETS]
            yield from self._run_batch({str(number): item for number, item in enumerate(batch)})

    def _remove_leftovers(self) -> None:
        if any(not self._swarm.task_state(service).is_over for service in self._swarm.services(IMPORT_LABEL)):
            raise ImportRunsError(
                "another import is running in this swarm",
                hint=f"wait until it ends, or remove its service {_NAME}-…",
            )
        self._swarm.remove(IMPORT_LABEL)

    def _run_batch(self, files: Mapping[str, Item]) -> Iterator[tuple[Item, Report]]:
        run = secrets.token_hex(4)
        labels = {IMPORT_LABEL: run}
        order = Order(
            url=self._target.url,
            token=self._target.token,
            role=self._target.role,
            ca=self._target.ca,
            names={file: item.name for file, item in files.items()},
            update=self._update,
            hash_key=self._hash_key,
        )
        failure = ""
        try:
            order_secret = self._swarm.create_secret(f"{_NAME}-{run}", order.packed(), labels)
            service = self._swarm.run_once(
                TaskSpec(
                    name=f"{_NAME}-{run}",
                    image=self._target.image,
                    command=_COMMAND,
                    secrets={ORDER: order_secret} | {file: item.secret for file, item in files.items()},
                    network=self._target.network,
                    node=self._target.node,
                    labels=labels,
                )
            )
            for line in self._lines(service):
                report = _report(line)
                yield files[report.file], report
        except VaultError as error:
            failure = f"{error}; then "
            raise
        finally:
            # Also after Ctrl-C, at any point of the above.
            self._remove(run, failure)

    def _remove(self, run: str, failure: str) -> None:
        try:
            _retried(lambda: self._swarm.remove(f"{IMPORT_LABEL}={run}"))
        except (VaultError, KeyboardInterrupt) as error:
            reason = str(error) or "interrupted"
            raise ImportTaskError(
                f"{failure}the removal failed ({reason}): the token can be in Docker's secret {_NAME}-{run}",
                hint="remove the service and the secret of that name, and revoke the token",
            ) from None

    def _lines(self, service: str) -> Iterator[Mapping[str, Any]]:
        watch = _Watch()
        seen = 0
        while True:
            state, texts = _retried(lambda: self._poll(service))
            for text in texts[seen:]:
                seen += 1
                line = _line(text)
                if "done" in line:
                    return
                yield line
            watch.check(state, seen)
            time.sleep(_POLL_SECONDS)

    def _poll(self, service: str) -> tuple[TaskState, Sequence[str]]:
        # Before the log: that of a task that is over is complete.
        state = self._swarm.task_state(service)
        return state, self._swarm.log(service) if state.is_started else ()


class _Watch:
    def __init__(self) -> None:
        self._phase = (False, False, 0)
        self._since = time.monotonic()

    def check(self, state: TaskState, seen: int) -> None:
        """Require that the task, which has printed *seen* lines, makes progress in time.

        Raises:
            ImportTaskError: It does not.
        """
        now = time.monotonic()
        phase = (state.is_started, state.is_over, seen)
        if phase != self._phase:
            self._phase, self._since = phase, now
        seconds, problem, hint = _limit(state)
        if now - self._since >= seconds:
            raise ImportTaskError(f"the task in the swarm {problem}: {state.text}", hint=hint)


def _limit(state: TaskState) -> tuple[float, str, str]:
    """Return the seconds that a task can stay in a *state*, and the problem and the hint then."""
    if state.is_over:
        return _LOG_SECONDS, "ended without a result", ""
    if state.is_started:
        return _REPORT_SECONDS, f"reports nothing for {_REPORT_SECONDS} s", "run the import again"
    return _START_SECONDS, "does not start", "check --image and --network, or choose another node with --node"


def _retried(call: Callable[[], Result]) -> Result:
    """Return the result of *call*, repeated for a while if Docker is unavailable."""
    end = time.monotonic() + _AWAY_SECONDS
    while True:
        try:
            return call()
        except EngineUnavailableError:
            if time.monotonic() >= end:
                raise
        time.sleep(_POLL_SECONDS)


def _line(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        # Its text is unknown, so it is not quoted.
        found = {"error": "its log has a line that is none of an import"}
    if "error" in found:
        raise ImportTaskError(f"the task in the swarm failed: {found['error']}")
    return found


def _report(line: Mapping[str, Any]) -> Report:
    return Report(**{**line, "outcome": ImportOutcome(line["outcome"])})
