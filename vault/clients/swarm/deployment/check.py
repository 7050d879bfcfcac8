"""Checks of the deployment on the nodes of a real swarm, from one of its managers."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from vault.clients.swarm.deployment.manager import SERVICE, STACK, Found, hostname
from vault.clients.swarm.deployment.ports import Ports, Reply
from vault.clients.swarm.deployment.program import DeploymentError, Program, ProgramError
from vault.clients.swarm.deployment.stack import DeployedStack

CHECKS = ("nodes", "networks", "members", "requests", "addresses")

OK, FAILED, NOT_CHECKED = "ok", "FAILED", "not checked"

#: Takes a result: ok, FAILED or "not checked", and its text.
Report = Callable[[str, str], object]

_TTL_SECONDS = 3_600
#: Larger than a packet: in an encrypted network, a wrong MTU lets only small ones pass.
_VALUE_BYTES = 12_000
_LOG_SECONDS = 20
_DEFAULT_PORT = "8000"
_UNKNOWN_ADDRESSES = frozenset({"", "0.0.0.0", "127.0.0.1"})  # noqa: S104 - of nodes, as Docker shows them
_PLAIN = frozenset({"false", "f", "0"})
_OK_STATUS, _NOT_FOUND = 200, 404
_INGRESS_HINT = "publish with mode: host, or give the service a certificate"
_HINT = (
    ". Hint: publish with mode: host, or put a proxy in the network "
    "(Client addresses in docs/install-swarm.md)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the swarm."""

    id: str
    name: str
    #: Docker's state, with the availability if the node does not take tasks.
    state: str
    address: str

    @property
    def is_ready(self) -> bool:
        """Whether it is up."""
        return self.state.startswith("ready")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """How the service publishes its port: 0 if it does not, or on each node another one."""

    port: int
    mode: str
    has_certificate: bool

    @property
    def is_ingress(self) -> bool:
        """Whether the swarm forwards requests from each node to a replica."""
        return self.mode == "ingress"


