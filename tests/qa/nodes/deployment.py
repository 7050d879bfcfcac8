"""A deployment on several nodes: its form, its clients, its final state, and the operator's commands."""

import json
import secrets
import shlex
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product

from tests.qa.deployment.engine import STACK
from tests.qa.faults import afterwards
from tests.qa.faults.clients import Pool, running
from tests.qa.faults.evidence import Evidence, Stored
from tests.qa.faults.history import History
from tests.qa.nodes.callers import Reader, Writer
from tests.qa.nodes.cluster import OVERRIDE, PORT, Cluster, Node, run, wait_for
from tests.qa.nodes.members import are_in_step, members

#: The host of clients at a node itself.
LOOPBACK = "127.0.0.1"
#: Readers and writers, each, for each node.
_CALLERS = 2
#: A deleted secret must still be found afterwards.
_SETTINGS = {"REPLICAS": "3", "DELETE_RECOVERY_DAYS": "1"}
_FILES = (OVERRIDE, "tests/qa/nodes/losses.yml")
#: Together more than the time in which a replica stops.
_TRIES, _PAUSE_SECONDS = 20, 3
#: Prints all secrets and the entries since a moment, without values.
_EVIDENCE = """
import json, sys
from datetime import datetime
from itertools import product
from pymongo import MongoClient
from vault.common.config.settings import mongo_uri

database = MongoClient(mongo_uri(), readConcernLevel="majority").get_default_database("vault")
fields = ("version", "deleted_at", "reads")
secrets = database.secrets.find({"pending": None}, list(fields))
since = {"ts": {"$gte": datetime.fromisoformat(sys.argv[1])}, "request_id": {"$ne": ""}}
entries = database.audit_logs.find(since, ["request_id", "action", "status", "secret_id"])
print(json.dumps([list(secrets), list(entries)], default=str))
"""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the deployment on swarms with this number of managers."""

    name: str
    managers: int = 3
    secure: bool = True


@dataclass(slots=True)
class Deployment:
    """The deployed service. *image* is its name in the nodes' registry."""

    cluster: Cluster
    image: str
    token: str
    tell: Callable[[str], None]
    #: The operator's commands since the last loss.
    by_hand: list[str] = field(default_factory=list)
    #: The secrets without a limit that no client uses any more, as they were left.
    kept: dict[str, Stored] = field(default_factory=dict)

    def operate(self, *command: str) -> str:
        """Run the operator's `docker` *command* on a manager, and record it."""
        self.by_hand.append(shlex.join(("docker", *command)))
        return self.cluster.manager().docker(*command)

    def deploy(self, **settings: str) -> None:
        """Deploy with other *settings*, as an operator does, and record it."""
        self.by_hand.append("scripts/deploy.sh")
        self.cluster.deploy(*_FILES[1:], **(_SETTINGS | {"IMAGE": self.image} | settings))

    def is_whole(self) -> bool:
        """Return whether all members are in step."""
        return are_in_step(members(self.cluster))

    def is_complete(self) -> bool:
        """Return whether every service has all its tasks, too."""
        listed = self.cluster.manager().docker(
            *("service", "ls", "--filter", f"label=com.docker.stack.namespace={STACK}"),
            *("--filter", "mode=replicated", "--format", "{{.Replicas}}"),
            check=False,
        )
        counts = [line.split("/") for line in listed.splitlines()]
        return bool(counts) and all(run == wanted for run, wanted in counts) and self.is_whole()

    @contextmanager
    def load(
        self, history: History, *, seed: int, also_inside: Sequence[Node] = (), limits: bool = True
    ) -> Iterator[None]:
        """Send requests to each node from outside, and to *also_inside* from these, during the block.

        Without *limits*, no secret has a read limit, so that no failed read holds one.
        """
        places = [(self.cluster.outside, node.address) for node in self.cluster.nodes]
        places += [(node.network, LOOPBACK) for node in also_inside]
        options = {"seed": seed, "pool": Pool(), "history": history, "token": self.token, "limits": limits}
        kinds = (Writer, Reader) * _CALLERS
        callers = [
            kind(number, network=network, host=host, **options)
            for number, ((network, host), kind) in enumerate(product(places, kinds))
        ]
        with running(callers):
            yield

    def read_all(self, history: History) -> None:
        """Fetch everything once more, at a node that has a replica."""
        node, _ = wait_for(self.cluster.healthy, what="a healthy replica")

        def read() -> None:
            self.cluster.outside.enter()
            afterwards.read_all(PORT, history, token=self.token, host=node.address)

        # The thread's network, not the process's.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(read).result()

    def evidence(self, since: datetime) -> Evidence:
        """Return all secrets, and the entries since then."""
        printed = self._ask("python", "-c", _EVIDENCE, since.isoformat())
        return afterwards.evidence_of(*json.loads(printed))

    def verify(self) -> str:
        """Return the findings of `audit verify` in a replica, or an empty text."""
        printed = self._ask("secret-manager", "audit", "verify")
        return "" if printed.endswith("intact") else printed

    def _ask(self, *command: str) -> str:
        """Return the output of *command*, which only reads.

        It is repeated if it ends without any: a replica that is being stopped counts as healthy.
        """
        for _ in range(_TRIES):
            if printed := self.cluster.run(*command, check=False):
                return printed
            time.sleep(_PAUSE_SECONDS)
        return self.cluster.run(*command)


@contextmanager
def deployed(form: Form, image: str, tell: Callable[[str], None]) -> Iterator[Deployment]:
    """Deploy on a new swarm of three nodes, and remove it afterwards."""
    cluster = Cluster(nodes=3, managers=form.managers)
    try:
        cluster.up()
        pushed = cluster.push("mongo:7.0", image)[-1]
        yield _deploy(cluster, form, pushed, tell)
    finally:
        cluster.down()


def _deploy(cluster: Cluster, form: Form, image: str, tell: Callable[[str], None]) -> Deployment:
    began = time.monotonic()
    if form.secure:
        cluster.deploy(*_FILES[1:], IMAGE=image, **_SETTINGS)
    else:
        environment = {
            "DOCKER_HOST": cluster.manager().host,
            "IMAGE": image,
            **_SETTINGS,
            "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
        }
        for number, node in enumerate(cluster.nodes, start=1):
            cluster.manager().docker("node", "update", "--label-add", f"mongodb={number}", node.name)
        files = [option for file in ("stack.yml", *_FILES) for option in ("-c", file)]
        run("docker", "stack", "deploy", *files, STACK, environment=environment)
    token = ""
    deployment = Deployment(cluster, image, token, tell)
    wait_for(deployment.is_complete, what="a complete deployment")
    if form.secure:
        deployment.token = cluster.run(
            "secret-manager", "tokens", "create", "--name", "callers", "--role", "admin"
        )
    tell(f"{form.name}: deployed after {time.monotonic() - began:.0f} s")
    return deployment
