"""`swarm rotate-key`: each step of a rotation, and its resumption."""

import json
from collections.abc import Callable
from hashlib import sha256

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import API, STACK, Job, World

#: Sets the service's config and others, and returns what is changed from then on.
Custody = Callable[..., list[str]]

FILE = "/k.json"
EDITED = "file\n"


def row(key_id: str, role: str, *, use: int = 2) -> str:
    """Return a line of `keys status --json`: a key that *use* of two workers use."""
    return json.dumps({"key_id": key_id, "role": role, "workers": 2, "encrypting": use, "holding": use})


@pytest.fixture
def secret(swarm: World) -> World:
    """Return a swarm whose service has a Docker secret with its key."""
    swarm.secured("MASTER_KEY_FILE=/run/secrets/master_key_v1")
    swarm.container["Secrets"] = [{"SecretName": "master_key_v1", "File": {"Name": "master_key_v1"}}]
    swarm.ends["keys status"] = Job("\n".join((row("b2", "primary"), row("a1", "fallback"))))
    swarm.ends["keys rewrap"] = Job("0 left")
    return swarm


V1, V2 = "MASTER_KEY_FILE=/run/secrets/master_key_v1", "MASTER_KEY_FILE=/run/secrets/master_key_v2"
URI = "MONGO_URI_FILE=/run/secrets/mongo_uri"
FALLBACK = "MASTER_KEY_FALLBACKS_FILE=/run/secrets/master_key_v"
STEPS = [
    f"update secret-manager {V1} {URI} {FALLBACK}2 master_key_v1 master_key_v2",
    f"update secret-manager {URI} {V2} {FALLBACK}1 master_key_v1 master_key_v2",
    f"update secret-manager {URI} {V2} master_key_v2",
]


def test_each_step_is_an_update(secret: World, run: Run) -> None:
    """A new key is created, added, used, and the earlier one removed; every secret is rewrapped before."""
    done = run("rotate-key")
    [created, *updates] = secret.made
    assert created.startswith("secret master_key_v2 ")
    assert updates == STEPS
    steps = [line[:2] for line in done.stderr.splitlines() if line[1:2] == "."]
    assert steps == ["1.", "2.", "3.", "4."]
    assert [one["Args"] for one in secret.job_containers].count(["keys", "rewrap"]) == 1
    assert "For manual deployments, run: export MASTER_KEY_SECRET=master_key_v2\n" in done.stderr
    kept, earlier = done.stderr.splitlines()[-2:]
    assert kept.startswith("Keep a copy of it (docs/copies.md): docker exec -it container-of secret-manager")
    assert earlier == (
        "Keep master_key_v1 as long as you keep earlier backups, then run: docker secret rm master_key_v1"
    )


def test_the_backups_have_the_same_keys(secret: World, run: Run) -> None:
    """The service of backups gets each step first, also again after an interruption between the two."""
    secret.service("backup", V1, URI)
    before = secret.services[f"{STACK}_backup"]["Spec"]["TaskTemplate"]["ContainerSpec"]
    before["Secrets"] = [
        {"SecretName": name, "File": {"Name": name}} for name in ("master_key_v1", "master_key_v2")
    ]
    secret.secret("master_key_v2", "b2")
    run("rotate-key")
    both = [line for step in STEPS for line in (step.replace("secret-manager", "backup", 1), step)]
    assert secret.made == both
    secret.service("backup", URI)
    secret.made.clear()
    run("rotate-key")
    assert not [line for line in secret.made if line.startswith("update backup")]


@pytest.mark.parametrize("step", [1, 2])
def test_an_interrupted_rotation_resumes(secret: World, run: Run, step: int) -> None:
    """A key that an interrupted run has added or uses is the new one, and no second one is made."""
    secret.secret("master_key_v2", "b2")
    names = ["master_key_v1", "master_key_v2"]
    secret.container["Secrets"] = [{"SecretName": name, "File": {"Name": name}} for name in names]
    secret.container["Env"] = [V1, URI, f"{FALLBACK}2"] if step == 1 else [URI, V2, f"{FALLBACK}1"]
    run("rotate-key")
    assert secret.made == STEPS[step:]


