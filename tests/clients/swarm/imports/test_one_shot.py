"""Docker's engine, as an import uses it, with Docker's client in this process."""

from typing import Any

import pytest
from docker.errors import APIError
from requests import ReadTimeout, Response

from vault.clients.swarm.engine import EngineError, EngineUnavailableError
from vault.clients.swarm.imports.one_shot import ImportEngine, TaskSpec, TaskState
from vault.clients.swarm.imports.plan import SwarmSecret, Users
from vault.common.errors import VaultError

SPEC = TaskSpec(
    name="import-1",
    image="image:1",
    command=("swarm", "import-task"),
    secrets={"order": SwarmSecret(secret_id="s1", name="order-1")},
    network="net",
    node="n1",
    labels={"run": "1"},
)


class Client:
    """Docker's client: it keeps its calls, and returns what a test sets."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.base_url = "http+docker://localhost"
        self.api_version = "1.45"
        self.replies: dict[str, Any] = {
            "info": {"Swarm": {"ControlAvailable": True, "NodeID": "n1"}},
            "services": [],
        }

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            reply = self.replies.get(name)
            if isinstance(reply, Exception):
                raise reply
            return reply

        return call


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return the client of engines in this test."""
    client = Client()
    monkeypatch.setattr("docker.APIClient", lambda **_: client)
    return client


def test_secrets_are_read_with_driver_and_labels(client: Client) -> None:
    """A secret has its name, its labels and, unless it is Docker's own, its driver."""
    client.replies["secrets"] = [
        {"ID": "1", "Spec": {"Name": "a", "Labels": {"x": "y"}}},
        {"ID": "2", "Spec": {"Name": "b", "Labels": None, "Driver": {"Name": "other"}}},
        {"ID": "3", "Spec": {"Name": "c", "Templating": {"Name": "golang"}}},
    ]
    engine = ImportEngine()
    assert engine.secrets() == [
        SwarmSecret(secret_id="1", name="a", labels={"x": "y"}),
        SwarmSecret(secret_id="2", name="b", driver="other"),
        SwarmSecret(secret_id="3", name="c", is_template=True),
    ]


def service(*secrets: str, stack: str = "", **container: Any) -> dict[str, Any]:
    """Return the description of a service that mounts secrets."""
    mounts = {"Secrets": [{"SecretID": one} for one in secrets]} if secrets else {}
    labels = {"com.docker.stack.namespace": stack} if stack else None
    return {"Spec": {"Labels": labels, "TaskTemplate": {"ContainerSpec": mounts | container}}}


def test_the_users_of_secrets_are_known(client: Client) -> None:
    """A secret is ours if the service, its driver or another service of their stacks mounts it."""
    server = ["MASTER_KEY_FILE=/run/secrets/k", "MONGO_URI_FILE=/run/secrets/m"]
    client.replies["services"] = [
        service("grafana", "shared", stack="vault"),
        service("key", "shared", stack="vault", Env=server),
        service("token", Args=["swarm-driver"]),
        service("other", "shared", Env=server[:1], Args=["serve"]),
        service(stack="shop"),
        {"Spec": {"TaskTemplate": {}}},
    ]
    names = ["grafana", "key", "other", "shared", "token", "unused"]
    client.replies["secrets"] = [{"ID": name, "Spec": {"Name": name}} for name in names]
    assert {one.name: one.users for one in ImportEngine().secrets()} == {
        "grafana": Users.OURS,
        "key": Users.OURS,
        "other": Users.OTHERS,
        "shared": Users.OURS,
        "token": Users.OURS,
        "unused": Users.NONE,
    }


def node(node_id: str, name: str, *, state: str = "ready", availability: str = "active") -> dict[str, Any]:
    return {
        "ID": node_id,
        "Description": {"Hostname": name},
        "Status": {"State": state},
        "Spec": {"Availability": availability},
    }


def test_a_node_has_an_id_or_a_name(client: Client) -> None:
    """The task runs on this engine's node, or on the one that is named; a half-joined one has no name."""
    client.replies["nodes"] = [node("n1", "a"), node("n2", "b"), {"ID": "n3"}]
    engine = ImportEngine()
    assert [engine.node(), engine.node("n2"), engine.node("b")] == ["n1", "n2", "n2"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("c", "0 nodes have the ID or name c"),
        ("b", "2 nodes have the ID or name b"),
        ("n1", "the node n1 is ready, drain: no task starts"),
        ("d", "the node d is down, active: no task starts"),
    ],
)
def test_a_node_without_tasks_is_refused(client: Client, wanted: str, reason: str) -> None:
    """A node on which the task would wait for ever is an error that names the option."""
    client.replies["nodes"] = [
        node("n1", "a", availability="drain"),
        node("n2", "b"),
        node("n3", "b"),
        node("n4", "d", state="down"),
    ]
    with pytest.raises(EngineError) as error:
        ImportEngine().node(wanted)
    assert error.value.problem == reason
    assert "--node" in error.value.hint


