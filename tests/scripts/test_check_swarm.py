"""check_swarm.sh, with a real service at the ports of a swarm made of files."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.waiting import wait_until
from tests.scripts.conftest import Asking
from tests.scripts.runs import SCRIPTS, answering, recording_path

pytestmark = pytest.mark.process

_SERVICE = "secret-manager_secret-manager"
_TASK = "josj8cpfwwlahwmi2mhvldkp0"
_REAL_CURL = shutil.which("curl")

#: Replaces Docker: answers from the folder $STATE.
_DOCKER = r"""#!/bin/bash
cd "$STATE"
case "$*" in
    version*) echo 26.1.5 ;;
    info*) cat info ;;
    "node ls -q") cut -d ' ' -f 1 nodes ;;
    "node inspect "*) cat nodes ;;
    "service inspect "*Endpoint*) cat ports ;;
    "service inspect "*Env*) cat settings ;;
    "service inspect "*) [[ -e ports ]] ;;
    "service ls "*mongodb*) cut -d ' ' -f 1 tasks | grep mongodb ;;
    "service ls "*) [[ ! -e ports ]] || echo secret-manager_secret-manager ;;
    "service ps "*) sed -n "s/^${*: -1} //p" tasks ;;
    "service logs "*) [[ ! -e log ]] || sed "s/^/$SERVICE.1.$TASK@node-1    | /" log ;;
    "network ls "*) cut -d ' ' -f 1 networks | grep -v '^ingress$' ;;
    "network inspect "*) sed -n "s/^$3 *//p" networks ;;
    *) exit 1 ;;
