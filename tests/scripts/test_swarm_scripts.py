"""The decisions of deploy.sh and rotate_key.sh before they change anything, with a swarm made of files."""

import os
import re
import socket
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

_SCRIPTS = Path(__file__).parents[2] / "scripts"
_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

#: Replaces Docker: answers from the folder $STATE, and records the requested changes.
_DOCKER = r"""#!/bin/bash
cd "$STATE"
case "$*" in
    version*) echo 26.1.5 ;;
    info*) echo active true ;;
    "node ls "*) [[ ! -e leaderless ]] || exit 1 ;;&
    "node ls -q") cut -d ' ' -f 1 nodes ;;
    "node ls "*Hostname*) awk '{ print $1, $2, $3, $1 }' nodes ;;
    "node ls "*) cut -d ' ' -f 1-3 nodes ;;
    "node inspect "*) sed -n "s/^$3 [^ ]* [^ ]* *//p" nodes ;;
    *ConfigName*) echo "/etc/secret-manager/keyring.json keyring_v3" ;;
    "config inspect "*) grep -qx "$3" configs ;;
    "service ls "*Replicas*) echo '0/1 (1/1 completed)' ;;
    "service ls "*) cut -d ' ' -f 1 members; [[ ! -e service ]] || echo secret-manager_secret-manager ;;
    *UpdateStatus*) ;;
    *Replicated*) echo 2 ;;
    "service inspect secret-manager_mongodb-"*Args*) grep -q "^$3 " members && echo "[mongod --keyFile=k]" ;;
    "service inspect secret-manager_secret-manager "*) [[ -e service ]] && cat service ;;
    "service ps secret-manager_secret-manager "*) ;;
    "service ps secret-manager-job-"*) echo 'Complete|A|' ;;
    "service ps --no-resolve "*ready*) sed -n "s/^${*: -1} //p" members ;;
    "service ps "*ready*) ! grep -q "^$3 [^ ]" members || echo "Running|" ;;
    "service create "*) printf '%s\n' "$*" >>made ;;
    "service rm "*) ;;
    "logs "*) cat log ;;
    "secret ls "*) awk '/^master_key_v/ { print $1 " " $2 }' secrets ;;
    "secret inspect mongodb_key_file "*trial*) grep mongodb_key_file secrets | cut -sd ' ' -f 2 ;;
    "secret inspect "*) grep -qE "^$3( |$)" secrets ;;
    "secret create "*) printf '%s %s\n' "${*:3}" "$(cat)" >>made && echo "${*: -2:1}" >>secrets ;;
    "secret rm "*) printf '%s\n' "$*" >>made && sed -i "/^$3 /d" secrets ;;
    "build "*) printf '%s\n' "$*" >>made ;;
    "image inspect "*) echo sha256:0123456789abcdef ;;
    "tag "*) ;;
    "ps "*) echo container ;;
    "run "*stdin) echo "stdin id-of-$(cat)" ;;
    "run "*) printf '%s\n' "$*" "$(cat)" >>made ;;
    "stack config "*) printf 'services:\n  %s:\n' secret-manager replica-set mongodb-1 mongodb-2 mongodb-3 ;;
    "stack deploy "*)
        services=$(sed -n 's/^  //p' | paste -sd ' ')
        printf '%s\n' "$*" "$services" "${MONGO_IMAGE-}" "${KEYRING_CONFIG-}$MASTER_KEY_SECRET" >>made
        [[ $services != *secret-manager* ]]
        ;;
    "buildx imagetools inspect "*) grep "^$4 " registry | cut -d ' ' -f 2 | grep . ;;
    "node update "*) printf '%s\n' "${*:3}" >>made ;;
    *) exit 1 ;;
esac
"""