class SwarmCheck:
    """Checks on the swarm of *stack*, except those that are *skipped*."""

    def __init__(
        self,
        *,
        stack: DeployedStack,
        program: Program,
        report: Report,
        skipped: Collection[str],
    ) -> None:
        self._stack = stack
        self._program = program
        self._report = report
        self._skipped = skipped
        stack.required()
        self._nodes = [_node(one) for one in stack.nodes()]
        if not self._nodes:
            raise DeploymentError("the managers do not answer", hint="run docker node ls")
        self._by_id = {node.id: node for node in self._nodes}
        replicas = [task for task in stack.wanted(SERVICE) if task["Status"]["State"] == "running"]
        #: The nodes of the running replicas, by the task's ID.
        self._replicas = {task["ID"]: task.get("NodeID", "") for task in replicas}
        self.publication = _publication(stack)

    def run(self, connect: Callable[[int], Ports]) -> None:
        """Report what is in order and what is not."""
        for name, check in (
            ("nodes", self._check_nodes),
            ("networks", self._check_networks),
            ("members", self._check_members),
        ):
            if self._wants(name):
                check()
        if self._wants("requests"):
            self._check_requests(connect)
        elif self._wants("addresses"):
            self._report(NOT_CHECKED, "addresses: that needs the requests")

    def _wants(self, name: str) -> bool:
        if name in self._skipped:
            self._report(NOT_CHECKED, f"{name}: --skip")
        return name not in self._skipped

    def _check_nodes(self) -> None:
        for node in self._nodes:
            self._report(OK if node.is_ready else FAILED, f"node {node.name}: {node.state}")

    def _check_networks(self) -> None:
        wanted = {"driver": "overlay", "label": f"com.docker.stack.namespace={STACK}"}
        found = self._stack.answer(lambda client: client.networks(filters=wanted))
        if not found:
            self._report(FAILED, f"networks: the stack {STACK} has no overlay network")
        # It carries clients' requests from the node that they reach to the node of the replica.
        has_ingress = self.publication.is_ingress and not self.publication.has_certificate
        if has_ingress and len(self._nodes) > 1:
            found += self._stack.answer(lambda client: client.networks(names=["^ingress$"]))
        for network in found:
            name, options = network["Name"], network.get("Options") or {}
            # Docker 26 encrypts for any value of the option, newer versions do not for these.
            if options.get("encrypted", "false").lower() not in _PLAIN:
                self._report(OK, f"network {name}: encrypted")
            else:
                hint = _INGRESS_HINT if name == "ingress" else "driver_opts in stack.yml"
                self._report(FAILED, f"network {name}: not encrypted. Hint: {hint}")

    def _check_members(self) -> None:
        services = [one["Spec"]["Name"] for one in self._stack.named(f"{STACK}_mongodb-")]
        if not services:
            self._report(NOT_CHECKED, f"members: the stack {STACK} runs no MongoDB")
        taken: dict[str, str] = {}
        for service in services:
            self._check_member(service, taken)

    def _check_member(self, service: str, taken: dict[str, str]) -> None:
        member = service.removeprefix(f"{STACK}_")
        task = next(iter(self._stack.wanted(service)), None)
        state = task["Status"]["State"] if task else "no task"
        node_id = task.get("NodeID", "") if task else ""
        node = self._by_id.get(node_id)
        name = node.name if node else node_id
        if state != "running":
            hint = f"docker service ps --no-trunc {service}"
            self._report(FAILED, f"member {member}: not running ({state}). Hint: {hint}")
        elif not node or not node.is_ready:
            # Docker counts its task as running until the node is back.
            self._report(FAILED, f"member {member}: its node {name} is down")
        elif node_id in taken:
            self._report(
                FAILED, f"member {member}: shares the node {name} with {taken[node_id]}. Hint: docs/nodes.md"
            )
        else:
            taken[node_id] = member
            self._report(OK, f"member {member}: runs on {name}")

    def _check_requests(self, connect: Callable[[int], Ports]) -> None:
        if not self.publication.port:
            self._report(
                NOT_CHECKED, "requests: the service publishes no port, or not the same one on all nodes"
            )
            return
        requests = Requests(connect(self.publication.port), self._report, self.publication, self._replicas)
        with requests.cleaned():
            requests.create([node for node in self._nodes if self._takes_requests(node)])
            requests.fetch(self._nodes)
            if self._wants("addresses"):
                self._check_addresses(requests)

    def _takes_requests(self, node: Node) -> bool:
        if not node.is_ready:
            self._report(NOT_CHECKED, f"create and fetch at {node.name}: it is down")
            return False
        return self.publication.is_ingress or node.id in self._replicas.values()

    def _check_addresses(self, requests: Requests) -> None:
        if not requests.ids:
            self._report(NOT_CHECKED, "addresses: no secret was created")
            return
        recorded = requests.recorded()
        if recorded is None:
            self._report(NOT_CHECKED, f"addresses: the trail cannot be read: {requests.last.refusal}")
            return
        if not recorded:
            self._report(NOT_CHECKED, "addresses: the trail has no addresses of these requests")
            return
        answered = self._answered_by(requests.run)
        for task, node_id in self._replicas.items():
            node = self._by_id.get(node_id)
            label = f"addresses: replica {task[:12]} on {node.name if node else 'an unknown node'}"
            own = {one: recorded[one] for one in recorded if answered.get(one) == task}
            if own and not self._reports_wrong(label, own, requests):
                self._report(OK, f"{label} recorded the client's, {next(iter(requests.senders.values()))}")
            elif not own:
                self._report(NOT_CHECKED, f"{label}: docker service logs has none of its replies")
        if not set(answered.values()) & set(self._replicas):
            self._reports_wrong("addresses: a replica", recorded, requests)

    def _reports_wrong(self, label: str, recorded: Mapping[str, str], requests: Requests) -> bool:
        """Report an address that is not its sender's, and return whether there is one."""
        hint = _HINT if self.publication.is_ingress else ""
        for request, address in recorded.items():
            sender = requests.senders.get(request)
            if address != sender:
                right = sender or "an unknown one"
                self._report(FAILED, f"{label} recorded {address} in place of {right}{hint}")
                return True
        return False

    def _answered_by(self, run: str) -> Mapping[str, str]:
        """Return the replicas' task IDs, by the IDs of the requests that they answered."""
        try:
            logs = self._program.output(
                *("service", "logs", "--no-trunc", "--since", "10m", SERVICE),
                merged=True,
                timeout=_LOG_SECONDS,
            )
        except ProgramError:
            return {}
        # secret-manager_secret-manager.1.TASK@node    | {"time": …
        found = re.finditer(rf"^[^@\n]*\.([^.@\n]+)@.*({run}-[0-9]+)", logs, re.MULTILINE)
        return {line[2]: line[1] for line in found}