def test_a_rotation_interrupted_in_its_last_step_is_finished(secret: World, run: Run) -> None:
    """While Docker removes the earlier key, another run waits for that, and starts no second rotation."""
    before = {"ContainerSpec": {"Env": [f"{FALLBACK}0"]}}
    secret.services[API]["PreviousSpec"] = {"TaskTemplate": before}
    secret.updating(5)
    done = run("rotate-key")
    assert secret.made == []
    assert "The service now uses master_key_v1." in done.stderr
    assert "Keep master_key_v0 as long as you keep earlier backups" in done.stderr


def test_a_rotation_waits_for_another_update(secret: World, run: Run) -> None:
    """An update that is not a rotation is awaited; then the rotation starts."""
    secret.updating(5)
    done = run("rotate-key")
    assert done.stderr.startswith("Waiting for the update that is in progress.\n")
    assert secret.made[1:] == STEPS


def test_without_a_replica_here_the_nodes_are_named(
    secret: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is in the replicas of other nodes, too."""
    monkeypatch.setattr("vault.clients.swarm.deployment.stack.DeployedStack.replica", lambda _: "")
    done = run("rotate-key")
    assert "The replicas run on node-a: run docker exec there.\nKeep a copy of it" in done.stderr
    assert "docker exec -it CONTAINER secret-manager keys copy" in done.stderr
    assert secret.made[1:] == STEPS


def test_a_step_waits_for_all_workers(secret: World, run: Run) -> None:
    """No step starts before the one before has reached every worker, for which there is a limit."""
    rows = (row("b2", "primary", use=1), row("a1", "fallback", use=1))
    secret.ends["keys status"] = lambda: Job("\n".join(rows))
    done = run("rotate-key", status=1)
    assert "some workers do not use the key yet (1 of 2)" in done.stderr
    assert secret.made[1:] == STEPS[:1]
    assert secret.time == 120
    secret.ends["keys status"] = Job("")
    assert "secret-manager keys status failed" in run("rotate-key", status=1).stderr


def test_a_key_of_another_name_is_not_rotated(swarm: World, run: Run) -> None:
    """Without a service, or with a key of another name, nothing is changed."""
    done = run("rotate-key", status=1)
    assert "the service does not exist. Hint: deploy it with scripts/deploy.sh" in done.stderr
    swarm.secured("MASTER_KEY_FILE=/run/secrets/mine")
    done = run("rotate-key", status=1)
    assert swarm.made == []
    assert "the service has no master key named master_key_vN" in done.stderr


def test_a_command_that_fails_ends_a_rotation(secret: World, run: Run) -> None:
    """If the rewrap fails, the earlier key stays; the exit code is the rotation's."""
    secret.ends["keys rewrap"] = Job("1 left", state="failed", error="task: non-zero exit (3)")
    done = run("rotate-key", status=1)
    assert "the command failed: task: non-zero exit (3)" in done.stderr
    assert secret.made[1:] == STEPS[:2]


@pytest.fixture
def custody(swarm: World) -> Custody:
    """Return a function that sets the service's config and others, each with the step that made it."""

    def set_configs(current: str, **configs: str) -> list[str]:
        swarm.secured(f"MASTER_KEYRING_FILE={FILE}")
        swarm.secret("operator_token")
        for name, step in {current: "", **configs}.items():
            swarm.config(name, step)
        swarm.container["Configs"] = [{"ConfigName": current, "File": {"Name": FILE}}]
        swarm.ends["keys status"] = lambda: Job(rows(swarm))
        swarm.ends["keys rewrap"] = Job("0 left")
        swarm.ends["keys custody"] = Job(f"{EDITED}{sha256(EDITED.encode()).hexdigest()}  -\n")
        return swarm.made

    return set_configs


def rows(swarm: World) -> str:
    """Return the keys of the service's current file."""
    [config] = swarm.container["Configs"]
    step = swarm.configs[config["ConfigName"]]["Spec"]["Labels"].get("secret-manager.rotation", "")
    if step.startswith("new-key"):
        return "\n".join((row("a1", "primary"), row("b2", "fallback")))
    if step.startswith("promote"):
        return "\n".join((row("b2", "primary"), row("a1", "fallback")))
    return row("b2", "primary")


def edited(swarm: World) -> list[list[str]]:
    """Return the arguments of the jobs that edit the file."""
    return [one["Args"] for one in swarm.job_containers if one["Command"]]


def config(step: str, number: int) -> list[str]:
    """Return the changes of a step with a keyring file."""
    now, before = f"keyring_v{number}", f"keyring_v{number - 1}"
    setting = f"update secret-manager MASTER_KEYRING_FILE={FILE} {URI} {now}"
    return [f"config {now} {step} {before} file", setting]


def test_each_step_with_a_keyring_file_is_its_next_config(swarm: World, custody: Custody, run: Run) -> None:
    """Jobs edit a copy of the file, as an operator who may wrap; each edit is a new Docker config."""
    made = custody("keyring_v1")
    done = run("rotate-key", OPERATOR_SECRETS="TRANSIT_TOKEN=operator_token")
    assert made == [*config("new-key", 2), *config("promote", 3), *config("drop", 4)]
    assert edited(swarm) == [["new-key"], ["promote", "b2"], ["drop", "a1"]]
    first = next(one for one in swarm.job_containers if "custody" in str(one))
    assert first["Secrets"][-1]["File"]["Name"] == "operator-TRANSIT_TOKEN"
    assert "export TRANSIT_TOKEN_FILE=/run/secrets/operator-TRANSIT_TOKEN;" in first["Command"][2]
    assert "export KEYRING_CONFIG=keyring_v4" in done.stderr


@pytest.mark.parametrize(
    ("current", "configs", "left"),
    [
        ("keyring_v1", {"keyring_v2": "new-key keyring_v1"}, [["promote", "b2"], ["drop", "a1"]]),
        ("keyring_v2", {"keyring_v2": "new-key keyring_v1"}, [["promote", "b2"], ["drop", "a1"]]),
        ("keyring_v3", {"keyring_v3": "promote keyring_v2", "keyring_v4": "drop keyring_v3"}, []),
    ],
    ids=["step 1", "step 2", "step 4"],
)
def test_an_interrupted_rotation_of_a_file_resumes(
    swarm: World,
    custody: Custody,
    run: Run,
    current: str,
    configs: dict[str, str],
    left: list[list[str]],
) -> None:
    """A config that an interrupted run has created is used, and no second key is made."""
    custody(current, **configs)
    done = run("rotate-key")
    assert edited(swarm) == left
    assert "The service now uses keyring_v4." in done.stderr


def test_a_file_whose_last_step_runs_is_finished(swarm: World, custody: Custody, run: Run) -> None:
    """While Docker distributes the file without the earlier key, another run waits for that."""
    made = custody("keyring_v4", keyring_v4="drop keyring_v3")
    swarm.updating(5)
    done = run("rotate-key")
    assert made == []
    assert "The service now uses keyring_v4." in done.stderr


def test_a_log_that_is_not_the_file_becomes_no_config(swarm: World, custody: Custody, run: Run) -> None:
    """If Docker's log of the job lacks a part, nothing is deployed."""
    made = custody("keyring_v1")
    swarm.ends["keys custody"] = Job(EDITED)
    done = run("rotate-key", status=1)
    assert made == []
    assert "the log of the job is not the keyring file" in done.stderr


@pytest.mark.parametrize(
    ("current", "configs", "reason"),
    [
        ("keyring_v1", {"keyring_v2": "promote keyring_v1"}, "there is a Docker config keyring_v2 already"),
        ("mine", {}, "the Docker config mine is not named keyring_vN"),
    ],
)
def test_files_of_others_are_not_rotated(
    custody: Custody, run: Run, current: str, configs: dict[str, str], reason: str
) -> None:
    """An unrelated config with the next name, and other names, are refused."""
    made = custody(current, **configs)
    done = run("rotate-key", status=1)
    assert made == []
    assert reason in done.stderr


def test_a_fallback_of_others_is_not_dropped(swarm: World, custody: Custody, run: Run) -> None:
    """A fallback that is in the file already is the operator's; a file that is no config cannot be edited."""
    made = custody("keyring_v1")
    swarm.ends["keys status"] = Job("\n".join((row("b2", "primary"), row("c3", "fallback"))))
    assert "a fallback that this command did not add, c3" in run("rotate-key", status=1).stderr
    swarm.container["Configs"] = []
    assert f"no Docker config of the service is {FILE}" in run("rotate-key", status=1).stderr
    assert made == []


def test_a_credential_that_does_not_exist_is_named(custody: Custody, run: Run) -> None:
    """A Docker secret in OPERATOR_SECRETS must exist."""
    custody("keyring_v1")
    done = run("rotate-key", status=1, OPERATOR_SECRETS="TRANSIT_TOKEN=none")
    assert "there is no Docker secret none" in done.stderr
