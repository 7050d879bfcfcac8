"""`swarm deploy`: what it refuses, which keys and images it uses, and the order of its changes."""

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import API, IMAGE, STACK, Job, World, key_of
from vault.clients.swarm.deployment import keys
from vault.core.crypto.master_key import MasterKey

KEY = key_of("A")
KEY_ID = MasterKey(keys._material(KEY)).id
NAMES = ("mongodb-1", "mongodb-2", "mongodb-3")


def deployed(swarm: World) -> list[str]:
    """Return what was deployed, in order."""
    return [line.removeprefix("deploy ") for line in swarm.made if line.startswith("deploy ")]


def secret_of_key(swarm: World) -> str:
    """Return the Docker secret with the master key that was deployed with."""
    return swarm.deployed_with["MASTER_KEY_SECRET"]


def test_the_first_deployment_makes_everything(swarm: World, deploy: Run) -> None:
    """Secrets, MongoDB, its users and the service come one after another; then the first token is shown."""
    swarm.prints["exec container-of-this-node secret-manager tokens create"] = "smt_first\n"
    done = deploy()
    assert [line.split()[1] for line in swarm.made if line.startswith("secret ")] == [
        *("master_key_v1", "mongodb_key_file", "mongodb_root_password", "mongo_uri")
    ]
    assert deployed(swarm) == [" ".join(NAMES), "replica-set", "secret-manager"]
    assert done.stdout.splitlines()[:3] == [
        "The first token, with the role admin. It is not shown again:",
        "smt_first",
        "Next steps:",
    ]
    assert "- Keep a copy of master_key_v1, the master key" in done.stdout
    assert "docker exec -it container-of secret-manager keys copy" in done.stdout
    # The service reads the last two from Docker secrets only.
    variables = {"IMAGE": IMAGE, "REPLICAS": "2", "MASTER_KEY": "", "MONGO_URI": ""}
    assert variables.items() <= swarm.deployed_with.items()
    # An image with an unchanged name is not replaced by the registry's current one.
    assert any("--resolve-image changed -c - secret-manager" in " ".join(call) for call, _ in swarm.called)
    assert "--prune" not in str(swarm.called)


def test_no_secret_is_in_a_command_line(swarm: World, deploy: Run) -> None:
    """Keys and passwords reach Docker by its API, and no argument or variable of a program has them."""
    assert deploy(MASTER_KEY=KEY).exit_code == 0
    made = [line.split()[2] for line in swarm.made if line.startswith("secret ")]
    assert made[0] == KEY
    assert not [value for value in made for call, _ in swarm.called if value in " ".join(call)]


def test_json_has_the_first_token(swarm: World, deploy: Run) -> None:
    """With `--json`, the result is one object."""
    swarm.prints["exec container-of-this-node secret-manager tokens create"] = "smt_first\n"
    done = deploy("--json", "-q")
    assert json.loads(done.stdout) == {"replicas": 2, "first_token": "smt_first"}
    assert done.stderr == ""


def test_a_deployment_that_changes_nothing(secured: World, deploy: Run) -> None:
    """Each member is deployed alone, the primary last, and then the service; nothing restarts."""
    done = deploy()
    assert deployed(secured) == ["mongodb-2", "mongodb-3", "mongodb-1", "replica-set", "secret-manager"]
    assert "Restarting" not in done.stderr
    assert "The first token" not in done.stdout
    assert "Next steps" in done.stdout


def test_members_restart_one_after_another(secured: World, deploy: Run) -> None:
    """A member that changes is awaited until all are in step, before the next one."""
    secured.on_deploy = lambda name: secured.change(name)
    done = deploy()
    assert [line for line in done.stderr.splitlines() if line.startswith("Restarting")] == [
        f"Restarting mongodb-{number}, and waiting until it is in step." for number in (2, 3, 1)
    ]
    asked = secured.job_containers
    assert [one["Args"][-1] for one in asked] == ["1s", "3m", "3m", "3m"]
    assert asked[0]["Env"] == ["MONGO_URI=mongodb://mongodb-1,mongodb-2,mongodb-3/?replicaSet=rs0"]


