"""Docker's engine on a manager of a swarm: tasks with their secrets of the driver, services and configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from time import time
from typing import Any

from vault.clients.delivery.outcomes import InvalidRequestError
from vault.clients.delivery.selection import Selection, selection
from vault.common.errors import VaultError
from vault.common.outcomes import Exit
from vault.common.text import printable

#: The name of the driver in stack files, unless its socket has another one.
DRIVER = "secret-manager"

#: The timeout of a call. Without a leader, managers answer after longer than a client can wait.
_TIMEOUT_SECONDS = 15

#: States without a secret: the task has no node yet, or it has ended. A lost task may run on its node.
_WITHOUT_SECRETS = frozenset({"new", "allocated", "pending", "complete", "shutdown", "failed", "rejected"})

#: Docker's refusal of an update of what has changed since it was read.
_OUT_OF_SEQUENCE = "update out of sequence"


class EngineError(VaultError):
    """Docker refuses a call; the message has its reason."""

    kind = "docker_refused"


class EngineUnavailableError(EngineError):
    """Docker does not answer, or its swarm has no leader for now."""

    kind = "docker_away"
    exit_code = Exit.UNAVAILABLE


class ChangedError(EngineError):
    """A config was changed, or removed, by others."""

    kind = "docker_config_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmService:
    """A service of the swarm."""

    id: str
    name: str
    labels: Mapping[str, str]
    #: The number of tasks that it wants; None for one on each node.
    replicas: int | None
    #: True if its tasks end by themselves.
    is_job: bool
    #: The state of its last update, such as `updating` or `paused`; empty if there was none.
    update_state: str
    update_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task that Docker keeps running."""

    id: str
    service: SwarmService
    #: The service's name and the slot, or the node in a global service.
    name: str
    #: The host name of its node; empty without one.
    node: str
    #: Docker's state, such as `running` or `starting`.
    state: str
    #: The reason of that state, if it is an error.
    error: str
    created_at: datetime
    #: The labels of its secrets that the driver delivers.
    secrets: Sequence[Selection]

    @property
    def is_running(self) -> bool:
        """True if it runs, and is healthy if its image has a health check."""
        return self.state == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One of Docker's configs: its version, which each change increases, and its labels."""

    id: str
    index: int
    labels: Mapping[str, str]


class Engine:
    """The engine that `DOCKER_HOST` names, or the one of this machine.

    All methods raise:
        EngineUnavailableError: Docker does not answer; a change may have been made.
        EngineError: It refuses.
    """

    def __init__(self, driver: str = DRIVER) -> None:
        """Connect to the engine, a manager of a swarm whose secrets *driver* delivers."""
        # Imported lazily: the driver does without.
        from docker import APIClient
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env
        from requests import RequestException

        self._driver = driver
        self._errors = (DockerException, RequestException)
        with self._calls():
            self._client = APIClient(version="auto", timeout=_TIMEOUT_SECONDS, **kwargs_from_env())
        try:
            self._require_manager()
        except EngineError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def tasks(self, service_id: str = "") -> Sequence[Task]:
        """Return the tasks that Docker keeps running or is about to run, all or those of a service."""
        # A task that is to start after a delay has its secrets already.
        wanted: dict[str, Any] = {"desired-state": ["running", "ready"]}
        if service_id:
            wanted["service"] = service_id
        with self._calls():
            services = {one["ID"]: _service(one) for one in self._client.services()}
            nodes = {one["ID"]: hostname(one) for one in self._client.nodes()}
            secrets = {
                one["ID"]: found
                for one in self._client.secrets()
                if (found := _selection(one["Spec"], self._driver))
            }
            found = self._client.tasks(filters=wanted)
        # A service can have been made, or removed, meanwhile.
        return [
            _task(one, service, nodes.get(one.get("NodeID"), ""), secrets)
            for one in found
            if (service := services.get(one.get("ServiceID")))
        ]

    def living(self) -> frozenset[str]:
        """Return the IDs of all tasks that may have a secret, also of those that Docker stops."""
        with self._calls():
            found = self._client.tasks()
        return frozenset(one["ID"] for one in found if one["Status"]["State"] not in _WITHOUT_SECRETS)

    def service(self, service_id: str) -> SwarmService | None:
        """Return a service; None if it was removed."""
        found = self._service(service_id)
        return _service(found) if found else None

    def restart(self, service_id: str) -> bool:
        """Begin to replace all tasks of a service, in the way that its update configuration says.

        Returns:
            False if the service changed at this moment, as when its tasks come and go: try again.
        """
        found = self._service(service_id)
        if not found:
            return True
        # The specification as it is: the library's own method would add defaults to it.
        spec = found["Spec"]
        template = spec["TaskTemplate"]
        # A number that no task has: after Docker's rollback, some have one above the specification's, and
        # Docker does not replace a task whose specification is the new one already.
        template["ForceUpdate"] = max(template.get("ForceUpdate", 0) + 1, int(time() * 1_000))
        try:
            self._update(f"services/{service_id}", found["Version"]["Index"], spec)
        except ChangedError:
            return False
        return True

    def create_config(self, name: str, labels: Mapping[str, str], data: bytes = b"-") -> bool:
        """Create a config, and return False if there is one of this name."""
        try:
            with self._calls():
                self._client.create_config(name, data, labels=dict(labels))
        except ChangedError:
            return False
        return True

    def config(self, name: str) -> Config | None:
        """Return the config of this name, if there is one."""
        with self._calls():
            found = [one for one in self._client.configs({"name": name}) if one["Spec"]["Name"] == name]
        for one in found:
            return Config(id=one["ID"], index=one["Version"]["Index"], labels=one["Spec"].get("Labels") or {})
        return None

    def relabel_config(self, name: str, config: Config, labels: Mapping[str, str]) -> None:
        """Replace the labels of *config*, unless it has changed since it was read.

        Raises:
            ChangedError: It has, or it was removed.
        """
        spec = {"Name": name, "Data": "LQ==", "Labels": dict(labels)}
        self._update(f"configs/{config.id}", config.index, spec)

    def remove_config(self, config: Config) -> None:
        """Remove *config*, if it exists."""
        from docker.errors import NotFound

        with self._calls():
            try:
                self._client.remove_config(config.id)
            except NotFound:
                return

    def _require_manager(self) -> None:
        with self._calls():
            state = self._client.info()["Swarm"]
        if not state["ControlAvailable"]:
            raise EngineError(
                "this Docker engine is not a manager of a swarm",
                hint="run this on one that is, or set DOCKER_HOST",
            )

    def _service(self, service_id: str) -> dict[str, Any] | None:
        from docker.errors import NotFound

        with self._calls():
            try:
                found: dict[str, Any] = self._client.inspect_service(service_id)
            except NotFound:
                return None
        return found

    def _update(self, path: str, index: int, spec: Mapping[str, Any]) -> None:
        """Update what is at *path*, within the timeout also where the library has none."""
        url = f"{self._client.base_url}/v{self._client.api_version}/{path}/update"
        with self._calls():
            reply = self._client.request(
                "POST", url, params={"version": index}, json=spec, timeout=_TIMEOUT_SECONDS
            )
            if reply.status_code != HTTPStatus.OK:
                raise _refusal(reply.status_code, reply.json().get("message", ""))

    @contextmanager
    def _calls(self) -> Iterator[None]:
        """Turn the library's errors into those of this module."""
        from docker.errors import APIError

        try:
            yield
        except APIError as error:
            raise _refusal(error.status_code, error.explanation or "") from None
        except self._errors as error:
            raise EngineUnavailableError(
                f"Docker does not answer ({_cause(error)})", hint="start it, or set DOCKER_HOST"
            ) from None