class Requests:
    """Requests at the ports of nodes, with secrets that are removed afterwards."""

    def __init__(
        self, ports: Ports, report: Report, publication: Publication, replicas: Mapping[str, str]
    ) -> None:
        self._ports = ports
        self._report = report
        self._publication = publication
        self._replicas = replicas
        self.run = f"check-swarm-{token_hex(8)}"
        #: The address from which each request was sent, by the request's ID.
        self.senders: dict[str, str] = {}
        #: The secrets, by the IDs of the nodes at which they were created.
        self._names: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._answering: list[Node] = []
        self.last = Reply(status=0, body={}, reason="")

    def _ask(self, node: Node, path: str, **body: Any) -> Reply:
        request_id = f"{self.run}-{len(self.senders) + 1}"
        self.last = self._ports.post(node.address, path, body, request_id)
        self.senders[request_id] = self.last.sender
        return self.last

    def create(self, nodes: Sequence[Node]) -> None:
        """Create a secret at each of *nodes*."""
        for number, node in enumerate(nodes, start=1):
            name = f"check-swarm/{self.run.rpartition('-')[2]}/{number}"
            value = b64encode(os.urandom(_VALUE_BYTES)).decode()
            # After no answer, the secret may exist.
            self._names[node.id], self._values[node.id] = name, value
            reply = self._ask(node, "/vault/secret/create", name=name, secret=value, ttl_seconds=_TTL_SECONDS)
            if reply.status:
                self._answering.append(node)
            place = f"create at {node.name} ({node.address}:{self._publication.port})"
            if reply.status == _OK_STATUS:
                self.ids[node.id] = str(reply.body.get("secret_id", ""))
                self._report(OK, place)
                continue
            self._report(FAILED, f"{place}: {reply.refusal}")
            # Refused, so that there is nothing to remove.
            if reply.status // 100 == 4:
                del self._names[node.id]
        if not nodes:
            self._report(FAILED, "create: no node has a replica")

    def fetch(self, nodes: Sequence[Node]) -> None:
        """Fetch at each node that answers the secrets of all others, or with a single one its own."""
        for node in self._answering:
            is_only = len(self._answering) == 1
            others = [one for one in nodes if one.id in self.ids and (is_only or one is not node)]
            if not others:
                self._report(NOT_CHECKED, f"fetch at {node.name}: nothing was created elsewhere")
                continue
            self._fetch(node, others)

    def _fetch(self, node: Node, others: Sequence[Node]) -> None:
        items = [{"name": self._names[one.id]} for one in others]
        reply = self._ask(node, "/vault/secret/fetch-batch", secrets=items)
        if reply.status != _OK_STATUS:
            self._report(FAILED, f"fetch at {node.name}: {reply.refusal}")
            return
        found = {str(one.get("secret")) for one in reply.body.get("secrets", ())}
        missing = ", ".join(one.name for one in others if self._values[one.id] not in found)
        if missing:
            self._report(FAILED, f"fetch at {node.name}: not the secrets of {missing}: {reply.reason}")
            return
        self._report(OK, f"fetch at {node.name}: the secrets of {', '.join(one.name for one in others)}")
        # The swarm's ports give each connection to the next replica.
        if self._publication.is_ingress:
            for _ in range(len(self._replicas) - 1):
                self._ask(node, "/vault/secret/fetch-batch", secrets=items[:1])

    def recorded(self) -> Mapping[str, str] | None:
        """Return the addresses in the trail, by the requests' IDs; None if it cannot be read."""
        found: dict[str, str] = {}
        for secret_id in self.ids.values():
            reply = self._ask(self._answering[0], "/vault/audit/query", secret_id=secret_id, limit=1_000)
            if reply.status != _OK_STATUS:
                return None
            entries = reply.body.get("entries", ())
            found |= {
                one["request_id"]: one["ip"] for one in entries if one.get("request_id") and one.get("ip")
            }
        return found

    @contextmanager
    def cleaned(self) -> Iterator[None]:
        """Remove the secrets after the block, also after an interruption."""
        try:
            yield
        except BaseException:
            left = self._remove()
            if left:
                self._report(FAILED, f"these secrets expire within an hour: {left}")
            raise
        left = self._remove()
        if left:
            self._report(
                FAILED, f"delete and purge: {self.last.refusal}. These expire within an hour: {left}"
            )
        elif self._names:
            self._report(OK, f"deleted and purged: {len(self._names)} secrets")

    def _remove(self) -> str:
        """Delete and purge what was created, and return the names of what is left."""
        names = self._names.values()
        return " ".join(one for one in names if not any(self._is_removed(at, one) for at in self._answering))

    def _is_removed(self, node: Node, name: str) -> bool:
        """Return whether a secret is deleted and purged at *node*."""
        reply = self._ask(node, "/vault/secret/delete", name=name)
        # Nothing to purge: deleted secrets are not kept.
        if reply.status == _OK_STATUS and reply.body.get("restorable_until", "") is None:
            return True
        # Also after a 404: an earlier attempt without an answer may have deleted it.
        if reply.status not in (_OK_STATUS, _NOT_FOUND):
            return False
        return self._ask(node, "/vault/secret/purge", name=name).status in (_OK_STATUS, _NOT_FOUND)


def _node(found: Found) -> Node:
    status, availability = found["Status"], found["Spec"]["Availability"]
    manager = found.get("ManagerStatus") or {}
    own = status.get("Addr", "")
    # A manager does not always know its own address as a node.
    if own in _UNKNOWN_ADDRESSES and manager:
        own = manager["Addr"].rpartition(":")[0].strip("[]")
    state = status["State"] if availability == "active" else f"{status['State']}, {availability}"
    return Node(id=found["ID"], name=hostname(found), state=state, address=own)


def _publication(stack: DeployedStack) -> Publication:
    target = stack.setting("BIND").rpartition(":")[2] or _DEFAULT_PORT
    ports = (stack.required().get("Endpoint") or {}).get("Ports") or ()
    found: Mapping[str, Any] = next((one for one in ports if str(one["TargetPort"]) == target), {})
    return Publication(
        port=found.get("PublishedPort", 0),
        mode=found.get("PublishMode", ""),
        has_certificate=bool(stack.setting("TLS_CERT") or stack.setting("TLS_CERT_FILE")),
    )