@dataclass
class Swarm:
    """A swarm for the scripts."""

    state: Path

    def has(self, name: str, *lines: str) -> None:
        """Set all existing items of one kind to *lines*."""
        (self.state / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, *command: str, **environment: str) -> tuple[int, str, list[str]]:
        """Return a script's exit status, its errors, and the objects it created and changed."""
        done = subprocess.run(
            command,
            env={"PATH": f"{self.state}:{os.environ['PATH']}", "STATE": str(self.state), **environment},
            cwd=_SCRIPTS.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        made = self.state / "made"
        return done.returncode, done.stderr, made.read_text().splitlines() if made.exists() else []

    def place(self) -> tuple[int, str, list[str]]:
        """Place MongoDB's members like deploy.sh."""
        sources = "source scripts/swarm_lib.sh; source scripts/mongodb_placement.sh"
        return self.run("bash", "-c", f"set -euo pipefail; {sources}; find_members; place_members")

    def deploy(self, **environment: str) -> tuple[int, str, list[str]]:
        """Deploy an image of a registry, up to Docker's own part."""
        return self.run("scripts/deploy.sh", IMAGE="registry.example.com/secret-manager:1", **environment)


@pytest.fixture
def swarm(tmp_path: Path) -> Swarm:
    """Return a swarm of one node, on which nothing is deployed."""
    (tmp_path / "docker").write_text(_DOCKER)
    (tmp_path / "docker").chmod(0o755)
    found = Swarm(tmp_path)
    found.has("nodes", "A Ready Active")
    found.has("members")
    found.has("secrets")
    found.has("configs")
    return found


def on(one: str, two: str, three: str) -> list[str]:
    """Return the members, each with its node."""
    return [
        f"secret-manager_mongodb-{number} {node}"
        for number, node in zip("123", (one, two, three), strict=True)
    ]


def test_one_node_needs_no_label(swarm: Swarm) -> None:
    """A single node stays unlabelled."""
    assert swarm.place() == (0, "", [])


def test_members_get_a_node_each_before_the_first_deployment(swarm: Swarm) -> None:
    """Three ready nodes get a member each; other nodes, including one that is down, get none."""
    swarm.has(
        "nodes", "A Down Active", "B Ready Active", "C Ready Drain", *(f"{n} Ready Active" for n in "DEF")
    )
    status, _, made = swarm.place()
    assert status == 0
    assert sorted(made) == [
        "--label-add mongodb=1 B",
        "--label-add mongodb=2 D",
        "--label-add mongodb=3 E",
        "--label-add mongodb=none A",
        "--label-add mongodb=none C",
        "--label-add mongodb=none F",
    ]


def test_running_members_are_labelled_on_their_nodes(swarm: Swarm) -> None:
    """For any order of the nodes, no label moves a member away from its data."""
    swarm.has("nodes", *(f"{node} Ready Active" for node in "ABCD"))
    swarm.has("members", *on("D", "A", "C"))
    status, _, made = swarm.place()
    assert status == 0
    assert sorted(made) == [
        "--label-add mongodb=1 D",
        "--label-add mongodb=2 A",
        "--label-add mongodb=3 C",
        "--label-add mongodb=none B",
    ]


def test_the_label_of_a_node_that_is_down_counts(swarm: Swarm) -> None:
    """While a member waits for its node, no other node gets its number."""
    swarm.has("nodes", "A Ready Active 1", "B Down Active 2", "C Ready Drain 3", "D Ready Active")
    swarm.has("members", *on("A", "", ""))
    assert swarm.place()[::2] == (0, ["--label-add mongodb=none D"])


@pytest.mark.parametrize("nodes", ["AB", "ABC"])
def test_members_that_all_share_a_node_stay_there(swarm: Swarm, nodes: str) -> None:
    """A deployment on one node stays on it when others join, with a message to the operator."""
    swarm.has("nodes", *(f"{node} Ready Active" for node in nodes))
    swarm.has("members", *on("B", "B", "B"))
    status, errors, made = swarm.place()
    assert status == 0
    assert sorted(made) == [f"--label-add mongodb=none {node}" for node in nodes if node != "B"]
    assert "All MongoDB members run on node B" in errors


def test_members_on_two_nodes_share_one(swarm: Swarm) -> None:
    """Two nodes are too few for a member each, so one node gets all of MongoDB."""
    swarm.has("nodes", "A Ready Active", "B Ready Active")
    assert swarm.place()[::2] == (0, ["--label-add mongodb=none B"])


@pytest.mark.parametrize(
    ("nodes", "members", "why"),
    [
        (["A", "B", "C"], ("A", "A", "B"), "share a node"),
        (["A", "B 2", "C none"], ("A", "B", "A"), "share a node"),
        (["A", "B", "C"], ("A", "", "B"), "mongodb-2 is not running"),
        (["A 1", "B", "C 3"], ("B", "B", "C"), "mongodb-1 runs on node B"),
    ],
)
def test_no_label_that_would_move_a_member_is_set(
    swarm: Swarm, nodes: list[str], members: tuple[str, str, str], why: str
) -> None:
    """If members share nodes, or are on unexpected ones, the operator must move them."""
    swarm.has("nodes", *(f"{node[0]} Ready Active{node[1:]}" for node in nodes))
    swarm.has("members", *on(*members))
    status, errors, made = swarm.place()
    assert (status, made) == (1, [])
    assert why in errors


def test_labels_that_leave_members_no_node_are_refused(swarm: Swarm) -> None:
    """With one manual label and too few nodes for the rest, nothing is deployed."""
    swarm.has("nodes", "A Ready Active 1", "B Ready Active", "C Down Active")
    status, errors, made = swarm.place()
    assert (status, made) == (1, [])
    assert "no node available for replica set members 2 3" in errors


def test_members_are_left_alone_while_one_is_away(swarm: Swarm) -> None:
    """With a node down, deploy.sh says what that means, and deploys everything except MongoDB."""
    swarm.has("nodes", "A Ready Active 1", "B Down Active 2", "C Ready Active 3", "D Down Active none")
    swarm.has("members", *on("A", "", "C"))
    _, errors, made = swarm.deploy(REPLICAS="2")
    assert "Node B is down, and so is mongodb-2." in errors
    assert "Node D is down. It has no member of MongoDB." in errors
    assert "2 members of MongoDB are left, and the service needs 2" in errors
    assert [line for line in made if line.endswith(":")] == ["replica-set:", "secret-manager:"]
    assert "--prune" not in "".join(made)


@pytest.mark.parametrize(
    ("nodes", "members", "why"),
    [
        (["A Ready Active 1", "B Down Active 2", "C Down Active 3"], ("A", "", ""), "2 of MongoDB's 3"),
        (["A Ready Active 1", "B Ready Drain 2", "C Down Active 3"], ("A", "", ""), "2 of MongoDB's 3"),
        (["A Ready Active", "B Down Active"], ("B", "B", "B"), "2 of MongoDB's 3"),
    ],
    ids=["two down", "one drained", "all down"],
)
def test_too_few_members_stop_a_deployment(
    swarm: Swarm, nodes: list[str], members: tuple[str, str, str], why: str
) -> None:
    """Without a majority of MongoDB the service cannot get ready, so nothing is changed or waited for."""
    swarm.has("nodes", *nodes)
    swarm.has("members", *on(*members))
    status, errors, made = swarm.deploy()
    assert (status, made) == (1, [])
    assert why in errors


def test_a_swarm_without_a_leader_is_refused(swarm: Swarm) -> None:
    """Without a leader, Docker answers no question, so the script stops before it draws a conclusion."""
    swarm.has("leaderless")
    status, errors, made = swarm.deploy()
    assert (status, made) == (1, [])
    assert "the swarm has no leader" in errors


def test_the_key_of_a_quick_start_is_kept(swarm: Swarm) -> None:
    """Without MASTER_KEY in the shell, a quick start's key goes into a new secret, labelled with its ID."""
    swarm.has("service", f"MASTER_KEY={_KEY}")
    swarm.has("secrets", "master_key_v1 another")
    _, errors, made = swarm.deploy()
    assert made[0] == f"--label secret-manager.key-id=id-of-{_KEY} master_key_v2 - {_KEY}"
    assert made[-1] == "master_key_v2"
    assert "The Docker secret master_key_v1 has the master key with the ID another." in errors


@pytest.mark.parametrize("label", ["", f" id-of-{_KEY}"], ids=["earlier version's", "labelled"])
def test_no_second_secret_has_the_same_key(swarm: Swarm, label: str) -> None:
    """If a secret has the quick start's key by its label, or as a job reads it, none is created."""
    swarm.has("service", f"MASTER_KEY={_KEY}")
    swarm.has("secrets", "master_key_v1 another", f"master_key_v2{label}")
    swarm.has("log", f"master_key_v2 id-of-{_KEY}")
    _, errors, made = swarm.deploy()
    assert f"The Docker secret master_key_v2 has the master key with the ID id-of-{_KEY}." in errors
    assert made[-1] == "master_key_v2"
    assert not [line for line in made if line.endswith(f" - {_KEY}")]
    mounted = [name for line in made for name in re.findall(r"source=(master_key_v.),", line)]
    assert mounted == ([] if label else ["master_key_v2"])


def test_an_exported_key_is_not_another_one(swarm: Swarm) -> None:
    """Without a service, an exported key goes into a new secret, unless one has it."""
    swarm.has("secrets", "master_key_v1 another")
    assert swarm.deploy(MASTER_KEY=_KEY)[2][-1] == "master_key_v2"
    swarm.has("secrets", f"master_key_v1 id-of-{_KEY}", "master_key_v2 another")
    assert swarm.deploy(MASTER_KEY=_KEY)[2][-1] == "master_key_v1"


def test_a_trial_s_placeholder_becomes_mongodb_s_key(swarm: Swarm) -> None:
    """The secret that stack.yml creates is replaced, and a real key is not."""
    swarm.has("secrets", "master_key_v1", "mongodb_key_file true")
    _, errors, made = swarm.deploy()
    assert made[:1] == ["secret rm mongodb_key_file"], errors
    assert made[1].startswith("mongodb_key_file - ")
    swarm.has("made")
    assert not [line for line in swarm.deploy()[2] if "mongodb_key_file" in line]


@pytest.mark.parametrize(
    ("service", "shell", "why"),
    [
        (f"MASTER_KEY={_KEY}", {"MASTER_KEY": _KEY.replace("M", "N")}, "another MASTER_KEY"),
        ("", {"MASTER_KEY": "short"}, "MASTER_KEY must be"),
        ("", {"MASTER_KEY": "abcd" * 8}, "too easy to guess"),
        ("", {"MASTER_KEY": b64encode(b"\0\1\2\3" * 8).decode()}, "too easy to guess"),
        ("", {"MASTER_KEY_FALLBACKS": _KEY}, "MASTER_KEY_FALLBACKS"),
        (f"MASTER_KEY_FALLBACKS={_KEY}", {}, "MASTER_KEY_FALLBACKS"),
        ("MASTER_KEY_FALLBACKS_FILE=/run/secrets/master_key_v1", {}, "a rotation is in progress"),
        ("", {"RATE_LIMIT_STORAGE_URI": "mongodb://u:p@db/"}, "RATE_LIMIT_STORAGE_URI_FILE"),
        ("", {"AUDIT_WITNESS_TOKEN": "smt_x"}, "AUDIT_WITNESS_TOKEN_FILE"),
        ("", {"OIDC_CLIENT_SECRET": "x"}, "OIDC_CLIENT_SECRET_FILE"),
    ],
)
def test_unsuitable_keys_and_passwords_are_refused(
    swarm: Swarm, service: str, shell: dict[str, str], why: str
) -> None:
    """An invalid or foreign key, or one that settings would show, stops the script before any change."""
    swarm.has("service", service)
    status, errors, made = swarm.deploy(**shell)
    assert (status, made) == (1, [])
    assert why in errors
    assert _KEY not in errors


def test_with_a_keyring_file_there_is_no_master_key(swarm: Swarm) -> None:
    """With stack.custody.yml, no Docker secret has a master key; the config with the file must exist."""
    command = ("scripts/deploy.sh", "deploy/stack.custody.yml")
    image = {"IMAGE": "registry.example.com/secret-manager:1"}
    status, errors, made = swarm.run(*command, **image)
    assert (status, made) == (1, [])
    assert "docker config create keyring_v1 keyring.json" in errors
    swarm.has("configs", "keyring_v1", "keyring_v3")
    swarm.has("service", "MASTER_KEYRING_FILE=/etc/secret-manager/keyring.json")
    assert "add the stack file that sets MASTER_KEYRING_FILE" in swarm.deploy()[1]
    _, errors, made = swarm.run(*command, **image)
    assert not [line for line in made if "master_key" in line]
    assert made[-1] == "keyring_v3"
    file, name = swarm.state / "stack.yml", "MASTER_KEYRING_FILE"
    for line in (f"- {name}=/k.json", f'- "{name}=/k.json"', f'"{name}": /k.json', f"{{{name}: /k.json}}"):
        file.write_text(f"services:\n  secret-manager:\n    environment:\n      {line}\n")
        _, errors, _ = swarm.run("scripts/deploy.sh", str(file), **image)
        assert "the service has a keyring file" not in errors, line


def test_one_of_several_keys_is_not_guessed(swarm: Swarm) -> None:
    """If no service names its key, the operator must; the service's answer has precedence."""
    swarm.has("secrets", "master_key_v1", "master_key_v2")
    status, errors, made = swarm.deploy()
    assert (status, made) == (1, [])
    for name in ("master_key_v1", "master_key_v2"):
        assert f"The Docker secret {name} has the master key with the ID unknown." in errors
    assert swarm.deploy(MASTER_KEY_SECRET="master_key_v1")[2][-1] == "master_key_v1"
    swarm.has("service", "MASTER_KEY_FILE=/run/secrets/master_key_v2")
    assert swarm.deploy(MASTER_KEY_SECRET="master_key_v1")[2][-1] == "master_key_v2"


def test_an_update_does_not_look_for_a_newer_mongodb(swarm: Swarm) -> None:
    """An image with an unchanged name is not replaced by the registry's current one."""
    swarm.has("secrets", "master_key_v1")
    assert "--resolve-image changed" in "".join(swarm.deploy()[2])


DIGEST = f"sha256:{'0123456789abcdef' * 4}"
IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "MONGO_IMAGE": "mongo:7.0",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.13.3",
    "GRAFANA_IMAGE": "grafana/grafana:12.4.4",
}