def test_a_member_that_does_not_return_ends_a_deployment(secured: World, deploy: Run) -> None:
    """If a restarted member does not get in step, no other restarts."""
    secured.on_deploy = lambda name: (
        secured.change(name),
        secured.members_say("primary", "recovering", "secondary"),
    )
    done = deploy(status=1)
    assert "mongodb-2 is not in step again" in done.stderr
    assert deployed(secured) == ["mongodb-2"]


def test_five_members_are_updated_one_at_a_time(secured: World, deploy: Run) -> None:
    """Members that an additional stack file adds are members, not services that are deployed together."""
    for number in (4, 5):
        secured.service(f"mongodb-{number}", Args=["--keyFile=k"])
        secured.stack_file["services"][f"mongodb-{number}"] = {}
    secured.members_say(*["secondary"] * 3, "primary", "secondary")
    deploy()
    assert deployed(secured)[:-2] == [f"mongodb-{number}" for number in (1, 2, 3, 5, 4)]


def test_no_member_restarts_while_one_is_catching_up(secured: World, deploy: Run) -> None:
    """A running member that is not in step is waited for; if it stays so, the last line says that."""
    secured.members_say("primary", "secondary", "startup2")
    done = deploy(status=1)
    assert deployed(secured) == ["replica-set", "secret-manager"]
    assert "Waiting up to 3 minutes until mongodb-3 is in step." in done.stderr
    assert "Next steps" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: MongoDB was not updated, because mongodb-3 is not in step. Hint: ")
    assert f"docker service logs {STACK}_mongodb-3" in last


def test_a_member_that_caught_up_is_updated_after_the_others(secured: World, deploy: Run) -> None:
    """A member that gets in step in time is updated, before the primary."""
    asked: list[int] = []
    late = secured.members_say("startup2", "primary", "secondary")
    in_step = secured.members_say("secondary", "primary", "secondary")

    def status() -> Job:
        asked.append(1)
        return late if len(asked) < 4 else in_step

    secured.ends["replicaset status"] = status
    deploy()
    assert deployed(secured)[:3] == ["mongodb-3", "mongodb-1", "mongodb-2"]


def test_members_that_do_not_answer_stop_a_deployment(secured: World, deploy: Run) -> None:
    """After three attempts without a state, the reason is named."""
    secured.ends["replicaset status"] = Job("no\nroute", state="rejected", error="no network")
    done = deploy(status=1)
    assert "Attempt 3 of 3 to ask MongoDB's members failed: the command failed: no network" in done.stderr
    assert "MongoDB's members do not answer. Hint: for the reason, run docker service logs" in done.stderr


def test_states_are_known_of_a_set_that_is_not_complete(secured: World, deploy: Run) -> None:
    """The command with the states fails while a member is late; its output counts."""
    end = secured.members_say("primary", "secondary", "recovering")
    end.state, end.error = "failed", "task: non-zero exit (1)"
    assert "because mongodb-3 is not in step" in deploy(status=1).stderr


def test_a_stranded_member_is_started_and_awaited(secured: World, deploy: Run) -> None:
    """A member whose task stays pending is started again, before any other member is deployed."""
    name = f"{STACK}_mongodb-2"
    secured.tasks[name] = [secured.task(name, 1, "")]
    secured.nodes[0]["Spec"]["Labels"]["mongodb"] = "2"
    secured.members_say("primary", "no answer", "secondary")
    done = deploy(status=1)
    assert "Starting mongodb-2, which Docker did not start although its node is back." in done.stderr
    assert deployed(secured) == ["mongodb-2", "replica-set", "secret-manager"]
    assert secured.services[name]["Spec"]["TaskTemplate"]["ForceUpdate"] == 1
    assert "because mongodb-2 is not in step" in done.stderr
    # A task that has ended is replaced by Docker itself.
    secured.tasks[name].clear()
    assert "Starting mongodb-2" not in deploy(status=1).stderr


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_silent_member_is_maybe_on_a_lost_node(secured: World, deploy: Run, is_lost: bool) -> None:
    """If a member's node was just lost, that is enough; if the node is up, the member is waited for."""
    for number, name in enumerate("BC", start=2):
        secured.node(name, label=str(number))
        member = f"{STACK}_mongodb-{number}"
        secured.tasks[member] = [secured.task(member, 1, name)]
    secured.members_say("primary", "no answer", "secondary")
    if is_lost:
        secured.at(12, lambda: secured.nodes[1]["Status"].update(State="down"))
    done = deploy(status=int(not is_lost))
    assert ("Node node-b is down, and so is mongodb-2." in done.stderr) == is_lost
    assert ("because mongodb-2 is not in step" in done.stderr) == (not is_lost)
    assert deployed(secured) == ["replica-set", "secret-manager"]


