"""A stand-in for Docker: the parts of its library and program that the deployment uses, without containers.

Time passes only in pauses. A service's tasks run once it is created or updated, and jobs end at once.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

from docker.errors import APIError
from requests import Response

STACK = "secret-manager"
API = f"{STACK}_secret-manager"
IMAGE = "registry.example.com/secret-manager:1"

Found = dict[str, Any]

#: When tasks begin and services are updated, in the order of the letters.
EARLIER, NOW, LATER = "2026-11-26T11:59:59Z", "2026-11-26T12:00:00.5Z", "2026-11-26T12:00:00.75Z"


def refused(status: int, message: str) -> APIError:
    """Return a refusal of Docker."""
    reply = Response()
    reply.status_code = status
    return APIError(message, reply, message)


@dataclass
class Job:
    """How a job with certain words in its command ends, and what it prints."""

    output: str = ""
    state: str = "complete"
    error: str = ""
    node: str = "A"


@dataclass
class World:
    """A swarm, which the operator commands from node A."""

    nodes: list[Found] = field(default_factory=list)
    services: dict[str, Found] = field(default_factory=dict)
    tasks: dict[str, list[Found]] = field(default_factory=dict)
    secrets: dict[str, Found] = field(default_factory=dict)
    configs: dict[str, Found] = field(default_factory=dict)
    overlays: list[Found] = field(default_factory=list)
    #: What was changed, in order, as lines.
    made: list[str] = field(default_factory=list)
    #: The specifications of the jobs.
    jobs: list[Found] = field(default_factory=list)
    #: How jobs end, by words in their commands; other jobs print nothing.
    ends: dict[str, Job | Callable[[], Job]] = field(default_factory=dict)
    #: The calls of the program, and what they print, by their beginnings; an exit code is a failure.
    called: list[tuple[tuple[str, ...], Mapping[str, Any]]] = field(default_factory=list)
    prints: dict[str, str | int | Callable[[], str]] = field(default_factory=dict)
    #: What `config check` prints about the settings, and its exit code.
    settings_check: tuple[int, str] = (0, '{"result": "ok", "setting": "", "text": "fine"}\n')
    #: What happens at a time.
    events: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    #: The services of the stack files, as Docker merges them.
    stack_file: Found = field(default_factory=dict)
    time: float = 0
    #: Until this time, the swarm has no leader.
    leaderless_until: float = 0
    #: The number of updates that another one overtakes.
    overtaken: int = 0
    version: str = "26.1.5"
    state: str = "active"
    is_manager: bool = True
    #: Called for each service that the program deploys.
    on_deploy: Callable[[str], object] = lambda _: None

    # ---- what tests set up

    def node(self, name: str, state: str = "ready", availability: str = "active", label: str = "") -> None:
        """Add a node, with a label `mongodb`."""
        self.nodes.append(
            {
                "ID": name,
                "Version": {"Index": 1},
                "Spec": {"Availability": availability, "Labels": {"mongodb": label} if label else {}},
                "Description": {"Hostname": f"node-{name.lower()}"},
                "Status": {"State": state, "Addr": "127.0.0.1"},
                "ManagerStatus": {"Addr": "127.0.0.1:2377"},
            }
        )

    @property
    def container(self) -> Found:
        """What the service's containers are."""
        found: Found = self.services[API]["Spec"]["TaskTemplate"]["ContainerSpec"]
        return found

    @property
    def job_containers(self) -> list[Found]:
        """What the containers of the jobs are."""
        return [job["TaskTemplate"]["ContainerSpec"] for job in self.jobs]

    def nodes_are(self, *lines: str) -> None:
        """Set the nodes: each line has name, state, availability and label."""
        self.nodes.clear()
        for line in lines:
            self.node(*line.split())

    def service(self, name: str, *environment: str, on: str = "A", replicas: int = 1, **spec: Any) -> Found:
        """Add a service of the stack, whose tasks run on a node; without one, they wait for it."""
        container = {"Image": IMAGE, "Env": list(environment), "Secrets": [], "Configs": [], **spec}
        found = {
            "ID": f"{STACK}_{name}",
            "Version": {"Index": 1},
            "Spec": {
                "Name": f"{STACK}_{name}",
                "Mode": {"Replicated": {"Replicas": replicas}},
                "TaskTemplate": {"ContainerSpec": container},
            },
            "ServiceStatus": {"CompletedTasks": 0},
        }
        self.services[found["ID"]] = found
        self.tasks[found["ID"]] = [self.task(found["ID"], number, on) for number in range(replicas)]
        return found

    def task(self, name: str, number: int, node: str = "A", **status: str) -> Found:
        """Return a task of a service."""
        state = {"State": "running"} if node else {"State": "pending", "Err": "no suitable node"}
        return {
            "ID": f"{name}-{number}-{len(self.made)}",
            "CreatedAt": NOW,
            "DesiredState": "running",
            "NodeID": node,
            "Status": state | status,
            "Spec": json.loads(json.dumps(self.services[name]["Spec"]["TaskTemplate"])),
        }

    def secured(self, *environment: str, on: str = "AAA", **settings: Any) -> None:
        """Add a secured deployment of one key, with members on these nodes; without one, a member waits."""
        self.service("secret-manager", *environment, "MONGO_URI_FILE=/run/secrets/mongo_uri", replicas=2)
        for number, node in enumerate(on, start=1):
            self.service(f"mongodb-{number}", on=node.strip(), Args=["mongod", "--keyFile=k"])
        self.service("replica-set")["ServiceStatus"]["CompletedTasks"] = 1
        for name in settings.get("secrets", ("master_key_v1",)):
            self.secret(name, key="a1")

    def secret(self, name: str, key: str = "", **labels: str) -> None:
        """Add a Docker secret, with the ID of its key."""
        self.secrets[name] = {
            "ID": f"id-{name}",
            "Spec": {"Name": name, "Labels": ({"secret-manager.key-id": key} if key else {}) | labels},
        }

    def config(self, name: str, step: str = "", data: bytes = b"", **labels: str) -> None:
        """Add a Docker config, with the step of a rotation that made it."""
        labels |= {"secret-manager.rotation": step} if step else {}
        spec = {"Name": name, "Labels": labels, "Data": b64encode(data).decode()}
        created = f"2026-11-26T12:00:{len(self.made):02}Z"
        self.configs[name] = {
            "ID": f"id-{name}",
            "CreatedAt": created,
            "Version": {"Index": 1},
            "Spec": spec,
        }

    def members_say(self, *states: str) -> Job:
        """Let the members of the replica set have these states, and return how that job ends."""
        lines = [
            json.dumps({"member": f"mongodb-{number}:27017", "state": state})
            for number, state in enumerate(states, start=1)
        ]
        self.ends["replicaset status"] = end = Job("\n".join(lines))
        return end

    def updating(self, seconds: float, name: str = API) -> None:
        """Let the update of a service take some time."""
        self.services[name]["UpdateStatus"] = state = {"State": "updating", "StartedAt": NOW}
        self.at(seconds, lambda: state.update(State="completed"))

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """Let something happen at a time."""
        self.events.append((seconds, event))

    # ---- time

    def monotonic(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.time += seconds
        due = [event for moment, event in self.events if moment <= self.time]
        self.events = [one for one in self.events if one[0] > self.time]
        for event in due:
            event()

    # ---- the library

    def client(self, **_: Any) -> Any:
        """Return the library's client."""
        return _Client(self)

    # ---- the program

    def run(self, command: tuple[str, ...], **options: Any) -> CompletedProcess[str]:
        """Return what a call of the program does."""
        arguments = command[1:]
        self.called.append((arguments, options))
        line = " ".join(arguments)
        for beginning, printed in self.prints.items():
            if line.startswith(beginning):
                found = printed() if callable(printed) else printed
                status = found if isinstance(found, int) else 0
                return CompletedProcess(command, status, "" if isinstance(found, int) else found)
        printed = ""
        if " config check " in line:
            return CompletedProcess(command, *self.settings_check)
        if line.startswith("stack config"):
            printed = json.dumps(self.stack_file)
        elif line.startswith("stack deploy"):
            self._deploy(json.loads(options["input"].replace("$$", "$")), options["env"])
        elif line.startswith("logs "):
            printed = self._end(self.jobs[-1]).output
        return CompletedProcess(command, 0, printed)

    def _deploy(self, file: Found, environment: Mapping[str, str]) -> None:
        names = list(file["services"])
        self.made.append(f"deploy {' '.join(names)}")
        self.deployed_with = environment
        for name in names:
            if f"{STACK}_{name}" not in self.services:
                self.service(name, replicas=int(environment["REPLICAS"]) if name == "secret-manager" else 1)
            self.services[f"{STACK}_{name}"]["ServiceStatus"]["CompletedTasks"] = int(name == "replica-set")
            self.on_deploy(name)

    def change(self, name: str, state: str = "completed") -> None:
        """Change the specification of a service, as a deployment of something else does."""
        service = self.services[f"{STACK}_{name}"]
        service["Spec"]["TaskTemplate"]["ForceUpdate"] = len(self.made)
        service["UpdateStatus"] = {"State": state, "StartedAt": NOW}

    def _end(self, spec: Found) -> Job:
        container = spec["TaskTemplate"]["ContainerSpec"]
        command = " ".join((*container["Command"], *container["Args"]))
        for words, end in self.ends.items():
            if words in command:
                return end() if callable(end) else end
        return Job()


class _Client:
    """The methods of the library's client."""

    base_url, api_version = "http://docker", "1.45"

    def __init__(self, world: World) -> None:
        self._world = world

    def _answer(self) -> None:
        if self._world.time < self._world.leaderless_until:
            raise refused(503, "The swarm does not have a leader.")

    def close(self) -> None:
        pass

    def version(self) -> Found:
        return {"Version": self._world.version}

    def info(self) -> Found:
        swarm = {"LocalNodeState": self._world.state, "ControlAvailable": self._world.is_manager}
        return {"Swarm": {**swarm, "NodeID": "A"}}

    def nodes(self) -> list[Found]:
        self._answer()
        return list(self._world.nodes)

    def inspect_node(self, node_id: str) -> Found:
        return next(node for node in self._world.nodes if node["ID"] == node_id)

    def update_node(self, node_id: str, version: int, spec: Found) -> None:
        assert version == 1
        self.inspect_node(node_id)["Spec"] = spec
        self._world.made.append(f"label {node_id} {spec['Labels']['mongodb']}")

    def services(self, filters: Mapping[str, str], *, status: bool = False) -> list[Found]:
        self._answer()
        assert status in (True, False)
        found = deepcopy([*self._world.services.values()])
        return [one for one in found if one["Spec"]["Name"].startswith(filters["name"])]

    def tasks(self, filters: Mapping[str, Any]) -> list[Found]:
        self._answer()
        if "-job-" not in filters["service"]:
            return deepcopy(self._world.tasks[filters["service"]])
        end = self._world._end(self._world.jobs[-1])
        status = {"State": end.state, "Err": end.error}
        return [{"CreatedAt": NOW, "NodeID": end.node, "Status": status}] if end.state else []

    def containers(self, *, filters: Mapping[str, Any], **_: bool) -> list[Found]:
        [label] = filters["label"]
        return [{"Id": "container-of-this-node"}] if "healthy" in str(filters) or "-job-" in label else []

    def networks(self, names: object = None, **_: object) -> list[Found]:
        return [one for one in self._world.overlays if (one["Name"] == "ingress") == bool(names)]

    def secrets(self) -> list[Found]:
        return list(self._world.secrets.values())

    def create_secret(self, name: str, data: bytes, *, labels: Mapping[str, str]) -> None:
        self._world.secret(name, **labels)
        self._world.made.append(f"secret {name} {data.decode()} {labels}")

    def remove_secret(self, secret_id: str) -> None:
        del self._world.secrets[secret_id.removeprefix("id-")]
        self._world.made.append(f"remove {secret_id}")

    def configs(self, filters: Mapping[str, str]) -> list[Found]:
        self._answer()
        return [one for name, one in self._world.configs.items() if name.startswith(filters["name"])]

    def create_config(self, name: str, data: bytes, *, labels: Mapping[str, str]) -> None:
        if name in self._world.configs:
            raise refused(409, "a config of this name exists")
        step = labels.get("secret-manager.rotation", "")
        self._world.config(name, data=data, **labels)
        self._world.made.append(f"config {name} {step} {data.decode().strip()}")

    def remove_config(self, config_id: str) -> None:
        del self._world.configs[config_id.removeprefix("id-")]
        self._world.made.append(f"remove {config_id}")

    def create_service(self, template: Found, *, name: str, **spec: Any) -> None:
        self._answer()
        self._world.services[name] = {"ID": name, "Spec": {"Name": name}}
        self._world.jobs.append({"Name": name, "TaskTemplate": template, **spec})

    def remove_service(self, service_id: str) -> None:
        del self._world.services[service_id]

    def inspect_image(self, _: str) -> Found:
        return {"Id": "sha256:0123456789abcdef"}

    def inspect_container(self, _: str) -> Found:
        return {"Image": "sha256:0123456789abcdef"}

    def tag(self, image: str, name: str, number: str) -> None:
        self._world.made.append(f"tag {image} {name}:{number}")

    def request(self, _: str, url: str, *, json: Found, **__: object) -> Any:
        """Update a service, at its URL."""
        if self._world.overtaken:
            self._world.overtaken -= 1
            raise refused(500, "rpc error: update out of sequence")
        service = self._world.services[url.split("/")[-2]]
        name = service["Spec"]["Name"].removeprefix(f"{STACK}_")
        service["PreviousSpec"], service["Spec"] = service["Spec"], json
        service["UpdateStatus"] = {"State": "completed"}
        container = json["TaskTemplate"]["ContainerSpec"]
        names = [
            one.get("SecretName") or one["ConfigName"] for one in container["Secrets"] + container["Configs"]
        ]
        self._world.made.append(f"update {name} {' '.join(container['Env'] + names)}")
        return SimpleNamespace(status_code=200, content=b"")


def key_of(letter: str) -> str:
    """Return a master key."""
    return b64encode(bytes(ord(letter) + number for number in range(32))).decode()
