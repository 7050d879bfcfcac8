"""`swarm check-deployment`, with a real service at the ports of a swarm that is none."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
from click.testing import Result

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import API, World
from tests.support.access import tokens
from tests.support.databases import new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod
from vault.clients.swarm.deployment.ports import Ports, Reply

pytestmark = pytest.mark.process

_TASK = "josj8cpfwwlahwmi2mhvldkp0"


class Asking(NamedTuple):
    """A service that requires a credential, and tokens of a writer and an administrator."""

    token: str
    admin: str
    service: Service

    def post(self, operation: str, **body: object) -> tuple[int, object]:
        """Return status and body of the administrator's request."""
        path = f"/vault/secret/{operation}"
        reply = self.service.post(path, body, Authorization=f"Bearer {self.admin}")
        return reply.status, reply.body


@pytest.fixture(scope="module")
def asking(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Run a service that requires a credential."""
    folder = tmp_path_factory.mktemp("asking")
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri}
        settings |= {"AUTH_ENABLED": "true", "DELETE_RECOVERY_DAYS": "1"}
        token = tokens(settings, folder, "create", "--name", "ci", "--role", "writer")
        admin = tokens(settings, folder, "create", "--name", "boss", "--role", "admin")
        with Service(settings, patient=True, folder=folder) as service:
            yield Asking(token, admin, service)


@pytest.fixture
def nodes(swarm: World, asking: Asking) -> World:
    """Return a swarm of three nodes with a member of MongoDB each, and one replica behind the port of all."""
    swarm.node("B")
    swarm.node("C")
    swarm.secured(on="ABC")
    swarm.tasks[API] = [swarm.task(API, 1) | {"ID": _TASK}]
    publish(swarm, asking.service.port)
    swarm.overlays = [
        {"Name": f"{API}-network", "Options": {"encrypted": "true"}},
        {"Name": "ingress", "Options": {"encrypted": ""}},
    ]
    prefix = f"{API}.1.{_TASK}@node-1    | "

    def logs() -> str:
        return "".join(f"{prefix}{line}\n" for line in Path(asking.service.log).read_text().splitlines())

    swarm.prints["service logs"] = logs
    return swarm


def publish(swarm: World, port: int, mode: str = "ingress", target: int = 8000) -> None:
    """Publish the service's port."""
    found = {"TargetPort": target, "PublishedPort": port, "PublishMode": mode}
    swarm.services[API]["Endpoint"] = {"Ports": [found]}


Check = Callable[..., tuple[Result, list[str]]]


@pytest.fixture
def check(run: Run, asking: Asking) -> Iterator[Check]:
    """Return a function that checks as the administrator, and returns the result and its lines.

    Fail if any secret of the command is left, or can be restored.
    """

    def check(*arguments: str, **environment: Any) -> tuple[Result, list[str]]:
        done = run("check-deployment", *arguments, **{"VAULT_TOKEN": asking.admin, **environment})
        return done, done.stdout.splitlines()

    yield check
    for deleted in (False, True):
        found = asking.post("list", name_prefix="check-swarm/", deleted=deleted)
        assert found == (200, {"secrets": [], "cursor": None})


def test_a_good_swarm_passes(nodes: World, check: Check, asking: Asking) -> None:
    """With everything in order, each result is ok, the exit status is 0, and nothing is left behind."""
    done, lines = check()
    port = asking.service.port
    assert (done.exit_code, done.stderr) == (0, "")
    assert lines == [
        *(f"ok           node node-{name}: ready" for name in "abc"),
        f"ok           network {API}-network: encrypted",
        "ok           network ingress: encrypted",
        *(f"ok           member mongodb-{n}: runs on node-{name}" for n, name in enumerate("abc", start=1)),
        *(f"ok           create at node-{name} (127.0.0.1:{port})" for name in "abc"),
        "ok           fetch at node-a: the secrets of node-b, node-c",
        "ok           fetch at node-b: the secrets of node-a, node-c",
        "ok           fetch at node-c: the secrets of node-a, node-b",
        "ok           addresses: replica josj8cpfwwla on node-a recorded the client's, 127.0.0.1",
        "ok           deleted and purged: 3 secrets",
        "16 ok, 0 failed, 0 not checked",
    ]
    # With two replicas, the swarm leads the second request to the other one.
    nodes.tasks[API].append(nodes.task(API, 2))
    done, lines = check("--json")
    found = [json.loads(line) for line in lines]
    task = nodes.tasks[API][1]["ID"][:12]
    text = f"addresses: replica {task} on node-a: docker service logs has none of its replies"
    assert {"result": "not checked", "text": text} in found


@pytest.mark.parametrize(
    ("finding", "defect"),
    [
        ("node node-c: down", lambda swarm: swarm.nodes[2]["Status"].update(State="down")),
        ("node node-c: ready, drain", lambda swarm: swarm.nodes[2]["Spec"].update(Availability="drain")),
        (
            "member mongodb-3: its node node-c is down",
            lambda swarm: swarm.nodes[2]["Status"].update(State="down"),
        ),
        ("member mongodb-3: its node C is down", lambda swarm: swarm.nodes.pop()),
        (
            "member mongodb-3: not running (pending). Hint: docker service ps --no-trunc",
            lambda swarm: swarm.tasks["secret-manager_mongodb-3"][0]["Status"].update(State="pending"),
        ),
        (
            "member mongodb-3: not running (no task)",
            lambda swarm: swarm.tasks["secret-manager_mongodb-3"].clear(),
        ),
        (
            "member mongodb-3: shares the node node-a with mongodb-1. Hint: docs/nodes.md",
            lambda swarm: swarm.tasks["secret-manager_mongodb-3"][0].update(NodeID="A"),
        ),
        (
            f"network {API}-network: not encrypted. Hint: driver_opts in stack.yml",
            lambda swarm: swarm.overlays[0]["Options"].update(encrypted="false"),
        ),
        (
            "network ingress: not encrypted. Hint: publish with mode: host, or give the service a ",
            lambda swarm: swarm.overlays[1].pop("Options"),
        ),
        ("networks: the stack secret-manager has no overlay network", lambda swarm: swarm.overlays.pop(0)),
    ],
)
def test_a_defect_is_found(
    nodes: World, check: Check, finding: str, defect: Callable[[World], object]
) -> None:
    """Each defect of nodes, networks and members is one line, and the exit status is 1."""
    defect(nodes)
    is_drained = "drain" in finding
    _, lines = check("--skip", "requests", "--skip=addresses", status=int(not is_drained))
    assert [line for line in lines if line.startswith(f"{'ok' if is_drained else 'FAILED':13}{finding}")]
    assert lines[-3:-1] == ["not checked  requests: --skip", "not checked  addresses: --skip"]


def test_a_stack_without_mongodb_has_no_members(nodes: World, check: Check) -> None:
    """MongoDB can be elsewhere; addresses are those of requests."""
    for number in (1, 2, 3):
        del nodes.services[f"secret-manager_mongodb-{number}"]
    _, lines = check("--skip", "requests", "--skip", "networks")
    assert "not checked  members: the stack secret-manager runs no MongoDB" in lines
    assert "not checked  addresses: that needs the requests" in lines


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each request come from another address than its sender knows."""
    post = Ports.post

    def from_elsewhere(self: Ports, *arguments: Any) -> Reply:
        return dataclasses.replace(post(self, *arguments), sender="192.0.2.7")

    monkeypatch.setattr(Ports, "post", from_elsewhere)


@pytest.mark.usefixtures("elsewhere", "nodes")
def test_another_address_in_the_trail_is_found(check: Check) -> None:
    """A replica that records another address than the sender's is named, with both."""
    _, lines = check(status=1)
    [line] = [line for line in lines if line.startswith("FAILED")]
    assert (
        "addresses: replica josj8cpfwwla on node-a recorded 127.0.0.1 in place of 192.0.2.7. Hint: " in line
    )


def test_addresses_are_compared_without_logs(
    nodes: World, check: Check, asking: Asking, request: pytest.FixtureRequest
) -> None:
    """Without logs that say which replica replied, a wrong address is found; a right one proves nothing."""
    nodes.prints["service logs"] = 1
    # Only the node of the replica is asked.
    publish(nodes, asking.service.port, "host")
    _, lines = check()
    label = "addresses: replica josj8cpfwwla on node-a: docker service logs has none of its replies"
    assert f"not checked  {label}" in lines
    request.getfixturevalue("elsewhere")
    _, lines = check(status=1)
    assert "FAILED       addresses: a replica recorded 127.0.0.1 in place of 192.0.2.7" in lines


@pytest.mark.usefixtures("nodes")
def test_missing_scopes_are_named(check: Check, asking: Asking) -> None:
    """With a token that may neither read the trail nor purge, the rest is checked; leftovers are named."""
    done, lines = check("--skip", "networks", VAULT_TOKEN=asking.token, status=1)
    assert "not checked  addresses: the trail cannot be read: status 403: " in done.stdout
    [failed] = [line for line in lines if line.startswith("FAILED")]
    assert failed.startswith("FAILED       delete and purge: status 403: ")
    names = failed.split("These expire within an hour: ")[1].split()
    assert len(names) == 3
    for name in names:
        # Leave nothing for the tests that look for leftovers.
        assert asking.post("purge", name=name)[0] == 200


def test_silence_is_a_failure_of_its_node(nodes: World, check: Check) -> None:
    """A port that refuses connections fails the create there; nothing is fetched or deleted."""
    publish(nodes, 1)
    done, lines = check("--skip", "networks", status=1)
    refused = [line for line in lines if line.endswith("(127.0.0.1:1): no answer: connection refused")]
    assert len(refused) == 3
    assert "not checked  addresses: no secret was created" in lines
    assert "FAILED       delete and purge: no answer: connection refused" in done.stdout


class _Odd(BaseHTTPRequestHandler):
    """A service with one reply to everything."""

    status = 200
    body = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[tuple[int, type[_Odd]]]:
    """Return the port of such a service, and its replies."""

    class Handler(_Odd):
        pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, Handler
        finally:
            server.shutdown()
            thread.join()


def test_another_value_is_found(nodes: World, check: Check, odd: tuple[int, type[_Odd]]) -> None:
    """A node that returns something else than what was created fails."""
    port, replies = odd
    replies.body = b'{"secret_id": "an-id", "restorable_until": null}'
    publish(nodes, port)
    done, lines = check("--skip", "networks", VAULT_TOKEN="t", VAULT_ROLE="team/api", status=1)
    assert "FAILED       fetch at node-a: not the secrets of node-b, node-c: " in done.stdout
    assert "not checked  addresses: the trail has no addresses of these requests" in lines


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b'{"detail": "Who are you?"}', "status 401: Who are you?"),
        (502, b"<html>\x1b[31m", "status 502: <html>"),
        (502, b"[]", "status 502: []"),
    ],
)
def test_a_refusal_is_shown(
    nodes: World, check: Check, odd: tuple[int, type[_Odd]], status: int, body: bytes, reason: str
) -> None:
    """What the service says is shown, without control characters; nothing is fetched."""
    port, replies = odd
    replies.status, replies.body = status, body
    publish(nodes, port)
    done, lines = check("--skip", "networks", "--skip", "addresses", VAULT_TOKEN="t", status=1)
    assert f"FAILED       create at node-a (127.0.0.1:{port}): {reason}" in "\n".join(lines)
    assert "\x1b" not in done.stdout
    assert "not checked  fetch at node-a: nothing was created elsewhere" in lines