def test_members_are_left_alone_while_one_is_away(swarm: World, deploy: Run) -> None:
    """With a node down, the command says what that means, and deploys everything except MongoDB."""
    homes = ("A ready active 1", "B down active 2", "C ready active 3")
    swarm.nodes_are(*homes, "D down active none", "E ready drain none")
    swarm.secured(on="A C")
    done = deploy()
    assert "Node node-b is down, and so is mongodb-2." in done.stderr
    assert "Node node-d is down. It has no member of MongoDB." in done.stderr
    assert "2 members of MongoDB are left, and the service needs 2" in done.stderr
    assert deployed(swarm) == ["replica-set", "secret-manager"]
    # Members without a key do not talk to those with one: all are needed.
    swarm.services[f"{STACK}_mongodb-1"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] = []
    done = deploy(status=1)
    assert "this deployment needs all members of MongoDB" in done.stderr


@pytest.mark.parametrize(
    ("nodes", "members", "said"),
    [
        (["A ready active 1", "B down active 2", "C down active 3"], "A  ", "node-c is down, and so is"),
        (["A ready active 1", "B ready drain 2", "C down active 3"], "A  ", "node-b is drained, and so is"),
        (["A", "B down"], "BBB", "so are mongodb-1 mongodb-2 mongodb-3."),
    ],
    ids=["two down", "one drained", "all down"],
)
def test_too_few_members_stop_a_deployment(
    swarm: World, deploy: Run, nodes: list[str], members: str, said: str
) -> None:
    """Without a majority of MongoDB the service cannot get ready, so nothing is changed or waited for."""
    swarm.nodes_are(*nodes)
    swarm.secured(on=members)
    done = deploy(status=1)
    assert said in done.stderr
    assert "the service needs 2 of MongoDB's 3 members" in done.stderr
    assert swarm.made == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "25.0.1"}, "Docker 25.0.1 is too old"),
        ({"state": "inactive"}, "this engine is not part of a swarm"),
        ({"is_manager": False}, "this node is not a swarm manager"),
        ({"leaderless_until": 1}, "the swarm has no leader"),
    ],
)
def test_an_unsuitable_engine_is_refused(swarm: World, deploy: Run, change: dict[str, Any], why: str) -> None:
    """The engine must be a manager of a swarm that answers, and new enough."""
    for name, value in change.items():
        setattr(swarm, name, value)
    done = deploy(status=1)
    assert swarm.made == []
    assert why in done.stderr


def test_a_missing_file_is_refused(swarm: World, deploy: Run) -> None:
    """A stack file that does not exist is refused before anything is asked."""
    swarm.leaderless_until = 1
    done = deploy("none.yml", status=2)
    assert swarm.made == []
    assert "There is no such stack file." in done.stderr


def test_a_quick_start_is_secured_step_by_step(swarm: World, deploy: Run) -> None:
    """MongoDB and its users come first, then the service, which Docker does not roll back to the trial."""
    for name in NAMES:
        swarm.service(name)
    swarm.service("secret-manager", f"MASTER_KEY={KEY}", "MONGO_URI=x", replicas=3)
    swarm.secret("mongodb_key_file", **{"secret-manager.trial": "true"})
    swarm.stack_file["services"]["secret-manager"]["deploy"] = {
        "update_config": {"failure_action": "rollback"}
    }
    swarm.on_deploy = lambda name: name == "secret-manager" and swarm.change(name)
    done = deploy()
    assert "The trial becomes a secured stack" in done.stderr
    first, second, third, *_ = swarm.made
    assert first == f"secret master_key_v1 {KEY} {{'secret-manager.key-id': '{KEY_ID}'}}"
    assert second == "remove id-mongodb_key_file"
    assert third.startswith("secret mongodb_key_file ")
    assert deployed(swarm) == [" ".join(NAMES), "replica-set", "secret-manager"]
    assert '"failure_action": "continue"' in str(swarm.called)
    # The current scale stays.
    assert swarm.deployed_with["REPLICAS"] == "3"


