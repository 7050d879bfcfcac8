"""A manager of the swarm: Docker's own descriptions of the deployment, and changes to them.

While the swarm elects a leader, it does not answer: questions are asked again for some time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from time import monotonic, sleep
from typing import Any, TypeVar

from vault.clients.swarm import engine
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.engine import ChangedError, Config, Engine, EngineUnavailableError

STACK = "secret-manager"
SERVICE = f"{STACK}_secret-manager"
#: The schedule of backups, which needs the same keys.
BACKUP = f"{STACK}_backup"

_OLDEST_DOCKER = 26
_ANSWER_SECONDS = 30
#: A second apart.
_CHANGE_TRIES = 10
#: The time between two lines about one wait.
_REMIND_SECONDS = 30

Found = dict[str, Any]
Answer = TypeVar("Answer")


class Progress:
    """Lines for the operator, by *say*, and the clock of all waits."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say

    def now(self) -> float:
        """Return the time in seconds."""
        return monotonic()

    def since(self, start: float) -> float:
        """Return the seconds since *start*."""
        return self.now() - start

    def wait(
        self, limit: float, what: Callable[[], str] | None = None, *, pause: float = 1
    ) -> Iterator[None]:
        """Yield now and after each *pause*, until the *limit* in seconds.

        It says at times *what* a long wait is for.
        """
        start = reminded = self.now()
        while True:
            yield
            if self.since(start) >= limit:
                return
            if what and self.since(reminded) >= _REMIND_SECONDS:
                reminded = self.now()
                self.say(f"Still waiting after {self.since(start):.0f} s: {what()}.")
            sleep(pause)