esac
"""

#: Replaces curl while a test makes its requests special.
_CURL = """#!/bin/bash
{special}
exec {curl} "$@"
"""


@dataclass
class Swarm:
    """Three nodes with a member of MongoDB each, and one replica behind the port of all."""

    state: Path
    port: int
    parts: dict[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = {
            "info": ["active true"],
            "nodes": [self.node(number) for number in (1, 2, 3)],
            "ports": [f"8000 {self.port} ingress"],
            "settings": [],
            "networks": ["ingress encrypted =", f"{_SERVICE}-network encrypted = true"],
            "tasks": [
                f"{_SERVICE} {_TASK} id-1 Running 2 minutes ago",
                *(self.member(number, node=number) for number in (1, 2, 3)),
            ],
        }

    def node(self, number: int, state: str = "ready") -> str:
        """Return the line of a node."""
        return f"id-{number} node-{number} {state} active 127.0.0.1 127.0.0.1:2377"

    def member(self, number: int, *, node: int | None, state: str = "Running 2 minutes ago") -> str:
        """Return the line of a member's task."""
        return f"secret-manager_mongodb-{number} t{number} {f'id-{node}' if node else '-'} {state}"

    def change(self, name: str, old: str, new: str) -> None:
        """Replace the line *old* of the file *name*."""
        assert old in self.parts[name]
        self.parts[name] = [new if line == old else line for line in self.parts[name]]

    def curl(self, special: str) -> None:
        """Make each curl run *special* before its request."""
        (self.state / "curl").write_text(_CURL.format(special=special, curl=_REAL_CURL))
        (self.state / "curl").chmod(0o755)

    def command(self, *arguments: str, **environment: str) -> tuple[list[str], Mapping[str, str]]:
        """Return the command and its environment."""
        for name, lines in self.parts.items():
            (self.state / name).write_text("".join(f"{line}\n" for line in lines))
        variables = {"PATH": f"{self.state}:{os.environ['PATH']}", "STATE": str(self.state)}
        return (
            [str(SCRIPTS / "check_swarm.sh"), *arguments],
            {**variables, "SERVICE": _SERVICE, "TASK": _TASK, **environment},
        )

    def check(self, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
        """Run the script; return its exit status, its errors and its lines."""
        command, settings = self.command(*arguments, **environment)
        done = subprocess.run(
            command, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr, done.stdout.splitlines()


@pytest.fixture
def swarm(asking: Asking, tmp_path: Path) -> Swarm:
    """Return a swarm at whose ports the service listens."""
    (tmp_path / "docker").write_text(_DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "log").symlink_to(asking.service.log)
    return Swarm(tmp_path, asking.service.port)


def post(asking: Asking, operation: str, **body: object) -> tuple[int, object]:
    """Return status and body of the administrator's request."""
    reply = asking.service.post(f"/vault/secret/{operation}", body, Authorization=f"Bearer {asking.admin}")
    return reply.status, reply.body


@pytest.fixture
def nothing_left(asking: Asking) -> Iterator[None]:
    """Fail if any secret of the script is left, or can be restored."""
    yield
    for deleted in (False, True):
        found = post(asking, "list", name_prefix="check-swarm/", deleted=deleted)
        assert found == (200, {"secrets": [], "cursor": None})


@pytest.mark.usefixtures("nothing_left")
def test_a_good_swarm_passes(swarm: Swarm, asking: Asking) -> None:
    """With everything in order, each result is ok, the exit status is 0, and nothing is left behind."""
    status, errors, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert (status, errors) == (0, "")
    assert lines == [
        *(f"ok           node node-{number}: ready" for number in (1, 2, 3)),
        f"ok           network {_SERVICE}-network: encrypted",
        "ok           network ingress: encrypted",
        *(f"ok           member mongodb-{number}: runs on node-{number}" for number in (1, 2, 3)),
        *(f"ok           create at node-{number} (127.0.0.1:{swarm.port})" for number in (1, 2, 3)),
        "ok           fetch at node-1: the secrets of node-2, node-3",
        "ok           fetch at node-2: the secrets of node-1, node-3",
        "ok           fetch at node-3: the secrets of node-1, node-2",
        "ok           addresses: replica josj8cpfwwla on node-1 recorded the client's, 127.0.0.1",
        "ok           deleted and purged: 3 secrets",
        "16 ok, 0 failed, 0 not checked",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        ("nodes", "NODE 3", "NODE 3 down", "FAILED       node node-3: down"),
        ("nodes", "NODE 3", "NODE 3 down", "FAILED       member mongodb-3: its node node-3 is down"),
        (
            "tasks",
            "MEMBER 3",
            "MEMBER 3 pending",
            "FAILED       member mongodb-3: not running (pending 5 seconds ago). Hint: docker service ps",
        ),
        (
            "tasks",
            "MEMBER 3",
            "MEMBER 3 on node 1",
            "FAILED       member mongodb-3: shares the node node-1 with mongodb-1. Hint: docs/nodes.md",
        ),
        (
            "networks",
            f"{_SERVICE}-network encrypted = true",
            f"{_SERVICE}-network encrypted = false",
            f"FAILED       network {_SERVICE}-network: not encrypted. Hint: driver_opts in stack.yml",
        ),
        (
            "networks",
            "ingress encrypted =",
            "ingress vxlanid_list = 4096",
            "FAILED       network ingress: not encrypted. Hint: publish with mode: host, or give the ",
        ),
    ],
    ids=["node", "member on it", "pending", "shared", "plain", "ingress"],
)
def test_a_defect_is_found(swarm: Swarm, name: str, old: str, new: str, finding: str) -> None:
    """Each defect of nodes, networks and members is one line, and the exit status is 1."""
    lines = {
        "NODE 3": swarm.node(3),
        "NODE 3 down": swarm.node(3, "down"),
        "MEMBER 3": swarm.member(3, node=3),
        "MEMBER 3 pending": swarm.member(3, node=None, state="Pending 5 seconds ago"),
        "MEMBER 3 on node 1": swarm.member(3, node=1),
    }
    swarm.change(name, lines.get(old, old), lines.get(new, new))
    status, errors, found = swarm.check("--skip", "requests", "--skip=addresses")
    assert (status, errors) == (1, "")
    assert [line for line in found if line.startswith(finding)]
    assert found[-3:-1] == ["not checked  requests: --skip", "not checked  addresses: --skip"]


@pytest.mark.usefixtures("nothing_left")
def test_another_address_in_the_trail_is_found(swarm: Swarm, asking: Asking) -> None:
    """A replica that records another address than the sender's is named, with both."""
    swarm.curl(f'{_REAL_CURL} "$@" | sed "s/ 127.0.0.1$/ 192.0.2.7/"; exit')
    status, _, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert status == 1
    [line] = [line for line in lines if line.startswith("FAILED")]
    assert (
        "addresses: replica josj8cpfwwla on node-1 recorded 127.0.0.1 in place of 192.0.2.7. Hint: " in line
    )


@pytest.mark.usefixtures("nothing_left")
def test_addresses_are_compared_without_logs(swarm: Swarm, asking: Asking) -> None:
    """Without logs that say which replica replied, a wrong address is found; a right one proves nothing."""
    (swarm.state / "log").unlink()
    # Only the node of the replica is asked.
    swarm.parts["ports"] = [f"8000 {swarm.port} host"]
    status, _, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert status == 0
    assert (
        "not checked  addresses: replica josj8cpfwwla on node-1: docker service logs has none of its replies"
        in lines
    )
    swarm.curl(f'{_REAL_CURL} "$@" | sed "s/ 127.0.0.1$/ 192.0.2.7/"; exit')
    status, _, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert status == 1
    assert any(
        line.startswith("FAILED       addresses: a replica recorded 127.0.0.1 in place of 192.0.2.7")
        for line in lines
    )


def test_missing_scopes_are_named(swarm: Swarm, asking: Asking) -> None:
    """With a token that may neither read the trail nor purge, the rest is checked; leftovers are named."""
    status, _, lines = swarm.check("--skip", "networks", VAULT_TOKEN=asking.token)
    assert status == 1
    assert any(
        line.startswith("not checked  addresses: the trail cannot be read: status 403: ") for line in lines
    )
    [failed] = [line for line in lines if line.startswith("FAILED")]
    assert failed.startswith("FAILED       delete and purge: status 403: ")
    names = failed.split("These expire within an hour: ")[1].split()
    assert len(names) == 3
    for name in names:
        # Leave nothing for the tests that look for leftovers.
        assert post(asking, "purge", name=name)[0] == 200


def test_silence_is_a_failure_of_its_node(swarm: Swarm, asking: Asking) -> None:
    """A port that refuses connections fails the create there; nothing is fetched or deleted."""
    swarm.parts["ports"] = ["8000 1 ingress"]
    status, _, lines = swarm.check("--skip", "networks", VAULT_TOKEN=asking.admin)
    assert status == 1
    refused = [line for line in lines if line.endswith("(127.0.0.1:1): no answer: connection refused")]
    assert len(refused) == 3
    assert "not checked  addresses: no secret was created" in lines
    assert any(
        line.startswith("FAILED       delete and purge: no answer: connection refused") for line in lines
    )


def test_another_value_is_found(swarm: Swarm, asking: Asking) -> None:
    """A node that returns something else than what was created fails."""
    with answering(lambda _: (200, b'{"secret_id":"an-id","restorable_until":null}')) as url:
        swarm.parts["ports"] = [f"8000 {urlsplit(url).port} ingress"]
        status, _, lines = swarm.check("--skip", "networks", VAULT_TOKEN=asking.admin)
    assert status == 1
    assert any(
        line.startswith("FAILED       fetch at node-1: not the secrets of node-2, node-3: ") for line in lines
    )
    assert "not checked  addresses: the trail has no addresses of these requests" in lines


@pytest.mark.usefixtures("nothing_left")
def test_a_node_without_a_replica_is_not_asked_in_host_mode(swarm: Swarm, asking: Asking) -> None:
    """With `mode: host`, only nodes with a replica are asked, and a single one fetches its own secret."""
    swarm.parts["ports"] = [f"8000 {swarm.port} host"]
    status, _, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert status == 0
    assert f"ok           create at node-1 (127.0.0.1:{swarm.port})" in lines
    assert "ok           fetch at node-1: the secrets of node-1" in lines
    assert not [line for line in lines if "at node-2" in line or "ingress" in line]


@pytest.mark.parametrize("ports", [[], ["9464 9464 ingress"], ["8000 0 host"]], ids=["none", "other", "any"])
def test_without_a_published_port_nothing_is_asked(
    swarm: Swarm, asking: Asking, ports: Sequence[str]
) -> None:
    """A service that publishes no port is not checked by requests, and the line says why."""
    swarm.parts["ports"] = ports
    status, _, lines = swarm.check(VAULT_TOKEN=asking.admin)
    assert status == 0
    assert "not checked  requests: the service publishes no port, or not the same one on all nodes" in lines


@pytest.mark.usefixtures("nothing_left")
def test_an_interruption_leaves_nothing_behind(swarm: Swarm, asking: Asking) -> None:
    """After SIGTERM in the middle, the secrets that exist are deleted and purged."""
    swarm.curl(
        'if [[ "$*" == */fetch-batch ]]; then touch "$STATE/fetching"; '
        "until [[ -e $STATE/go ]]; do sleep 0.05; done; fi"
    )
    command, settings = swarm.command(VAULT_TOKEN=asking.admin)
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: (swarm.state / "fetching").exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        (swarm.state / "go").touch()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, b"")