def test_a_secret_is_created(client: Client) -> None:
    """The content goes to Docker in the request's body, with the labels."""
    client.replies["create_secret"] = {"ID": "1"}
    assert ImportEngine().create_secret("a", b"hush", {"x": "y"}) == SwarmSecret(
        secret_id="1", name="a", labels={"x": "y"}
    )
    assert client.calls[-1] == ("create_secret", ("a", b"hush"), {"labels": {"x": "y"}})


def test_a_task_runs_once_without_privileges(client: Client) -> None:
    """The service has one task, on its node and network, that is not restarted and may change nothing."""
    client.replies["create_service"] = {"ID": "service"}
    assert ImportEngine().run_once(SPEC) == "service"
    _, (template,), options = client.calls[-1]
    container = template["ContainerSpec"]
    assert container["Image"] == "image:1"
    assert container["Args"] == ["swarm", "import-task"]
    assert container["ReadOnly"] is True
    assert container["CapabilityDrop"] == ["ALL"]
    assert container["Healthcheck"] == {"Test": ["NONE"]}
    [mounted] = container["Secrets"]
    assert (mounted["SecretID"], mounted["File"]["Name"]) == ("s1", "order")
    assert template["RestartPolicy"]["Condition"] == "none"
    assert template["Placement"]["Constraints"] == ["node.id==n1"]
    assert template["Networks"] == [{"Target": "net"}]
    assert template["LogDriver"]["Name"] == "json-file"
    assert options["mode"] == {"replicated": {"Replicas": 1}}
    assert options["endpoint_spec"]["Mode"] == "dnsrr"
    assert (options["name"], options["labels"]) == ("import-1", {"run": "1"})


def task(state: str, created: str = "2026", **status: str) -> dict[str, Any]:
    return {"CreatedAt": created, "Status": {"State": state, **status}}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], TaskState(is_started=False, is_over=False, text="new: ")),
        (
            [task("pending", Err="no node", Message="m")],
            TaskState(is_started=False, is_over=False, text="pending: no node"),
        ),
        (
            [task("running", Message="started")],
            TaskState(is_started=True, is_over=False, text="running: started"),
        ),
        ([task("complete")], TaskState(is_started=True, is_over=True, text="complete: ")),
        (
            [task("rejected", Err="No such image")],
            TaskState(is_started=True, is_over=True, text="rejected: No such image"),
        ),
        (
            [task("orphaned", "1"), task("running", "2"), task("failed", "0")],
            TaskState(is_started=True, is_over=False, text="running: "),
        ),
    ],
    ids=lambda value: value[0]["Status"]["State"] if isinstance(value, list) and value else "",
)
def test_the_state_is_that_of_the_newest_task(
    client: Client, tasks: list[dict[str, Any]], expected: TaskState
) -> None:
    """A task has not started, runs or is over, with Docker's explanation."""
    client.replies["tasks"] = tasks
    assert ImportEngine().task_state("service") == expected
    assert client.calls[-1] == ("tasks", ({"service": "service"},), {})


def reply(status: int, content: bytes) -> Response:
    made = Response()
    made.status_code = status
    made._content = content
    return made


def part(content: bytes) -> bytes:
    """Return a part of a log with its header."""
    return b"\x01\x00\x00\x00" + len(content).to_bytes(4) + content


def test_the_log_has_lines(client: Client) -> None:
    """The log is that of standard output, in lines, without the headers of Docker; the call has a timeout."""
    long = b"x" * 70_000
    client.replies["request"] = reply(200, part(b"one\ntw") + part(b"o\n") + part(b"\xff\n") + part(long))
    assert ImportEngine().log("service") == ["one", "two", "�", long.decode()]
    name, (method, url), options = client.calls[-1]
    assert (name, method, url) == ("request", "GET", "http+docker://localhost/v1.45/services/service/logs")
    assert options == {"params": {"stdout": True}, "timeout": 15}
    client.replies["request"] = reply(200, b"")
    assert ImportEngine().log("service") == []


def test_a_log_that_does_not_arrive_is_an_error(client: Client) -> None:
    """A node that hangs, and a refusal, are errors as those of other calls."""
    client.replies["request"] = ReadTimeout()
    with pytest.raises(EngineUnavailableError, match="Docker does not answer"):
        ImportEngine().log("service")
    client.replies["request"] = reply(404, b'{"message": "service x not found"}')
    with pytest.raises(EngineError, match="service x not found"):
        ImportEngine().log("service")


def test_services_go_before_their_secrets(client: Client) -> None:
    """Services and secrets with the label are removed; Docker keeps a secret while a service has it."""
    client.replies["services"] = [{"ID": "a"}]
    client.replies["secrets"] = [{"ID": "s"}]
    ImportEngine().remove("x=y")
    assert client.calls[-4:] == [
        ("services", ({"label": "x=y"},), {}),
        ("remove_service", ("a",), {}),
        ("secrets", ({"label": "x=y"},), {}),
        ("remove_secret", ("s",), {}),
    ]


def test_failures_of_docker_are_errors(client: Client) -> None:
    """A refusal of Docker is an error with its reason."""
    engine = ImportEngine()
    response = Response()
    response.status_code = 400
    client.replies["secrets"] = APIError("x", response, explanation="network net not found")
    with pytest.raises(VaultError, match="network net not found"):
        engine.secrets()