class Manager(Engine):
    """The engine of a manager. Docker's descriptions are as its API has them."""

    def __init__(self, progress: Progress) -> None:
        """Connect to the engine.

        Raises:
            EngineUnavailableError: It does not answer.
            DeploymentError: It is too old, or no manager of a swarm that has a leader.
        """
        self.progress = progress
        super().__init__()

    def _require_manager(self) -> None:
        with self._calls():
            version = str(self._client.version()["Version"])
            swarm = self._client.info()["Swarm"]
        if int(version.split(".")[0]) < _OLDEST_DOCKER:
            raise DeploymentError(f"Docker {version} is too old", hint="install Docker 26 or newer")
        if swarm["LocalNodeState"] == "inactive":
            raise DeploymentError("this engine is not part of a swarm", hint="run docker swarm init")
        if not swarm["ControlAvailable"]:
            raise DeploymentError("this node is not a swarm manager", hint="run this command on one that is")
        self.node_id = str(swarm["NodeID"])
        try:
            with self._calls():
                self._client.nodes()
        except EngineUnavailableError:
            raise DeploymentError(
                "the swarm has no leader", hint="bring back managers until most of them are up"
            ) from None

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """Return the answer to *question*, a call of Docker's library, and raise what `Engine` does."""
        with self._calls():
            return question(self._client)

    def answer(self, question: Callable[[Any], Answer]) -> Answer:
        """Return the answer to *question*, also if the swarm is electing a leader.

        Raises:
            DeploymentError: It does not answer within 30 s.
        """
        for _ in self.progress.wait(_ANSWER_SECONDS):
            with suppress(EngineUnavailableError):
                return self.ask(question)
        raise DeploymentError("the swarm does not answer", hint="run this command again")

    def nodes(self) -> list[Found]:
        """Return the nodes, by host name."""
        return sorted(self.answer(lambda client: client.nodes()), key=hostname)

    def is_drained(self) -> bool:
        """Return whether this node takes no tasks."""
        return not any(
            node["ID"] == self.node_id and node["Spec"]["Availability"] == "active" for node in self.nodes()
        )

    def label(self, node_id: str, name: str, text: str) -> None:
        """Give a node a label."""

        def change(client: Any) -> None:
            node = client.inspect_node(node_id)
            spec = {**node["Spec"], "Labels": {**(node["Spec"].get("Labels") or {}), name: text}}
            client.update_node(node_id, node["Version"]["Index"], spec)

        self._changed(change)

    def named(self, beginning: str) -> list[Found]:
        """Return the services whose names begin so, by name."""
        found = self.answer(lambda client: client.services({"name": beginning}))
        return sorted((one for one in found if _name(one).startswith(beginning)), key=_name)

    def find(self, name: str) -> Found | None:
        """Return the service of this name, if there is one."""
        return next((one for one in self.named(name) if _name(one) == name), None)

    def required(self, name: str = SERVICE) -> Found:
        """Return the service of this name.

        Raises:
            DeploymentError: It does not exist.
        """
        found = self.find(name)
        if not found:
            raise DeploymentError("the service does not exist", hint="deploy it with scripts/deploy.sh")
        return found

    def wanted(self, name: str) -> list[Found]:
        """Return the tasks that the service of this name should run now."""
        states = {"service": name, "desired-state": ["running", "ready"]}
        return self.answer(lambda client: client.tasks(states)) if self.find(name) else []

    def containers(self, label: str, value: str, **filters: str) -> list[str]:
        """Return the containers on this node, also ended ones, whose label of the swarm has this value."""
        wanted = {"label": [f"com.docker.swarm.{label}={value}"], **filters}
        found = self.answer(lambda client: client.containers(all=True, filters=wanted))
        return [str(one["Id"]) for one in found]

    def secrets(self, beginning: str = "") -> list[Found]:
        """Return Docker's secrets whose names begin so."""
        found = self.answer(lambda client: client.secrets())
        return [one for one in found if _name(one).startswith(beginning)]

    def secret(self, name: str) -> Found | None:
        """Return Docker's secret of this name, if there is one."""
        return next((one for one in self.secrets(name) if _name(one) == name), None)

    def create_secret(self, name: str, data: str, labels: Mapping[str, str]) -> None:
        """Create Docker's secret of this name."""
        self.ask(lambda client: client.create_secret(name, data.encode(), labels=dict(labels)))

    def reference(self, kind: str, name: str, file: Mapping[str, Any]) -> Found:
        """Return how a service refers to its secret or config of this name.

        Raises:
            DeploymentError: There is none.
        """
        found = self.secret(name) if kind == "Secret" else self.config(name)
        if not found:
            raise DeploymentError(f"there is no Docker {kind.lower()} {name}")
        found_id = found.id if isinstance(found, Config) else found["ID"]
        return {f"{kind}ID": found_id, f"{kind}Name": name, "File": dict(file)}

    def config(self, name: str) -> Config | None:
        """Return Docker's config of this name, if there is one."""
        return self.answer(lambda _: super(Manager, self).config(name))

    def tagged(self, latest: str) -> str:
        """Return a name of the image by its content: Swarm would not notice a new one under an old name."""

        def tag(client: Any) -> str:
            image = client.inspect_image(latest)["Id"]
            number = image.removeprefix("sha256:")[:12]
            client.tag(image, STACK, number)
            return f"{STACK}:{number}"

        return self.ask(tag)

    def update(self, name: str, edit: Callable[[Found], object]) -> None:
        """Update the specification of a service by *edit*, which changes it in place."""

        def change(_: Any) -> None:
            service = self.required(name)
            edit(service["Spec"])
            self._update(f"services/{service['ID']}", service["Version"]["Index"], service["Spec"])

        self._changed(change)

    def _changed(self, change: Callable[[Any], None]) -> None:
        """Make a change, and begin again if another one came first."""
        waits = enumerate(self.progress.wait(inf), start=1)
        for tries, _ in waits:  # pragma: no branch - it ends by a return or an error
            try:
                self.ask(change)
            except ChangedError:
                if tries == _CHANGE_TRIES:
                    raise
            else:
                return


def file_of(name: str, *, user: int, mode: int = 0o400) -> Found:
    """Return the file of a secret or config in a task."""
    return {"Name": name, "UID": str(user), "GID": str(user), "Mode": mode}


def container_of(service: Found, spec: str = "Spec") -> Found:
    """Return what the tasks of *service* are, or were before its last update."""
    found: Found = (service.get(spec) or {}).get("TaskTemplate", {}).get("ContainerSpec", {})
    return found


def _name(found: Found) -> str:
    return str(found["Spec"]["Name"])


def hostname(node: Found) -> str:
    """Return the host name of a node, or its ID while it joins."""
    return engine.hostname(node) or str(node["ID"])