def test_the_token_is_no_argument(swarm: Swarm, asking: Asking, tmp_path: Path) -> None:
    """A token from a file is in no command line while curl runs."""
    token, recording = tmp_path / "token", tmp_path / "arguments"
    token.write_text(f"{asking.admin}\n")
    recording_path(swarm.state, recording)
    # Only the node of the replica is asked.
    swarm.parts["ports"] = [f"8000 {swarm.port} host"]
    status, _, _ = swarm.check("--token-file", str(token), "--skip", "addresses")
    assert status == 0
    seen = recording.read_bytes()
    assert b"check_swarm.sh" in seen
    assert asking.admin.encode() not in seen


@pytest.mark.parametrize(
    ("arguments", "environment", "parts", "status", "reason"),
    [
        (["--unknown"], {}, {}, 2, "unexpected argument. Hint: check_swarm.sh --help"),
        (["--skip", "all"], {}, {}, 2, "--skip takes one of: nodes networks members requests addresses"),
        (["--token-file="], {}, {}, 2, "--token-file requires a value"),
        (["--token-file", "/none"], {}, {}, 1, "--token-file must be a readable file"),
        ([], {}, {}, 1, "export VAULT_TOKEN, or use --token-file"),
        ([], {"VAULT_TOKEN": "a b"}, {}, 1, "the token contains whitespace or control characters"),
        ([], {"VAULT_TOKEN": "a", "VAULT_ROLE": "a\nb"}, {}, 1, "VAULT_ROLE contains whitespace or control"),
        ([], {}, {"info": ["active false"]}, 1, "this node is not a swarm manager"),
        ([], {}, {"nodes": []}, 1, "the managers do not answer"),
        ([], {"VAULT_TOKEN": "a"}, {"settings": ["TLS_CERT=/run/a"]}, 1, "export its URL as VAULT_URL"),
    ],
    ids=lambda case: " ".join(case)[:20] if isinstance(case, list) else "",
)
def test_a_check_that_cannot_work_asks_nothing(
    swarm: Swarm,
    asking: Asking,
    arguments: list[str],
    environment: dict[str, str],
    parts: dict[str, Sequence[str]],
    status: int,
    reason: str,
) -> None:
    """The script says what is missing or wrong before it sends anything."""
    before = asking.service.log.read_bytes()
    swarm.parts.update(parts)
    done, errors, lines = swarm.check(*arguments, **environment)
    assert (done, lines) == (status, [])
    assert errors.startswith("check_swarm.sh: ")
    assert reason in errors
    assert b"check-swarm" not in asking.service.log.read_bytes()[len(before) :]


def test_without_a_service_there_is_nothing_to_check(swarm: Swarm) -> None:
    """Without the service, the script says how to deploy it."""
    del swarm.parts["ports"]
    problem = "check_swarm.sh: the service does not exist: deploy it with scripts/deploy.sh\n"
    assert swarm.check(VAULT_TOKEN="a")[:2] == (1, problem)
