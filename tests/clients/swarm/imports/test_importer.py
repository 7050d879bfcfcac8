"""Imports, with a swarm that is made of memory."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from vault.clients.swarm.engine import EngineError, EngineUnavailableError
from vault.clients.swarm.imports import importer
from vault.clients.swarm.imports.importer import Importer, ImportRunsError, ImportTaskError, Target
from vault.clients.swarm.imports.one_shot import TaskSpec, TaskState
from vault.clients.swarm.imports.plan import IMPORT_LABEL, Item, SwarmSecret
from vault.clients.swarm.imports.task import ORDER, Report
from vault.common.errors import VaultError
from vault.common.outcomes import ImportOutcome

TOKEN = "smt_hush"
STARTING = TaskState(is_started=False, is_over=False, text="pending: no suitable node")
RUNNING = TaskState(is_started=True, is_over=False, text="running: started")
FAILED = TaskState(is_started=True, is_over=True, text="rejected: No such image")
TARGET = Target(image="image:1", network="net", node="n1", url="http://a", token=TOKEN, role="r", ca="PEM")


def item(number: int) -> Item:
    name = f"s{number}"
    return Item(SwarmSecret(secret_id=f"id-{number}", name=name), f"shop/{name}", f"{name}.managed")


def line(file: str, outcome: str = "imported") -> str:
    return json.dumps({"file": file, "outcome": outcome, "reason": "", "there": "h", "here": "h"})


DONE = json.dumps({"done": True})


@dataclass
class Memory:
    """A swarm: its services' specifications and secrets by label, and what its tasks say, poll by poll."""

    #: For each poll: the state of the task, and its lines until then.
    polls: Iterator[tuple[TaskState, Sequence[str]]] = field(default_factory=lambda: iter(()))
    made: dict[str, str] = field(default_factory=dict)
    orders: list[dict[str, Any]] = field(default_factory=list)
    specs: list[TaskSpec] = field(default_factory=list)
    leftovers: dict[str, TaskState] = field(default_factory=dict)
    lines: Sequence[str] = ()

    def create_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> SwarmSecret:
        """Keep the order."""
        self.orders.append(json.loads(content))
        self.made[name] = labels[IMPORT_LABEL]
        return SwarmSecret(secret_id="order", name=name, labels=labels)

    def run_once(self, spec: TaskSpec) -> str:
        """Keep the specification."""
        self.specs.append(spec)
        self.made[f"service {spec.name}"] = spec.labels[IMPORT_LABEL]
        return "service"

    def services(self, label: str) -> Sequence[str]:
        """Return the services of earlier imports."""
        assert label == IMPORT_LABEL
        return list(self.leftovers)

    def task_state(self, service_id: str) -> TaskState:
        """Return the state of the next poll."""
        if service_id in self.leftovers:
            return self.leftovers[service_id]
        state, self.lines = next(self.polls)
        return state

    def log(self, service_id: str) -> Sequence[str]:
        """Return the lines of that poll."""
        assert service_id == "service"
        return self.lines

    def remove(self, label: str) -> None:
        """Forget what has the label."""
        name, _, run = label.partition("=")
        assert name == IMPORT_LABEL
        if not run:
            self.leftovers.clear()
        self.made = {one: of for one, of in self.made.items() if run and of != run}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pass time only while an import waits."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    # Not the functions of `time`: other threads, such as MongoDB's driver's, would move this clock.
    monkeypatch.setattr(importer, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))


def repeated(*polls: tuple[TaskState, Sequence[str]]) -> Iterator[tuple[TaskState, Sequence[str]]]:
    yield from polls
    while True:
        yield polls[-1]


def run(swarm: Memory, *items: Item, update: bool = False) -> list[tuple[Item, Report]]:
    return list(Importer(swarm, TARGET, update=update).run(items))


@pytest.mark.promise("swarm")
def test_a_task_gets_the_order_and_the_secrets() -> None:
    """The task mounts the order and the secrets; its specification has neither token nor name here."""
    swarm = Memory(
        repeated((STARTING, ()), (RUNNING, [line("0")]), (RUNNING, [line("0"), line("1", "same"), DONE]))
    )
    found = run(swarm, item(1), item(2), update=True)
    assert [(one, report.outcome) for one, report in found] == [
        (item(1), ImportOutcome.IMPORTED),
        (item(2), ImportOutcome.SAME),
    ]
    [order], [spec] = swarm.orders, swarm.specs
    assert len(order.pop("hash_key")) == 64
    assert order == {
        "url": "http://a",
        "token": TOKEN,
        "role": "r",
        "ca": "PEM",
        "names": {"0": "shop/s1", "1": "shop/s2"},
        "update": True,
    }
    assert (spec.image, spec.network, spec.node) == ("image:1", "net", "n1")
    assert {file: secret.secret_id for file, secret in spec.secrets.items()} == {
        ORDER: "order",
        "0": "id-1",
        "1": "id-2",
    }
    assert TOKEN not in repr((spec, TARGET))
    assert swarm.made == {}