def test_an_interrupted_update_is_awaited(secured: World, deploy: Run) -> None:
    """If the update of an earlier deployment did not finish, an unchanged one waits for it."""
    secured.services[API]["UpdateStatus"] = {"State": "paused"}
    done = deploy(status=1)
    assert f"the update of {API} failed (paused)" in done.stderr
    assert "The service is ready" not in done.stderr


def test_a_replica_set_that_cannot_be_made_ends_a_deployment(swarm: World, deploy: Run) -> None:
    """Without MongoDB's users, the service is not deployed, and the reason has a place."""
    name = f"{STACK}_replica-set"
    swarm.on_deploy = lambda _: swarm.services.get(name, {}).update(ServiceStatus={"CompletedTasks": 0})
    done = deploy(status=1)
    assert (
        f"MongoDB is not ready. Hint: the replica set is not ready either: run docker service logs {name}"
        in (done.stderr)
    )


def test_without_replicas_a_backup_can_be_restored(deploy: Run) -> None:
    """With no replicas, nothing is waited for, and no token is made."""
    done = deploy(REPLICAS="0")
    assert done.stdout == "\n"
    assert f"Restore a backup, then run: docker service scale {API}=2" in done.stderr


def test_the_first_token_does_not_need_a_replica_here(
    swarm: World, deploy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no replica is on this node, a job makes the token; if it cannot start, the operator does."""
    monkeypatch.setattr("vault.clients.swarm.deployment.stack.DeployedStack.replica", lambda _: "")
    swarm.ends["sleep"] = Job(state="running")
    swarm.prints["exec container-of-this-node secret-manager tokens create"] = "smt_first\n"
    done = deploy()
    assert "\nsmt_first\n" in done.stdout
    assert "The replicas run on node-a: run the commands below there." in done.stderr
    assert "docker exec CONTAINER secret-manager tokens create --name app" in done.stdout
    swarm.ends["sleep"] = Job(state="rejected", error="no room")
    done = deploy()
    assert "If there is no token yet, run on node-a: docker exec CONTAINER secret-manager" in done.stderr


def test_the_key_of_a_quick_start_is_kept(swarm: World, deploy: Run) -> None:
    """Without MASTER_KEY in the shell, a quick start's key goes into a new secret, labelled with its ID."""
    swarm.service("secret-manager", f"MASTER_KEY={KEY}")
    swarm.secret("master_key_v1", "another")
    done = deploy()
    assert swarm.made[0] == f"secret master_key_v2 {KEY} {{'secret-manager.key-id': '{KEY_ID}'}}"
    assert secret_of_key(swarm) == "master_key_v2"
    assert "The Docker secret master_key_v1 has the master key with the ID another." in done.stderr


@pytest.mark.parametrize("label", ["", KEY_ID], ids=["earlier version's", "labelled"])
def test_no_second_secret_has_the_same_key(swarm: World, deploy: Run, label: str) -> None:
    """If a secret has the quick start's key by its label, or as a job reads it, none is created."""
    swarm.service("secret-manager", f"MASTER_KEY={KEY}")
    swarm.secret("master_key_v1", "another")
    swarm.secret("master_key_v2", label)
    swarm.ends["python"] = Job(f"master_key_v2 {KEY_ID}\n")
    done = deploy()
    assert f"The Docker secret master_key_v2 has the master key with the ID {KEY_ID}." in done.stderr
    assert secret_of_key(swarm) == "master_key_v2"
    assert KEY not in "".join(swarm.made)
    mounted = [one["SecretName"] for job in swarm.job_containers for one in job.get("Secrets", ())]
    assert mounted == ([] if label else ["master_key_v2"])


def test_an_exported_key_is_not_another_one(swarm: World, deploy: Run) -> None:
    """Without a service, an exported key goes into a new secret, unless one has it."""
    swarm.secret("master_key_v1", "another")
    deploy(MASTER_KEY=KEY)
    assert secret_of_key(swarm) == "master_key_v2"
    swarm.services.clear()
    swarm.secret("master_key_v1", KEY_ID)
    swarm.secret("master_key_v2", "another")
    deploy(MASTER_KEY=KEY)
    assert secret_of_key(swarm) == "master_key_v1"


def test_one_of_several_keys_is_not_guessed(swarm: World, deploy: Run) -> None:
    """If no service names its key, the operator must; the service's answer has precedence."""
    swarm.secret("master_key_v1")
    swarm.secret("master_key_v2")
    for environment in ({}, {"MASTER_KEY": KEY}):
        done = deploy(**environment, status=1)
        assert swarm.made == []
        assert "several master keys found" in done.stderr
        assert "The Docker secret master_key_v2 has the master key with the ID unknown." in done.stderr
    deploy(MASTER_KEY_SECRET="master_key_v1")
    assert secret_of_key(swarm) == "master_key_v1"
    swarm.services.clear()
    swarm.service("secret-manager", "MASTER_KEY_FILE=/run/secrets/master_key_v2", "MONGO_URI_FILE=x")
    deploy(MASTER_KEY_SECRET="master_key_v1")
    assert secret_of_key(swarm) == "master_key_v2"


@pytest.mark.parametrize(
    ("service", "shell", "why"),
    [
        (f"MASTER_KEY={KEY}", {"MASTER_KEY": key_of("B")}, "another MASTER_KEY"),
        ("", {"MASTER_KEY": "short"}, "MASTER_KEY must be"),
        ("", {"MASTER_KEY": "a\n" * 16}, "MASTER_KEY must be"),
        ("", {"MASTER_KEY": "ä" * 32}, "MASTER_KEY must be"),
        ("", {"MASTER_KEY": "abcd" * 8}, "too easy to guess"),
        ("", {"MASTER_KEY": b64encode(b"\0\1\2\3" * 8).decode()}, "too easy to guess"),
        ("", {"MASTER_KEY_FALLBACKS": KEY}, "MASTER_KEY_FALLBACKS"),
        (f"MASTER_KEY_FALLBACKS={KEY}", {}, "MASTER_KEY_FALLBACKS"),
        ("MASTER_KEY_FALLBACKS_FILE=/run/secrets/master_key_v1", {}, "a rotation is in progress"),
        ("", {"RATE_LIMIT_STORAGE_URI": "mongodb://u:p@db/"}, "RATE_LIMIT_STORAGE_URI_FILE"),
        ("", {"AUDIT_WITNESS_TOKEN": "smt_x"}, "AUDIT_WITNESS_TOKEN_FILE"),
        ("", {"OIDC_CLIENT_SECRET": "x"}, "OIDC_CLIENT_SECRET_FILE"),
    ],
)
def test_unsuitable_keys_and_passwords_are_refused(
    swarm: World, deploy: Run, service: str, shell: dict[str, str], why: str
) -> None:
    """An invalid or foreign key, or one that settings would show, stops before any change."""
    swarm.service("secret-manager", service)
    done = deploy(**shell, status=1)
    assert swarm.made == []
    assert why in done.stderr
    assert KEY not in done.stderr


CUSTODY = "services:\n  secret-manager:\n    environment:\n      {}\n"


def test_with_a_keyring_file_there_is_no_master_key(swarm: World, deploy: Run, tmp_path: Path) -> None:
    """With such a stack file, no Docker secret has a master key; the config with the file must exist."""
    (tmp_path / "own.yml").write_text(CUSTODY.format("MASTER_KEYRING_FILE: /k.json"))
    done = deploy("own.yml", status=1)
    assert swarm.made == []
    assert "docker config create keyring_v1 keyring.json" in done.stderr
    swarm.config("keyring_v1")
    swarm.config("keyring_v3")
    configs = [{"ConfigName": "keyring_v3", "File": {"Name": "/k.json"}}]
    swarm.service("secret-manager", "MASTER_KEYRING_FILE=/k.json", "MONGO_URI_FILE=x", Configs=configs)
    assert "add the stack file that sets MASTER_KEYRING_FILE" in deploy(status=1).stderr
    key = {"source": "master_key", "target": "master_key_v1"}
    swarm.stack_file["secrets"] = {"master_key": {"external": True}, "mongo_uri": {"external": True}}
    swarm.stack_file["services"]["secret-manager"] = {
        "environment": {"MASTER_KEY_FILE": "/run/secrets/master_key_v1", "A": "$5"},
        "secrets": [key, {"source": "mongo_uri"}],
    }
    done = deploy("own.yml")
    assert not [line for line in swarm.made if line.startswith("secret master_key")]
    assert swarm.deployed_with["KEYRING_CONFIG"] == "keyring_v3"
    assert "Keep a copy of the keyring file" in done.stdout
    [*_, sent] = [options["input"] for call, options in swarm.called if call[:2] == ("stack", "deploy")]
    # Docker expands variables again.
    assert json.loads(sent) == {
        "secrets": {"mongo_uri": {"external": True}},
        "services": {"secret-manager": {"environment": {"A": "$$5"}, "secrets": [{"source": "mongo_uri"}]}},
    }


@pytest.mark.parametrize("line", ["- {}=/k.json", '- "{}=/k.json"', '"{}": /k.json', "{{{}: /k.json}}"])
def test_each_form_of_the_setting_counts(deploy: Run, tmp_path: Path, line: str) -> None:
    """A stack file has a keyring file in each form of YAML."""
    (tmp_path / "own.yml").write_text(CUSTODY.format(line.format("MASTER_KEYRING_FILE")))
    assert "there is no keyring file" in deploy("own.yml", status=1).stderr
    (tmp_path / "own.yml").write_text("# MASTER_KEYRING_FILE: /k.json\n")
    assert "there is no keyring file" not in deploy("own.yml").stderr


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def test_a_deployment_uses_the_pinned_images(swarm: World, deploy: Run, tmp_path: Path) -> None:
    """The pinned images are built from and deployed; exported variables have precedence."""
    (tmp_path / "images.env").write_text(f"PYTHON_IMAGE=python@{DIGEST}\nMONGO_IMAGE=mongo@{DIGEST}\n")
    deploy(IMAGE="", DOCKER_BUILD_OPTIONS="--network=host --pull")
    [build] = [call for call, _ in swarm.called if call[0] == "build"]
    options = f"--quiet --network=host --pull --build-arg PYTHON_IMAGE=python@{DIGEST}"
    assert " ".join(build[1:6]) == options
    # Named by its content: under an unchanged name, Swarm would not notice a new image.
    assert "tag sha256:0123456789abcdef secret-manager:0123456789ab" in swarm.made
    assert swarm.deployed_with["IMAGE"] == "secret-manager:0123456789ab"
    assert swarm.deployed_with["MONGO_IMAGE"] == f"mongo@{DIGEST}"
    assert "--resolve-image never" in " ".join(swarm.called[-3][0])
    deploy(MONGO_IMAGE="mongo:7.0.9")
    assert swarm.deployed_with["MONGO_IMAGE"] == "mongo:7.0.9"


def test_without_pinned_images_tags_are_used(swarm: World, deploy: Run) -> None:
    """A deployment without digests succeeds, and mentions that they are available."""
    done = deploy(IMAGE="", IMAGES_FILE="none")
    assert "--build-arg" not in str(swarm.called)
    assert "by digest, run scripts/pin_images.sh" in done.stderr


def test_another_file_is_refused(swarm: World, deploy: Run, tmp_path: Path) -> None:
    """A file of images can set nothing except images."""
    (tmp_path / "images.env").write_text("PATH=/tmp\n")
    done = deploy(status=1)
    assert swarm.made == []
    assert "was not written by scripts/pin_images.sh" in done.stderr


def test_several_nodes_need_an_image_of_a_registry(swarm: World, deploy: Run) -> None:
    """An image that is built here is on this node only."""
    swarm.node("B")
    done = deploy(IMAGE="", status=1)
    assert swarm.made == []
    assert "push the image to a registry and set IMAGE" in done.stderr


def test_a_failure_of_the_program_ends_a_deployment(swarm: World, deploy: Run) -> None:
    """If Docker refuses a stack file, nothing is deployed."""
    swarm.prints["stack config"] = 15
    done = deploy(status=1)
    assert re.search("error: docker stack ended with 15$", done.stderr.strip())
    assert deployed(swarm) == []


@pytest.mark.parametrize("node", ["A", ""])
def test_backups_that_do_not_run_are_named(secured: World, deploy: Run, node: str) -> None:
    """After a deployment, a line says whether the service of the backups has no running task."""
    secured.stack_file["services"]["backup"] = {"image": "image"}
    secured.service("backup", on=node)
    line = "Backups do not run yet: for the reason, run docker service ps --no-trunc secret-manager_backup"
    assert (line in deploy().stderr) == (not node)