def test_a_refused_fetch_is_shown(nodes: World, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node at which a fetch fails is named; one that is down is not asked."""
    nodes.nodes[2]["Status"]["State"] = "down"
    post = Ports.post

    def broken(self: Ports, address: str, path: str, body: Mapping[str, Any], request_id: str) -> Reply:
        if path.endswith("fetch-batch"):
            return Reply(status=0, body={}, reason="timed out")
        return post(self, address, path, body, request_id)

    monkeypatch.setattr(Ports, "post", broken)
    _, lines = check(status=1)
    assert "FAILED       fetch at node-b: no answer: timed out" in lines
    assert "not checked  create and fetch at node-c: it is down" in lines


def test_a_node_without_a_replica_is_not_asked_in_host_mode(
    nodes: World, check: Check, asking: Asking
) -> None:
    """With `mode: host`, only nodes with a replica are asked, and a single one fetches its own secret."""
    publish(nodes, asking.service.port, "host")
    # A manager does not always know its own address as a node.
    nodes.nodes[0]["Status"]["Addr"] = "0.0.0.0"  # noqa: S104 - as Docker shows it
    _, lines = check()
    assert f"ok           create at node-a (127.0.0.1:{asking.service.port})" in lines
    assert "ok           fetch at node-a: the secrets of node-a" in lines
    assert not [line for line in lines if "at node-b" in line or "ingress" in line]
    nodes.tasks[API].clear()
    _, lines = check(status=1)
    assert "FAILED       create: no node has a replica" in lines


@pytest.mark.parametrize("ports", [None, (9464, 9464), (0, 8000)], ids=["none", "other", "any"])
def test_without_a_published_port_nothing_is_asked(
    nodes: World, check: Check, ports: tuple[int, int] | None
) -> None:
    """A service that publishes no port is not checked by requests, and the line says why."""
    del nodes.services[API]["Endpoint"]
    nodes.nodes[2]["Status"]["Addr"] = "192.0.2.3"
    if ports:
        publish(nodes, ports[0], "host", ports[1])
    _, lines = check(VAULT_TOKEN="t")
    assert "not checked  requests: the service publishes no port, or not the same one on all nodes" in lines


@pytest.mark.parametrize("is_away", [False, True])
def test_an_interruption_leaves_nothing_behind(
    nodes: World, check: Check, asking: Asking, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    """After Ctrl-C in the middle, the secrets that exist are deleted and purged, or else named."""
    assert nodes
    post = Ports.post

    def interrupted(self: Ports, address: str, path: str, body: Mapping[str, Any], request_id: str) -> Reply:
        if path.endswith("fetch-batch"):
            raise KeyboardInterrupt
        if is_away and path.endswith("delete"):
            return Reply(status=0, body={}, reason="timed out")
        return post(self, address, path, body, request_id)

    monkeypatch.setattr(Ports, "post", interrupted)
    done, lines = check(status=130)
    assert done.stderr.strip() == "error: interrupted"
    left = [line for line in lines if "these secrets expire within an hour" in line]
    names = [one["name"] for one in asking.post("list", name_prefix="check-swarm/")[1]["secrets"]]  # type: ignore[index]
    assert (len(left), len(names)) == ((1, 3) if is_away else (0, 0))
    for name in names:
        asking.post("delete", name=name)
        asking.post("purge", name=name)


def test_the_token_can_be_in_a_file(nodes: World, check: Check, asking: Asking, tmp_path: Path) -> None:
    """A token from a file is no argument or variable."""
    assert nodes
    token = tmp_path / "token"
    token.write_text(f"{asking.admin}\n")
    assert check("--token-file", str(token), "--skip", "addresses")[0].exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "reason"),
    [
        (["--unknown"], {}, 2, "see `secret-manager swarm check-deployment --help`"),
        (["--skip", "all"], {}, 2, "must be one of 'nodes', 'networks'"),
        (["--token-file", "/none"], {}, 2, "token-file"),
        ([], {"VAULT_TOKEN": ""}, 1, "there is no terminal to ask for the token"),
        ([], {"VAULT_TOKEN": "a b"}, 1, "the token contains whitespace or control characters"),
        ([], {"VAULT_TOKEN": "a", "VAULT_ROLE": "a\nb"}, 2, "must be the name of a role"),
    ],
)
def test_a_check_that_cannot_work_asks_nothing(
    nodes: World, check: Check, arguments: list[str], environment: dict[str, str], status: int, reason: str
) -> None:
    """The command says what is missing or wrong before it sends anything."""
    assert nodes
    done, lines = check(*arguments, status=status, **environment)
    assert lines == []
    assert reason in done.stderr


def test_a_certificate_needs_a_name(nodes: World, check: Check) -> None:
    """If the service has a certificate, its URL says the name in it; a service without TLS fails there."""
    nodes.container["Env"].append("TLS_CERT=/run/a")
    done, _ = check(status=1, VAULT_TOKEN="a")
    assert "export its URL as VAULT_URL, such as https://secrets.example.com" in done.stderr
    done, lines = check(VAULT_URL="https://secrets.example.com", status=1)
    assert [line for line in lines if "create at node-a" in line and "no answer: " in line]
    assert not [line for line in lines if "ingress" in line]


def test_without_a_service_there_is_nothing_to_check(swarm: World, check: Check) -> None:
    """Without the service, or without nodes, the command says so."""
    done, _ = check(status=1, VAULT_TOKEN="a")
    assert done.stderr == "error: the service does not exist. Hint: deploy it with scripts/deploy.sh\n"
    swarm.secured()
    swarm.nodes.clear()
    assert "the managers do not answer" in check(status=1, VAULT_TOKEN="a")[0].stderr