def test_every_external_image_is_pinned_by_its_digest(swarm: Swarm, tmp_path: Path) -> None:
    """pin_images.sh writes the registry's digest of each image that the files name."""
    file = tmp_path / "images.env"
    swarm.has("registry", *(f"{image} {DIGEST}" for image in IMAGES.values()))
    status, _, _ = swarm.run("scripts/pin_images.sh", IMAGES_FILE=str(file))
    assert status == 0
    assert file.read_text().splitlines() == [f"{name}={image}@{DIGEST}" for name, image in IMAGES.items()]


@pytest.mark.parametrize("output", ["", "mongo:7.0 <none>"])
def test_a_registry_without_a_digest_changes_nothing(swarm: Swarm, tmp_path: Path, output: str) -> None:
    """Without an answer for every image the file stays unchanged, and no digest is invented."""
    file = tmp_path / "images.env"
    file.write_text("MONGO_IMAGE=mongo:7.0@sha256:before\n")
    swarm.has("registry", f"python:3.13-slim {DIGEST}", output)
    status, errors, _ = swarm.run("scripts/pin_images.sh", IMAGES_FILE=str(file))
    assert status == 1
    assert "mongo:7.0" in errors
    assert file.read_text() == "MONGO_IMAGE=mongo:7.0@sha256:before\n"


