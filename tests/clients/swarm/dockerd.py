"""A stand-in for Docker's API: the part of a swarm that rotations use, without containers.

A restart replaces the tasks of a service at the same time, and asks for their secrets as a manager does: one
delivery for each task and secret.
"""

import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Returns the value for a task and the labels of a secret; None if the service refuses it.
Deliver = Callable[[dict[str, str], dict[str, str]], bytes | None]


#: The desired states of tasks that run, or start after a delay.
_KEPT = {"running", "ready"}


class Dockerd:
    """A swarm with one manager."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._count = 0
        self.is_manager = True
        #: Statuses and messages of the next replies, before anything else happens.
        self.failures: list[tuple[int, str]] = []
        #: The services that were restarted, in order.
        self.restarted: list[str] = []
        self.services: dict[str, dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = [{"ID": "node1", "Description": {"Hostname": "manager-1"}}]
        self.secrets: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        #: Values with which tasks do not become healthy, by the name of the service.
        self.unhealthy: dict[str, set[bytes]] = {}
        #: Called with the name of a service that is about to restart.
        self.before_restart: Callable[[str], object] = lambda _: None
        #: True if unhealthy tasks end immediately: until another one starts, none is kept running.
        self.is_crashing = False
        #: The state of the next updates that succeed.
        self.update_state = "completed"
        #: The number of requests until an update goes on; before, old tasks stop and new ones are ready.
        self.stopping = 0
        #: The updates that go on then.
        self._stopping: list[tuple[int, str]] = []

    def new_id(self, kind: str) -> str:
        """Return an ID."""
        self._count += 1
        return f"{kind}{self._count:020}"

    def secret(self, docker_name: str, **labels: str) -> str:
        """Create a secret of the driver and return its ID."""
        secret_id = self.new_id("secret")
        prefixed = {f"secret-manager.{key}": text for key, text in labels.items()}
        self.secrets[secret_id] = {
            "ID": secret_id,
            "Spec": {"Name": docker_name, "Labels": prefixed, "Driver": {"Name": "secret-manager"}},
        }
        return secret_id

    def service(
        self,
        name: str,
        secrets: list[str],
        *,
        mode: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
    ) -> str:
        """Create a service, start its tasks, and return its ID."""
        service_id = self.new_id("service")
        mounts = [{"SecretID": one, "SecretName": one, "File": {"Name": one}} for one in secrets]
        self.services[service_id] = {
            "ID": service_id,
            "Version": {"Index": 10},
            "Spec": {
                "Name": name,
                "Labels": labels or {},
                "Mode": mode or {"Replicated": {"Replicas": 2}},
                "TaskTemplate": {"ContainerSpec": {"Secrets": mounts}},
            },
        }
        for slot in range(1, self._replicas(service_id) + 1):
            self._start(service_id, slot)
        return service_id

    def remove_service(self, name: str) -> None:
        """Remove a service and its tasks."""
        [service_id] = [one for one, found in self.services.items() if found["Spec"]["Name"] == name]
        del self.services[service_id]
        self.tasks = [task for task in self.tasks if task["ServiceID"] != service_id]

    def tasks_of(self, name: str) -> list[dict[str, Any]]:
        """Return the tasks of a service that run, or are about to."""
        ids = {one for one, found in self.services.items() if found["Spec"]["Name"] == name}
        return [task for task in self.tasks if task["ServiceID"] in ids and task["DesiredState"] in _KEPT]

    def redeliver(self) -> None:
        """Ask for the secrets of running tasks again, as a new leader does: their files stay as they are."""
        for task in self.tasks:
            if task["DesiredState"] == "running":
                self._values(task)

    def _replicas(self, service_id: str) -> int:
        mode = self.services[service_id]["Spec"]["Mode"]
        return int(mode["Replicated"]["Replicas"]) if "Replicated" in mode else 1

    def _values(self, task: dict[str, Any]) -> list[bytes | None]:
        spec = self.services[task["ServiceID"]]["Spec"]
        context = {
            "service": spec["Name"],
            "service_id": task["ServiceID"],
            "task_id": task["ID"],
            "node": "node1",
        }
        found = [self.secrets[one["SecretID"]] for one in task["Spec"]["ContainerSpec"]["Secrets"]]
        return [self._deliver(context, one["Spec"]["Labels"]) for one in found if "Driver" in one["Spec"]]

    def _start(self, service_id: str, slot: int) -> bool:
        """Start a task, and return whether it becomes healthy."""
        found = self.services[service_id]["Spec"]
        task: dict[str, Any] = {
            "ID": self.new_id("task"),
            "ServiceID": service_id,
            "NodeID": "node1",
            "CreatedAt": datetime.now(UTC).isoformat().replace("+00:00", "000Z"),
            "DesiredState": "running",
            "Status": {"State": "running"},
            "Spec": json.loads(json.dumps(found["TaskTemplate"])),
        }
        if "Replicated" in found["Mode"]:
            task["Slot"] = slot
        values = self._values(task)
        is_healthy = None not in values and not self.unhealthy.get(found["Name"], set()) & set(values)
        if not is_healthy:
            task["Status"]["State"] = "failed" if self.is_crashing else "starting"
            task["DesiredState"] = "shutdown" if self.is_crashing else "running"
        self.tasks.append(task)
        return is_healthy

    def _restart(self, service_id: str) -> None:
        name = self.services[service_id]["Spec"]["Name"]
        self.before_restart(name)
        self.restarted.append(name)
        self.services[service_id].pop("UpdateStatus", None)
        if self.stopping:
            self._stop(service_id)
        else:
            self._replace(service_id)

    def _stop(self, service_id: str) -> None:
        """Begin an update that stops each task before the next one starts."""
        service = self.services[service_id]
        service["UpdateStatus"] = {"State": "updating", "Message": "update in progress"}
        for task in self.tasks_of(service["Spec"]["Name"]):
            ready = {"ID": self.new_id("task"), "DesiredState": "ready", "Status": {"State": "new"}}
            self.tasks.append(json.loads(json.dumps(task)) | ready)
            task["DesiredState"] = "shutdown"
        self._stopping.append((self.stopping, service_id))

    def _go_on(self) -> None:
        """End the updates whose time has come."""
        waiting, self._stopping = self._stopping, []
        for left, service_id in waiting:
            if left:
                self._stopping.append((left - 1, service_id))
            else:
                self._replace(service_id)

    def _replace(self, service_id: str) -> None:
        """Replace the tasks of a service whose specification is another than its own."""
        service = self.services[service_id]
        template = service["Spec"]["TaskTemplate"]
        slots = range(1, self._replicas(service_id) + 1)
        for task in self.tasks_of(service["Spec"]["Name"]) or [{"Slot": slot} for slot in slots]:
            if task.get("DesiredState") == "running" and task["Spec"] == template:
                continue
            task["DesiredState"] = "shutdown"
            if not self._start(service_id, task.get("Slot", 0)):
                self._give_up(service_id, self.tasks[-1]["ID"])
                return
        service["UpdateStatus"] = {"State": self.update_state, "Message": "update completed"}

    def _give_up(self, service_id: str, task_id: str) -> None:
        """Pause an update, or take it back: then, tasks that have it already stay until their turn comes."""
        service = self.services[service_id]
        action = service["Spec"].get("UpdateConfig", {}).get("FailureAction", "pause")
        state = {"pause": "paused", "rollback": "rollback_started"}[action]
        if action == "rollback":
            service["Spec"] = service["PreviousSpec"]
        message = f"update {state} due to failure of task {task_id}"
        service["UpdateStatus"] = {"State": state, "Message": message}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return status and body of the answer to a request."""
        self._go_on()
        if self.failures:
            status, message = self.failures.pop(0)
            return status, {"message": message}
        for expected, pattern, reply in self._replies(query, body):
            if method == expected and (found := re.fullmatch(pattern, path)):
                return reply(*found.groups())
        raise AssertionError(f"{method} {path}")

    def _replies(
        self, query: dict[str, list[str]], body: Any
    ) -> list[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        filters = json.loads(query.get("filters", ["{}"])[0])
        return [
            ("GET", "/info", lambda: (200, {"Swarm": {"ControlAvailable": self.is_manager}})),
            ("GET", "/nodes", lambda: (200, self.nodes)),
            ("GET", "/services", lambda: (200, list(self.services.values()))),
            ("GET", "/services/([^/]+)", lambda key: self._found(self.services, key)),
            (
                "POST",
                "/services/([^/]+)/update",
                lambda key: self._updated(self.services, key, query, body, self._restart),
            ),
            ("GET", "/secrets", lambda: (200, list(self.secrets.values()))),
            ("GET", "/tasks", lambda: (200, self._tasks(filters))),
            ("GET", "/configs", lambda: (200, self._configs(filters["name"][0]))),
            ("POST", "/configs/create", lambda: self._created(body)),
            (
                "POST",
                "/configs/([^/]+)/update",
                lambda key: self._updated(self.configs, key, query, body, lambda _: None),
            ),
            ("DELETE", "/configs/([^/]+)", self._removed),
        ]

    def _tasks(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        return [
            task
            for task in self.tasks
            if task["DesiredState"] in filters.get("desired-state", task["DesiredState"])
            and task["ServiceID"] in filters.get("service", task["ServiceID"])
        ]

    def _configs(self, beginning: str) -> list[dict[str, Any]]:
        return [one for one in self.configs.values() if one["Spec"]["Name"].startswith(beginning)]

    def _removed(self, config_id: str) -> tuple[int, Any]:
        return (204, None) if self.configs.pop(config_id, None) else (404, {"message": "not found"})

    def _found(self, kept: dict[str, dict[str, Any]], key: str) -> tuple[int, Any]:
        return (200, kept[key]) if key in kept else (404, {"message": f"{key} not found"})

    def _created(self, spec: Any) -> tuple[int, Any]:
        assert b64decode(spec["Data"])
        if any(one["Spec"]["Name"] == spec["Name"] for one in self.configs.values()):
            return 409, {"message": "rpc error: code = AlreadyExists desc = config exists already"}
        config_id = self.new_id("config")
        self.configs[config_id] = {"ID": config_id, "Version": {"Index": 10}, "Spec": spec}
        return 201, {"ID": config_id}

    def _updated(
        self,
        kept: dict[str, dict[str, Any]],
        key: str,
        query: dict[str, list[str]],
        spec: Any,
        effect: Callable[[str], object],
    ) -> tuple[int, Any]:
        if key not in kept:
            return 404, {"message": f"{key} not found"}
        if [str(kept[key]["Version"]["Index"])] != query["version"]:
            return 500, {"message": "rpc error: code = Unknown desc = update out of sequence"}
        assert spec["Name"] == kept[key]["Spec"]["Name"]
        kept[key]["Version"] = {"Index": kept[key]["Version"]["Index"] + 1}
        kept[key]["PreviousSpec"], kept[key]["Spec"] = kept[key]["Spec"], spec
        effect(key)
        return 200, {}


@contextmanager
def serving(dockerd: Dockerd, path: Path) -> Iterator[str]:
    """Serve the API on the socket *path* during the block, and return its `DOCKER_HOST`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "null")
            parts = urlsplit(self.path)
            if parts.path == "/version":
                status, content = 200, {"ApiVersion": "1.45"}
            else:
                path = re.sub(r"^/v1\.45", "", parts.path)
                status, content = dockerd.answer(self.command, path, parse_qs(parts.query), body)
            sent = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()