def test_many_secrets_take_several_tasks() -> None:
    """A task mounts at most 100 secrets, and hashes of all tasks have one key."""
    tasks = ([line(str(n)) for n in range(count)] + [DONE] for count in (100, 1))
    swarm = Memory(iter([(RUNNING, lines) for lines in tasks]))
    assert len(run(swarm, *map(item, range(101)))) == 101
    assert [len(order["names"]) for order in swarm.orders] == [100, 1]
    assert len({order["hash_key"] for order in swarm.orders}) == 1


def test_nothing_to_import_starts_no_task() -> None:
    """Without secrets there is no task."""
    swarm = Memory()
    assert run(swarm) == []
    assert swarm.specs == []


@pytest.mark.parametrize(
    ("polls", "reason"),
    [
        ([(STARTING, ())], "does not start: pending: no suitable node"),
        ([(FAILED, ())], "ended without a result: rejected: No such image"),
        ([(RUNNING, [line("0")])], "reports nothing for 300 s: running: started"),
        ([(RUNNING, [line("0")]), (FAILED, [line("0")])], "ended without a result"),
        ([(FAILED, ['{"error": "the service is away"}'])], "failed: the service is away"),
        ([(RUNNING, ["Traceback: hush"])], "failed: its log has a line that is none of an import"),
        ([(RUNNING, ["[]"])], "failed: its log has a line that is none of an import"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failed_task_is_an_error(polls: list[tuple[TaskState, Sequence[str]]], reason: str) -> None:
    """A task that cannot start, fails, or says something else ends the import, and is removed."""
    swarm = Memory(repeated(*polls))
    with pytest.raises(ImportTaskError) as error:
        run(swarm, item(1))
    assert reason in str(error.value)
    assert "hush" not in str(error.value)
    assert swarm.made == {}


@pytest.mark.promise("swarm")
def test_what_is_made_is_removed_after_any_failure() -> None:
    """Ctrl-C, and a failure of Docker between secret and task, leave nothing behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def refuse(*_: object) -> None:
        raise VaultError("Docker refuses")

    failures: list[tuple[str, Callable[..., None], type[BaseException]]] = [
        ("run_once", refuse, VaultError),
        ("run_once", interrupt, KeyboardInterrupt),
        ("log", interrupt, KeyboardInterrupt),
    ]
    for method, failure, expected in failures:
        swarm = Memory(repeated((RUNNING, ())))
        setattr(swarm, method, failure)
        with pytest.raises(expected):
            run(swarm, item(1))
        assert swarm.orders
        assert swarm.made == {}


def away_for(calls: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """Return *then*, after a number of calls without an answer of Docker."""
    left = [calls]

    def call(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise EngineUnavailableError("Docker does not answer")
        return then(*arguments)

    return call


@pytest.mark.parametrize("method", ["task_state", "log", "remove"])
def test_docker_can_be_away_for_a_minute(method: str) -> None:
    """Reads and removals are repeated while Docker is away, as during an election."""
    swarm = Memory(iter([(RUNNING, [line("0"), DONE])] * 201))
    setattr(swarm, method, away_for(200, getattr(swarm, method)))
    importer_of = Importer(swarm, TARGET, update=False)
    importer_of._remove_leftovers = lambda: None  # type: ignore[method-assign]
    assert len(list(importer_of.run([item(1)]))) == 1
    assert swarm.made == {}


def test_a_token_that_stays_behind_is_named() -> None:
    """If Docker stays away, the error has the first cause, and the secret that holds the token."""
    swarm = Memory(repeated((RUNNING, [line("0")])))
    found = Importer(swarm, TARGET, update=False).run([item(1)])
    next(found)
    away = away_for(10_000, lambda: None)
    swarm.task_state = swarm.remove = away  # type: ignore[method-assign]
    with pytest.raises(ImportTaskError) as error:
        next(found)
    [name] = [name for name in swarm.made if not name.startswith("service")]
    assert error.value.problem == (
        "Docker does not answer; then the removal failed (Docker does not answer): "
        f"the token can be in Docker's secret {name}"
    )
    assert error.value.hint == "remove the service and the secret of that name, and revoke the token"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(EngineError("Docker refuses"), "Docker refuses"), (KeyboardInterrupt(), "interrupted")],
    ids=["refused", "interrupted"],
)
def test_a_removal_that_fails_is_an_error(failure: BaseException, reason: str) -> None:
    """Also after a complete import, a token that stays in the swarm is an error."""
    swarm = Memory(iter([(RUNNING, [line("0"), DONE])]))
    found = Importer(swarm, TARGET, update=False).run([item(1)])
    next(found)

    def fail(_: str) -> None:
        raise failure

    swarm.remove = fail  # type: ignore[method-assign]
    with pytest.raises(ImportTaskError, match=rf"^the removal failed \({reason}\): the token can be in"):
        list(found)


def test_leftovers_are_removed_first() -> None:
    """Remains of a killed import go once its task is over; while it runs, another import is refused."""
    swarm = Memory(iter([(RUNNING, [DONE])]), leftovers={"old": FAILED})
    assert run(swarm, item(1)) == []
    assert swarm.leftovers == {}
    swarm = Memory(leftovers={"old": RUNNING})
    with pytest.raises(ImportRunsError, match="another import is running"):
        run(swarm, item(1))
    assert swarm.leftovers
    assert swarm.orders == []