def _refusal(status: int, message: str) -> EngineError:
    # One line: in a text of Docker, a container or an image can have a line of its own.
    reason = printable(message)
    if status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND) or _OUT_OF_SEQUENCE in reason:
        return ChangedError(f"Docker answers {status}: {reason}")
    # Docker answers so while its swarm has no leader, and while it stops.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return EngineUnavailableError(f"Docker answers {status}: {reason}")
    return EngineError(f"Docker answers {status}: {reason}")


def _cause(error: BaseException) -> str:
    """Return the name of the operating system's error below *error*, or of *error* itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def hostname(node: Mapping[str, Any]) -> str:
    """Return the host name of a node; empty while it joins."""
    return str((node.get("Description") or {}).get("Hostname", ""))


def _selection(spec: Mapping[str, Any], driver: str) -> Selection | None:
    """Return what the labels of Docker's secret select; None if the *driver* delivers nothing for it."""
    if (spec.get("Driver") or {}).get("Name") != driver:
        return None
    try:
        return selection(spec.get("Labels") or {})
    except InvalidRequestError:
        return None


def _service(found: Mapping[str, Any]) -> SwarmService:
    spec, update = found["Spec"], found.get("UpdateStatus") or {}
    mode = spec["Mode"]
    return SwarmService(
        id=found["ID"],
        name=spec["Name"],
        labels=spec.get("Labels") or {},
        replicas=mode["Replicated"].get("Replicas", 1) if "Replicated" in mode else None,
        is_job=not mode.keys() & {"Replicated", "Global"},
        update_state=update.get("State", ""),
        update_message=printable(update.get("Message", "")),
    )


def _task(
    found: Mapping[str, Any], service: SwarmService, node: str, secrets: Mapping[str, Selection]
) -> Task:
    container = found["Spec"].get("ContainerSpec") or {}
    status = found["Status"]
    mounted = [one["SecretID"] for one in container.get("Secrets") or ()]
    return Task(
        id=found["ID"],
        service=service,
        name=f"{service.name}.{found.get('Slot') or node}",
        node=node,
        state=status["State"],
        error=status.get("Err", ""),
        created_at=_time(found["CreatedAt"]),
        secrets=[secrets[secret_id] for secret_id in mounted if secret_id in secrets],
    )


def _time(text: str) -> datetime:
    """Return a time of Docker's, which has nanoseconds."""
    return datetime.fromisoformat(text[:19] + "+00:00")
