"""`python -m tests.qa.faults.kills`: kill workers and primaries under load, and find unrecorded effects."""

import random
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.qa.faults import afterwards, campaign
from tests.qa.faults.checker import check
from tests.qa.faults.clients import Client, Pool, running
from tests.qa.faults.cluster import Cluster
from tests.qa.faults.faults import Deployment
from tests.qa.faults.history import History
from tests.qa.faults.run import HELD_SECONDS, deployed, status_of, tell
from tests.support.access import tokens
from tests.support.unrecorded import unrecorded

_CLIENTS, _HASTY_CLIENTS = 24, 8
#: Successful requests between two kills, and the maximum seconds for them.
_ANSWERS, _MAX_PAUSE_SECONDS = 40, 0.1
_TOKEN_SHARE, _CREATE_SHARE, _NAMED_SHARE = 0.1, 0.5, 0.3
#: Makes the loss of a primary noticed soon.
_ELECTION_MILLISECONDS = 2_000
_TIMEOUT_SECONDS = 180


class Creator(Client):
    """A client that mostly creates: secrets, some with a name, and tokens."""

    pause = 0.01
    #: After each kill, secrets held by the lost worker wait for half a minute.
    keyed = 0.05
    #: Whether it creates secrets with a read limit.
    limits = True

    def _work(self) -> None:
        while not self._stopped.is_set():
            share = self._chance.random()
            known = None if share < _CREATE_SHARE else self._pool.pick(self._chance)
            if share < _TOKEN_SHARE:
                self._create_token()
            elif known is None:
                self._create()
            else:
                self._rest(self.fetch(known) if known.limited else self._chance.choice(self._actions)(known))

    def _more(self, name: str) -> dict[str, Any]:
        more: dict[str, Any] = {"name": name} if self._chance.random() < _NAMED_SHARE else {}
        return more if self.limits else {**more, "max_reads": None}

    def _create_token(self) -> None:
        name = f"{self.name}-token-{next(self._serial)}"
        body = {"name": name, "scopes": ["secret:fetch"]}
        self._rest(self._ask("token_create", name, body, path="/vault/token/create"))


class HastyCreator(Creator):
    """A slower creator without read limits: no failed read holds anything for half a minute."""

    pause = 0.1
    limits = False


def main(arguments: Sequence[str]) -> int:
    """Run it and return the exit status: 0 if nothing was found, and 1 otherwise."""
    options = _options(arguments)
    history = History()

    def run(folder: Path) -> bool:
        with deployed(folder, sandboxed=False) as deployment:
            return _run(options, deployment, folder, history)

    return status_of(run, history, prefix="kills-")


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        "python -m tests.qa.faults.kills",
        description="Kill workers and primaries under load, and find effects without an audit entry.",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the clients' choices and of the pauses")
    parser.add_argument("--workers", type=int, default=200, help="kills of a worker (default 200)")
    parser.add_argument("--primaries", type=int, default=20, help="kills of a primary (default 20)")
    parser.add_argument("--hasty", action="store_true", help="few clients, and no read limits")
    return parser.parse_args(arguments)


def _run(options: Namespace, deployment: Deployment, folder: Path, history: History) -> bool:
    cluster, service = deployment.cluster, deployment.service
    _notice_losses_soon(cluster)
    grant = ("create", "--name", "clients", "--role", "admin")
    token = tokens(service.environment, folder, *grant)
    with _load(options, deployment, history, token):
        _kill(options, deployment, history)
    tell(f"{len(history.requests)} requests; reading everything once more")
    time.sleep(0 if options.hasty else HELD_SECONDS)
    afterwards.read_all(service.port, history, token=token)
    service.stop()
    with MongoClient[dict[str, Any]](cluster.uri) as client:
        database = client.get_default_database()
        lacking = unrecorded(database)
        active = {one["name"] for one in database.tokens.find({"pending": None})}
    findings = check(history, afterwards.evidence(cluster.uri))
    trail = afterwards.verify(service.environment)
    made = {one.secret for one in history if one.did("token_create")}
    figures = {
        "workers killed": options.workers,
        "primaries killed": options.primaries,
        "requests": len(history.requests),
        "of them failed": sum(one.failed for one in history),
        "secrets acknowledged": len({one.secret for one in history if one.did("create")}),
        "tokens acknowledged": len(made),
    }
    wrong = {
        "effects without their entry": sum(lacking.values()),
        "tokens lost": len(made - active),
        "other violations": len(list(findings)),
        "trails that do not verify": int(bool(trail)),
    }
    for name, figure in (figures | wrong).items():
        tell(f"{name}: {figure}")
    for sentence in (*(f"{count} of {action}" for action, count in lacking.items()), *findings, trail):
        tell(sentence)
    return not any(wrong.values())


def _notice_losses_soon(cluster: Cluster) -> None:
    with MongoClient[dict[str, Any]](cluster.uri) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["settings"]["electionTimeoutMillis"] = _ELECTION_MILLISECONDS
        config["version"] += 1
        client.admin.command("replSetReconfig", config)


@contextmanager
def _load(options: Namespace, deployment: Deployment, history: History, token: str) -> Iterator[None]:
    pool = Pool()
    kind = HastyCreator if options.hasty else Creator
    clients = [
        kind(number, deployment.service.port, seed=options.seed, pool=pool, history=history, token=token)
        for number in range(_HASTY_CLIENTS if options.hasty else _CLIENTS)
    ]
    with running(clients):
        yield


def _kill(options: Namespace, deployment: Deployment, history: History) -> None:
    """Kill workers, and sometimes a primary."""
    chance = random.Random(f"kills {options.seed}")  # noqa: S311 - must be repeatable
    primaries = 0
    for number in range(1, options.workers + 1):
        _wait_for_answers(history)
        # At any moment of the requests in progress.
        time.sleep(chance.uniform(0, _MAX_PAUSE_SECONDS))
        deployment.service.kill_worker()
        while primaries < options.primaries * number // options.workers:
            primaries += 1
            # With writes in progress: one that is not yet on another member must not have been acknowledged.
            _wait_for_answers(history)
            _kill_primary(deployment)
            tell(f"{number} workers and {primaries} primaries killed, {len(history.requests)} requests")
    campaign.wait_until_quiet(history)


def _wait_for_answers(history: History) -> None:
    """Return once there is load again: a worker that is still starting is not worth a kill."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    since = len(history.requests)
    while sum(one.succeeded for one in history.requests[since:]) < _ANSWERS:
        assert time.monotonic() < deadline, "no request succeeds any more"
        time.sleep(0.02)


def _kill_primary(deployment: Deployment) -> None:
    cluster = deployment.cluster
    member = cluster.members[cluster.primary()]
    member.kill()
    cluster.primary()
    member.start()
    cluster.wait_until_whole()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
