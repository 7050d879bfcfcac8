"""Docker's engine, as an import uses it: native secrets, and services of one task that run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.clients.swarm.engine import Engine, EngineError, hostname
from vault.clients.swarm.imports.plan import STACK_LABEL, SwarmSecret, Users

_WAITING = frozenset(
    {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting"}
)
_RUNNING = "running"
_OTHER_NODE = "choose one of `docker node ls` with --node"
_CAPABILITIES = ["ALL"]
#: The seconds between a stop and the kill: it has nothing to finish.
_STOP_SECONDS = 1

#: The header of a part of a log: the stream, three zeros, and the length in four bytes.
_HEADER_BYTES = 8

#: The settings of this product's service together, and the command of its driver.
_OWN_VARIABLES = ("MASTER_KEY_FILE=", "MONGO_URI")
_OWN_COMMAND = ["swarm-driver"]


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a service's task."""

    #: Whether it has left the states before its start.
    is_started: bool
    is_over: bool
    #: Docker's explanation.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A service of one task that runs once."""

    name: str
    image: str
    command: Sequence[str]
    #: Secrets to mount, by the names of their files.
    secrets: Mapping[str, SwarmSecret]
    network: str
    #: The ID of the node.
    node: str
    labels: Mapping[str, str]


class ImportEngine(Engine):
    """The engine of an import."""

    def secrets(self) -> Sequence[SwarmSecret]:
        """Return all secrets of the swarm."""
        with self._calls():
            users = _users(self._client.services())
            return [_secret(one, users.get(one["ID"], Users.NONE)) for one in self._client.secrets()]

    def node(self, wanted: str = "") -> str:
        """Return the ID of the node with the ID or host name *wanted*; by default, of this engine's.

        Raises:
            EngineError: It takes no tasks, or there is none or more than one.
        """
        with self._calls():
            wanted = wanted or self._client.info()["Swarm"]["NodeID"]
            found = [one for one in self._client.nodes() if wanted in (one["ID"], hostname(one))]
        if len(found) != 1:
            raise EngineError(f"{len(found)} nodes have the ID or name {wanted}", hint=_OTHER_NODE)
        [node] = found
        state, availability = node["Status"]["State"], node["Spec"]["Availability"]
        if (state, availability) != ("ready", "active"):
            raise EngineError(
                f"the node {wanted} is {state}, {availability}: no task starts", hint=_OTHER_NODE
            )
        return str(node["ID"])

    def create_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> SwarmSecret:
        """Create a secret."""
        with self._calls():
            created = self._client.create_secret(name, content, labels=dict(labels))
        return SwarmSecret(secret_id=created["ID"], name=name, labels=labels)

    def run_once(self, spec: TaskSpec) -> str:
        """Create a service of one task, and return its ID."""
        from docker.types import EndpointSpec, Placement, RestartPolicy, SecretReference, TaskTemplate
        from docker.types.services import ContainerSpec, DriverConfig, ServiceMode

        container = ContainerSpec(
            image=spec.image,
            args=list(spec.command),
            secrets=[
                SecretReference(secret.secret_id, secret.name, filename=file)
                for file, secret in spec.secrets.items()
            ],
            healthcheck={"Test": ["NONE"]},
            read_only=True,
            init=True,
            cap_drop=_CAPABILITIES,
            stop_grace_period=_STOP_SECONDS * 1_000_000_000,
        )
        template = TaskTemplate(
            container,
            restart_policy=RestartPolicy(condition="none"),
            placement=Placement(constraints=[f"node.id=={spec.node}"]),
            networks=[{"Target": spec.network}],
            # Whatever the node's own is: its log is read here.
            log_driver=DriverConfig("json-file"),
        )
        with self._calls():
            created = self._client.create_service(
                template,
                name=spec.name,
                labels=dict(spec.labels),
                mode=ServiceMode("replicated", 1),
                endpoint_spec=EndpointSpec(mode="dnsrr"),
            )
        return str(created["ID"])

    def services(self, label: str) -> Sequence[str]:
        """Return the IDs of the services with *label*, `NAME` or `NAME=VALUE`."""
        with self._calls():
            return [one["ID"] for one in self._client.services({"label": label})]

    def task_state(self, service_id: str) -> TaskState:
        """Return the state of the service's task."""
        with self._calls():
            found = self._client.tasks({"service": service_id})
        # Of tasks that replace each other, as after the loss of a node, the newest.
        status = max(found, key=lambda one: one["CreatedAt"])["Status"] if found else {"State": "new"}
        state = status["State"]
        text = status.get("Err") or status.get("Message") or ""
        return TaskState(
            is_started=state not in _WAITING,
            is_over=state not in _WAITING and state != _RUNNING,
            text=f"{state}: {text}",
        )

    def log(self, service_id: str) -> Sequence[str]:
        """Return the lines on standard output of the service's task so far."""
        # The library's own method would wait forever, and would raise other errors than it does elsewhere.
        log = self._request("GET", f"services/{service_id}/logs", params={"stdout": True})
        return _payload(log).decode(errors="replace").splitlines()

    def remove(self, label: str) -> None:
        """Remove the services and then the secrets with *label*."""
        for service_id in self.services(label):
            with self._calls():
                self._client.remove_service(service_id)
        with self._calls():
            for one in self._client.secrets({"label": label}):
                self._client.remove_secret(one["ID"])


def _payload(log: bytes) -> bytes:
    parts = []
    while len(log) > _HEADER_BYTES:
        end = _HEADER_BYTES + int.from_bytes(log[4:_HEADER_BYTES])
        parts.append(log[_HEADER_BYTES:end])
        log = log[end:]
    return b"".join(parts)


def _users(services: Sequence[Mapping[str, Any]]) -> Mapping[str, Users]:
    stacks = {_stack(one) for one in services if _is_own(one)} - {""}
    users: dict[str, Users] = {}
    for service in services:
        is_own = _is_own(service) or _stack(service) in stacks
        for mounted in _container(service).get("Secrets") or ():
            secret_id = mounted["SecretID"]
            users[secret_id] = Users.OURS if is_own else users.get(secret_id, Users.OTHERS)
    return users


def _container(service: Mapping[str, Any]) -> Mapping[str, Any]:
    return service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}


def _stack(service: Mapping[str, Any]) -> str:
    return str((service["Spec"].get("Labels") or {}).get(STACK_LABEL, ""))


def _is_own(service: Mapping[str, Any]) -> bool:
    """Return whether a service is this product's, or its driver."""
    container = _container(service)
    variables = container.get("Env") or ()
    is_server = all(any(one.startswith(wanted) for one in variables) for wanted in _OWN_VARIABLES)
    return is_server or (container.get("Args") or [])[:1] == _OWN_COMMAND


def _secret(found: Mapping[str, Any], users: Users) -> SwarmSecret:
    spec = found["Spec"]
    return SwarmSecret(
        secret_id=found["ID"],
        name=spec["Name"],
        labels=spec.get("Labels") or {},
        driver=(spec.get("Driver") or {}).get("Name", ""),
        is_template=bool(spec.get("Templating")),
        users=users,
    )