def test_no_external_image_is_named_elsewhere() -> None:
    """Every image that the deployment takes from a registry can be replaced by its digest."""
    root = _SCRIPTS.parent
    stages = [
        line.split(" ")
        for name in ("Dockerfile", "loadtest/Dockerfile")
        for line in (root / name).read_text().splitlines()
        if line.startswith("FROM ")
    ]
    assert {stage[1] for stage in stages} - {stage[3] for stage in stages if "AS" in stage} == {
        "${PYTHON_IMAGE}"
    }
    names = set()
    for file in (root / "stack.yml", *root.glob("deploy/*.yml")):
        for image in re.findall(r"^ *image: (.*)$", file.read_text(), re.MULTILINE):
            variable = re.fullmatch(r"\$\{((?:[A-Z]+_)?IMAGE):-[^}]+\}", image)
            assert variable, image
            names.add(variable[1])
    assert names == {"IMAGE", "CLIENT_IMAGE", "MONGO_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}


def test_a_deployment_uses_the_pinned_images(swarm: Swarm, tmp_path: Path) -> None:
    """deploy.sh builds from and deploys the pinned images; exported variables have precedence."""
    file = tmp_path / "images.env"
    file.write_text("".join(f"{name}={image}@{DIGEST}\n" for name, image in IMAGES.items()))
    _, errors, made = swarm.run("scripts/deploy.sh", IMAGES_FILE=str(file))
    assert f"--build-arg PYTHON_IMAGE=python:3.13-slim@{DIGEST}" in made[0]
    assert made[-2] == f"mongo:7.0@{DIGEST}"
    assert "scripts/pin_images.sh" not in errors
    _, _, made = swarm.run(
        "scripts/deploy.sh",
        IMAGES_FILE=str(file),
        MONGO_IMAGE="mongo:7.0.9",
        MASTER_KEY_SECRET="master_key_v1",
    )
    assert made[-2] == "mongo:7.0.9"


def test_without_pinned_images_tags_are_used(swarm: Swarm, tmp_path: Path) -> None:
    """A deployment without digests succeeds, and mentions that they are available."""
    _, errors, made = swarm.run("scripts/deploy.sh", IMAGES_FILE=str(tmp_path / "none"))
    assert "--build-arg" not in made[0]
    assert made[-2] == ""
    assert "by digest, run scripts/pin_images.sh" in errors


def test_another_file_is_refused(swarm: Swarm, tmp_path: Path) -> None:
    """A file of images can set nothing except images."""
    file = tmp_path / "images.env"
    file.write_text("PATH=/tmp\n")
    status, errors, made = swarm.run("scripts/deploy.sh", IMAGES_FILE=str(file))
    assert (status, made) == (1, [])
    assert "was not written by scripts/pin_images.sh" in errors


def test_without_a_service_there_is_nothing_to_rotate(swarm: Swarm) -> None:
    """Without a service, rotate_key.sh names what is missing."""
    status, errors, made = swarm.run("scripts/rotate_key.sh")
    assert (status, made) == (1, [])
    assert "deploy it with scripts/deploy.sh" in errors


def test_a_rotation_gets_value_and_token_without_arguments(swarm: Swarm, tmp_path: Path) -> None:
    """rotate_secret.sh sends the value to the command's standard input; neither it nor the token is shown."""
    value = tmp_path / "value"
    value.write_text("hush")
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    elsewhere = {
        "VAULT_URL": "https://secrets.example.com",
        "VAULT_TOKEN": "smt_hidden",
        "VAULT_ROLE": "rotator",
        "VAULT_CACERT": str(ca_file),
    }
    image, path = "registry.example.com/secret-manager:1", tmp_path / "d"
    script = ("scripts/rotate_secret.sh", "shop/db", str(value), "--timeout", "2m")
    with socket.socket(socket.AF_UNIX) as docker:
        docker.bind(str(path))
        status, output, made = swarm.run(*script, **elsewhere, IMAGE=image, DOCKER_HOST=f"unix://{path}")
    assert (status, output) == (0, "")
    assert "smt_hidden" not in "".join(made)
    [command, given] = made
    assert given == "hush"
    assert "--network host " in command
    assert f"--mount type=bind,source={ca_file},target=/run/ca.pem,readonly " in command
    assert "--env VAULT_CACERT=/run/ca.pem " in command
    assert "--env VAULT_ROLE=rotator " in command
    # An image by that name from elsewhere would get the token and Docker's socket.
    assert "--pull never " in command
    assert re.search(
        r"registry\.example\.com/secret-manager:1 swarm rotate shop/db - --token-file /run/token "
        r"--owner \S+, process \d+ --timeout 2m$",
        command,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "reason"),
    [
        ([], {}, 2, "Usage: scripts/rotate_secret.sh NAME"),
        (["--generate", "32"], {}, 2, "Usage: scripts/rotate_secret.sh NAME"),
        (["a"], {"DOCKER_HOST": "tcp://192.0.2.1:2376"}, 1, "DOCKER_HOST must be a socket of this machine"),
        (["a"], {"DOCKER_HOST": ""}, 1, "no replica is ready on this node"),
        (["a"], {"DOCKER_HOST": "", "VAULT_URL": "https://a"}, 1, "export VAULT_TOKEN"),
        (["a", "--ca-cert", "b"], {}, 1, "export VAULT_CACERT instead of --ca-cert"),
    ],
    ids=["nothing", "no name", "remote", "no replica", "no token", "a CA by option"],
)
def test_a_rotation_that_cannot_work_changes_nothing(
    swarm: Swarm, arguments: list[str], environment: dict[str, str], status: int, reason: str
) -> None:
    """rotate_secret.sh says what is missing before it starts anything."""
    done, output, made = swarm.run("scripts/rotate_secret.sh", *arguments, **environment)
    assert (done, made) == (status, [])
    assert reason in output
