"""The waits and jobs of the scripts that manage a swarm, with answers of Docker that change with the time."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

_ROOT = Path(__file__).parents[2]
#: A clock that only `sleep` moves; what the scripts change goes to standard error, after a "+".
_PRELUDE = """
set -euo pipefail
exec 3>&2
unset SECONDS; SECONDS=0
sleep() { SECONDS=$((SECONDS + $1)); }
docker() {
    case "$*" in
%s
        "info "*) echo node-a ;;
        "service create "* | "service rm "* | "service update "* | exec*) printf '+ %%s\\n' "$*" >&3 ;;
        *) return 1 ;;
    esac
}
"""
_LIBRARIES = """
for file in swarm_lib swarm_jobs mongodb_placement mongodb_members; do source "scripts/$file.sh"; done
IMAGE=secret-manager:1
"""
#: One node with the secure stack, all of whose tasks run, and one token.
_ENGINE = r"""
        "version "*) echo 26.1.5 ;;
        "info "*LocalNodeState*) echo active true ;;
        "node ls "*Hostname*) echo node-a Ready Active node-a ;;
        "node ls "*Status*) echo Ready ;;
        "node ls "*) echo node-a ;;
        "node inspect "*) ;;
        "service ls "*-job-*) ;;
        "service ls "*Replicas*) echo "0/1 (1/1 completed)" ;;
        "service ls "*) printf 'secret-manager_%%s\n' secret-manager mongodb-{1,2,3} ;;
        "service ps "*job*) echo 'Complete|node-a|' ;;
        "service ps "*) printf 'Running|task-%%s|\n' 1 2 ;;
        *.Image*) echo image ;;
        *Spec.Mode*) echo 2 ;;
        *UpdateStatus*) echo completed ;;
        *Args*) echo --keyFile ;;
        *"json .Spec"*) echo '{}' ;;
        "inspect --type task "*) echo "[MASTER_KEY_FILE=x MONGO_URI_FILE=x]" ;;
        *Env*) echo MASTER_KEY_FILE=/run/secrets/master_key_v1 ;;
        "secret inspect mongodb_key_file "*) ;;
        "secret "*) echo "${secrets-master_key_v1 a1}" ;;
        "stack config "*)
            printf 'services:\n  %%s:\n' mongodb-{1,2,3} replica-set secret-manager
            echo '    failure_action: rollback'
            ;;
        "stack deploy "*) echo "+ deploy $(sed -n 's/^  \(.*\):$/\1/p' | paste -sd ' ')" >&3 ;;
        "logs "*)
            said='"member": "mongodb-%%s:27017", "state": "%%s"\n'
            printf "$said" 1 primary 2 secondary 3 "${third:-secondary}"
            ;;
        "ps "*) echo container ;;
        "exec "*list*) echo token ;;
""".replace("%%", "%")


def run(answers: str, command: str, **environment: str) -> tuple[int, str, str]:
    """Return exit status, output and errors of a *command* of the scripts, with these *answers* of Docker."""
    return _bash(_PRELUDE % answers + _LIBRARIES + command, **environment)


def run_script(
    script: str, answers: str, folder: Path, *arguments: str, **environment: str
) -> tuple[int, str, str]:
    """Return exit status, output and errors of a whole *script*, with these *answers* of Docker."""
    engine = folder / "docker"
    engine.touch(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    answers += _ENGINE
    command = _PRELUDE % answers + 'source "$0"'
    return _bash(command, f"scripts/{script}", *arguments, PATH=path, **environment)


def _bash(*command: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ("bash", "-c", *command),
        env={"PATH": os.environ["PATH"], **environment},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_one_of_two_healthy_replicas_is_taken() -> None:
    """With two healthy replicas on this node, the first is printed, and the script continues."""
    answers = """
        "service ps "*) printf 'task-%s\\n' 1 2 3 ;;
        "ps "*task-1*) ;;
        "ps "*) seq 20000 ;;
    """
    assert run(answers, "found=$(replica); head -n 1 <<<$found; echo end") == (0, "1\nend\n", "")


def test_a_job_has_what_the_commands_of_a_replica_have() -> None:
    """A job gets the service's settings for the commands, its secrets, and the way to its audit sink."""
    answers = """
        "service inspect "*)
            printf -- '--%s\\n' mount=type=bind,source=/dev/log,target=/dev/log,readonly=false \\
                secret=source=master_key_v1,target=master_key_v1 env=AUDIT_ENABLED=false \\
                env=AUDIT_SINK=unix:///dev/log env=LOG_LEVEL=debug env=TOKEN_MAX_DAYS=30
            echo
            ;;
    """
    status, printed, errors = run(answers, "like_service 1 2")
    assert (status, errors) == (0, "")
    assert printed.splitlines() == [
        "--network=secret-manager_secret-manager-network",
        "--mount=type=bind,source=/dev/log,target=/dev/log,readonly=false",
        "--secret=source=master_key_v1,target=master_key_v1,uid=1,gid=2,mode=0400",
        "--env=AUDIT_ENABLED=false",
        "--env=AUDIT_SINK=unix:///dev/log",
        "--env=TOKEN_MAX_DAYS=30",
    ]


def test_a_job_that_was_not_created_is_not_waited_for() -> None:
    """If Docker refuses a job, the output of an earlier one is not taken for its output."""
    answers = """
        "service create "*) echo no leader >&2; return 1 ;;
        "service ps "*) echo 'Complete 2 seconds ago|node-a|' ;;
        "ps "*) echo earlier ;;
        "logs "*) echo the output of an earlier job ;;
    """
    command = 'printed=$(run_job image keys status) || printed="failed: $printed"; echo "$printed"'
    assert run(answers, command) == (0, "failed: \n", "no leader\n")


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ("echo 'Running 1 hour ago|gone|'", "node gone is lost"),
        ("echo 'Running 1 hour ago|down|'", "node down is lost"),
        ("echo 'Preparing 1 hour ago|up|'", "did not start, its state is Preparing 1 hour ago"),
        ("echo 'Pending 1 hour ago||\"no suitable node\"'", "no node can run the command: no suitable node"),
        ("return 1", "the swarm does not answer"),
        ("echo 'Rejected 1 second ago|up|no such image'", "the command failed: no such image"),
    ],
    ids=["removed", "down", "never starts", "no room", "no leader", "rejected"],
)
def test_a_job_that_cannot_end_is_given_up(tasks: str, why: str) -> None:
    """A wait for a job ends with the reason if its node is lost, or it cannot start."""
    answers = f"""
        "service ps "*--no-resolve*) {tasks} ;;
        "node inspect up "*) echo ready ;;
        "node inspect down "*) echo down ;;
        "node ls "*) ;;
    """
    status, _, errors = run(answers, "job=job; await_job Complete")
    assert status == 1
    assert why in errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("task: non-zero exit (3)", 3),
        ("task: non-zero exit (143): unhealthy container", 143),
        ("no such image", 1),
    ],
)
def test_an_operator_gets_the_commands_own_exit_code(tmp_path: Path, error: str, status: int) -> None:
    """`run_command.sh audit verify` tells a changed trail (1) from one that needs a look (3)."""
    answers = f"""
        "service ps "*job*) echo 'Failed 1 second ago|node-a|"{error}"' ;;
        "logs "*) echo the output ;;
    """
    code, printed, errors = run_script("run_command.sh", answers, tmp_path, "audit", "verify")
    assert (code, printed) == (status, "the output\n")
    assert f'the command failed: "{error}"' in errors


def test_other_scripts_fail_with_their_own_code() -> None:
    """For scripts that run commands as steps, a failed command is 1, as their usage says."""
    answers = """
        "service ps "*) echo 'Failed 1 second ago|node-a|"task: non-zero exit (3)"' ;;
    """
    assert run(answers, "job=job; await_job Complete")[0] == 1


def test_a_running_job_has_no_limit() -> None:
    """A backup can take hours, and elections of the swarm's leader do not end the wait for it."""
    answers = """
        "service ps "*) ((SECONDS % 60)) || return 1
            ((SECONDS < 9000)) && echo 'Running|up|' || echo 'Complete|up|' ;;
        "node "*) ((SECONDS % 40)) && echo ready ;;
    """
    command = "sleep() { SECONDS=$((SECONDS + 30)); }; job=job; await_job Complete; echo after $SECONDS"
    # The question at second 9000 is not answered.
    assert run(answers, command)[:2] == (0, "after 9030\n")


_STUCK = "echo 'Pending 1 hour ago|waits|\"no suitable node\"'"


def test_an_update_continues_beside_a_task_without_a_node() -> None:
    """While other tasks are replaced, a task that no node can run does not end the wait."""
    answers = f"""
        *UpdateStatus.State*) ((SECONDS < 100)) && echo updating || echo completed ;;
        "service ps "*) {_STUCK}; echo "Running 1 second ago|$((SECONDS / 10))|" ;;
    """
    assert run(answers, "await_update name; echo $SECONDS")[:2] == (0, "100\n")
    starting = answers.replace("Running 1 second ago|$((SECONDS / 10))", "Preparing 1 second ago|new")
    assert run(starting, "await_update name; echo $SECONDS")[:2] == (0, "100\n")


@pytest.mark.parametrize(
    ("running", "status", "why"),
    [
        (
            "2026-11-26 12:00:00.5 +0000 UTC",
            0,
            "All running tasks of name are updated. No node can run another",
        ),
        ("2026-11-26 11:59:59 +0000 UTC", 1, "no node can run the new task of name: no suitable node."),
        ("", 1, "no node can run the new task of name: no suitable node."),
    ],
    ids=["updated", "earlier ones", "none"],
)
def test_an_update_without_a_node_for_its_task(running: str, status: int, why: str) -> None:
    """If only the task without a node is left, the update is over; with an earlier task it has failed."""
    answers = f"""
        *UpdateStatus.State*) echo updating ;;
        *StartedAt*) echo '2026-11-26 12:00:00 +0000 UTC' ;;
        *CreatedAt*) printf '%s\\n' '2026-11-26 12:30:00 +0000 UTC' '{running}' ;;
        "service ps "*) {_STUCK}; [[ -z '{running}' ]] || printf 'Running 1 s ago|%s|\\n' 1 2 ;;
    """
    done, _, errors = run(answers, "await_update name")
    assert (done, why in errors) == (status, True)


def test_an_unanswered_question_ends_no_wait() -> None:
    """While the swarm elects a leader, each wait goes on."""
    answers = """
        "service "*) ((SECONDS > 20)) || return 1 ;;&
        *UpdateStatus.State*) echo completed ;;
        "service ps "*) printf 'Running|task-%s|\\n' 1 2 ;;
        *json*) echo spec ;;
    """
    command = "await_update name; await_replicas 2; spec name"
    assert run(answers, command) == (0, "spec\n", "")
    silent = '"service "*) echo silent >&2; return 1 ;;'
    status, _, errors = run(silent, "before=$(spec name); echo not reached")
    assert (status, errors) == (1, "silent\nbash: the swarm does not answer: run this script again\n")


@pytest.mark.parametrize(
    "command",
    ["setting MASTER_KEY_FILE", "exists name", "deploy_all_members", "running name", "find_members"],
)
def test_an_unanswered_question_is_not_a_no(command: str) -> None:
    """If the swarm does not answer, no script concludes that a service does not exist or does not run."""
    status, printed, errors = run(
        '"service "*) return 1 ;; "node "*) ;;', f"{command} && echo yes || echo no"
    )
    assert (status, printed) == (1, "")
    assert "the swarm does not answer" in errors


_MEMBERS = """
    ask_members() { echo "$states"; }
    deploy_services() { echo "+ deploy $*" >&3; }
    await_update() { echo "+ await $1" >&3; }
    in_step() { [[ $result == 0 ]]; }
    spec() { echo "$RANDOM$RANDOM$RANDOM"; }
    update_members
    echo "late: ${late[*]}"
"""


def test_members_restart_one_after_another_the_primary_last() -> None:
    """Each member that is deployed is awaited before the next."""
    states = "1 primary\n2 secondary\n3 secondary"
    status, printed, errors = run("", _MEMBERS, states=states, result="0")
    assert (status, printed) == (0, "late: \n")
    assert [line for line in errors.splitlines() if line.startswith("+")] == [
        f"+ {what}"
        for number in (2, 3, 1)
        for what in (f"deploy mongodb-{number}", f"await secret-manager_mongodb-{number}")
    ]


def test_no_member_restarts_while_one_is_catching_up() -> None:
    """A running member that is not in step is waited for, and not restarted, nor is any other."""
    answers = """ "service ps "*) echo 'Running|task|' ;; """
    states = "1 primary\n2 secondary\n3 startup2"
    status, printed, errors = run(answers, _MEMBERS, states=states, result="1")
    assert (status, printed) == (0, "late: 3\n")
    assert "+" not in errors
    status, printed, errors = run(answers, _MEMBERS, states=states, result="0")
    assert (status, printed) == (0, "late: \n")
    assert re.findall("deploy mongodb-(.)", errors) == ["2", "3", "1"]
    assert errors.count("+ await") == 3


def test_the_swarm_notices_the_loss_of_a_node_later() -> None:
    """If a member's node was just lost, the script waits until the swarm says so, and not for the member."""
    answers = """
        "service ps "*) echo 'Running|task|' ;;
        "node inspect node-b "*) ((SECONDS < 12)) && echo ready || echo down ;;
        "node ls "*) printf 'node-%s\n' 'a Ready Active a' 'b Down Active b' 'c Ready Active c' ;;
    """
    homes = "home=([1]=node-a [2]=node-b [3]=node-c);"
    states = "1 primary\n2 no answer\n3 secondary"
    status, printed, errors = run(answers, homes + _MEMBERS, states=states, result="1")
    assert (status, printed) == (0, "late: \n")
    assert "Node b is down, and so is mongodb-2." in errors
    assert "+" not in errors


def test_a_silent_member_on_a_node_that_is_up_is_awaited() -> None:
    """If the swarm still has the node of a silent member, the script waits for the member."""
    answers = """
        "service ps "*) echo 'Running|task|' ;;
        "node inspect node-b "*) echo ready ;;
    """
    states = "1 primary\n2 no answer\n3 secondary"
    status, printed, errors = run(answers, "home=([2]=node-b);" + _MEMBERS, states=states, result="1")
    assert (status, printed) == (0, "late: 2\n")
    assert "+" not in errors


def test_a_stranded_member_is_started_and_awaited() -> None:
    """A member whose task stays pending is started again, before any other member is deployed."""
    answers = f""" "service ps "*) {_STUCK} ;; """
    states = "1 primary\n2 silent\n3 secondary"
    status, printed, errors = run(answers, _MEMBERS, states=states, result="1")
    assert (status, printed) == (0, "late: 2\n")
    assert [line for line in errors.splitlines() if line.startswith("+")] == [
        "+ deploy mongodb-2",
        "+ service update --quiet --detach --force secret-manager_mongodb-2",
        "+ await secret-manager_mongodb-2",
    ]


_DEPLOY = {"IMAGE": "registry.example.com/secret-manager:1", "IMAGES_FILE": "none"}


def test_a_deployment_ends_with_the_next_steps(tmp_path: Path) -> None:
    """A deployment that changes nothing deploys each member, the primary last, and then the service."""
    status, printed, errors = run_script("deploy.sh", "", tmp_path, **_DEPLOY)
    assert re.findall(r"^\+ deploy (.*)$", errors, re.MULTILINE) == [
        *(f"mongodb-{number}" for number in (2, 3, 1)),
        "replica-set",
        "secret-manager",
    ]
    assert (status, "Next steps" in printed) == (0, True), errors


_PREPARES = (
    "the job secret-manager_replica-set prepares MongoDB (docker service logs secret-manager_replica-set)"
)


def test_a_quick_start_is_secured_step_by_step(tmp_path: Path) -> None:
    """MongoDB and its users come first, then the service, which Docker does not roll back to the trial."""
    trial = r"""
        "inspect --type task "*) echo '[MONGO_URI_FILE=x]'; echo '[MASTER_KEY=x MONGO_URI=x]' ;;
        "service ls "*Replicas*) echo "0/1 ($((SECONDS > 70))/1 completed)" ;;
        "stack deploy "*) echo "+ $(sed -n 's/^  \([a-z]\)/\1/p; /^    failure/p' | paste -sd ' ')" >&3 ;;
    """
    status, _, errors = run_script("deploy.sh", trial, tmp_path, **_DEPLOY)
    assert status == 0, errors
    job = "secret-manager_replica-set"
    prepares = f"the job {job} prepares MongoDB (docker service logs {job})"
    assert re.findall(r"^(?:\+|Still).*", errors, re.MULTILINE) == [
        "+ mongodb-1: mongodb-2: mongodb-3:",
        "+ replica-set:",
        f"Still waiting after 30 s: {prepares}.",
        f"Still waiting after 60 s: {prepares}.",
        "+ secret-manager:     failure_action: continue",
    ]


def test_a_deployment_without_its_members_fails_at_the_end(tmp_path: Path) -> None:
    """If a member is not in step, the service is deployed, and the last line says what was not."""
    status, printed, errors = run_script("deploy.sh", "", tmp_path, **_DEPLOY, third="other")
    assert (status, "Next steps" in printed) == (1, True)
    assert "+ deploy secret-manager\n" in errors
    assert "deploy mongodb" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("deploy.sh: MongoDB was not updated, because mongodb-3 is not in step.")


def test_an_interrupted_update_is_awaited(tmp_path: Path) -> None:
    """If the update of an earlier deployment did not finish, an unchanged one waits for it."""
    paused = """ *UpdateStatus*) echo paused ;; """
    status, _, errors = run_script("deploy.sh", paused, tmp_path, **_DEPLOY)
    assert status == 1
    assert "the update of secret-manager_secret-manager failed (paused)" in errors
    assert "The service is ready" not in errors


def test_five_members_are_updated_one_at_a_time(tmp_path: Path) -> None:
    """Members that an additional stack file adds are members, not services that are deployed together."""
    five = """
        "service ls "*-job-*) ;;
        "service ls "*Replicas*) echo "0/1 (1/1 completed)" ;;
        "service ls "*) printf 'secret-manager_%s\\n' secret-manager mongodb-{1,2,3,4,5} ;;
        "stack config "*) printf 'services:\\n  %s:\\n' secret-manager replica-set mongodb-{1,2,3,4,5} ;;
        "logs "*)
            printf '"member": "mongodb-%s:27017", "state": "secondary"\\n' 1 2 3 5
            echo '"member": "mongodb-4:27017", "state": "primary"'
            ;;
    """
    status, _, errors = run_script("deploy.sh", five, tmp_path, **_DEPLOY)
    assert status == 0, errors
    assert re.findall(r"^\+ deploy (.*)$", errors, re.MULTILINE) == [
        *(f"mongodb-{number}" for number in (1, 2, 3, 5, 4)),
        "replica-set",
        "secret-manager",
    ]
    assert "MONGO_URI=mongodb://mongodb-1,mongodb-2,mongodb-3,mongodb-4,mongodb-5/" in errors


def test_a_node_that_is_down_is_named_before_a_missing_member(tmp_path: Path) -> None:
    """If a member has no node because one is down, the script says which."""
    down = """
        "node ls "*Hostname*) echo Down node-b ;;
        "service ps "*mongodb-2) ;;
        "service ps "*mongodb-*) echo node-a ;;
    """
    status, _, errors = run_script("deploy.sh", down, tmp_path, **_DEPLOY)
    assert status == 1
    assert errors.splitlines()[0] == "Node node-b is down."
    assert "mongodb-2 is not running and no node has its label" in errors


_STATUS = """
    "logs "*) echo '"role": "primary", "workers": 2, "encrypting": 2, "holding": 2' ;;
    "run "*) echo stdin b2 ;;
    "secret create "*) printf '+ %s\\n' "$*" >&3; cat >/dev/null ;;
    "secret inspect master_key_v2") return 1 ;;
"""


def test_a_rotation_interrupted_in_its_last_step_is_finished(tmp_path: Path) -> None:
    """While Docker removes the earlier key, another run waits for that, and starts no second rotation."""
    removing = f"""
        *UpdateStatus*) ((SECONDS < 5)) && echo updating || echo completed ;;
        *PreviousSpec*) echo MASTER_KEY_FALLBACKS_FILE=/run/secrets/master_key_v0 ;;
        {_STATUS}
    """
    status, _, errors = run_script("rotate_key.sh", removing, tmp_path)
    assert status == 0, errors
    assert "The service now uses master_key_v1." in errors
    assert "Keep a copy of it: docker exec container cat /run/secrets/master_key_v1\n" in errors
    assert "Keep master_key_v0 as long as you keep earlier backups" in errors
    assert "service update" not in errors


def test_a_rotation_waits_for_another_update(tmp_path: Path) -> None:
    """An update that is not a rotation is awaited; then the rotation starts."""
    updating = f"""
        *UpdateStatus*) ((SECONDS < 5)) && echo updating || echo completed ;;
        *PreviousSpec*) ;;
        {_STATUS}
    """
    _, _, errors = run_script("rotate_key.sh", updating, tmp_path)
    assert "+ secret create --label secret-manager.key-id=b2 master_key_v2 -\n" in errors
    assert "1. Adding master_key_v2" in errors


_KEYRING = """
        *.Mounts*) echo --env=MASTER_KEYRING_FILE=/k.json ;;
        *ConfigName*) echo "/k.json $(<"$STATE/current")" ;;
        *Env*) echo MASTER_KEYRING_FILE=/k.json ;;
        "config inspect "*Labels*) cat "$STATE/$3" ;;
        "config inspect "*) [[ -e $STATE/$3 ]] ;;
        "config create "*) echo "+ $* $(cat)" >&3; echo "${4#*=}" >"$STATE/$5" ;;
        "service update "*) echo "+ $*" >&3; expr "$*" : '.*source=\\([^,]*\\)' >"$STATE/current" ;;
        "service create "*) echo "+ $*" >&3; echo "$*" >"$STATE/job" ;;
        "logs "*)
            row() {
                printf '{"key_id": "%s", "role": "%s", "workers": 2, "encrypting": 2, "holding": 2}\\n' "$@"
            }
            case "$(<"$STATE/job") $(<"$STATE/$(<"$STATE/current")")" in
                *"status --json "*new-key*) row a1 primary; row b2 fallback ;;
                *"status --json "*promote*) row b2 primary; row a1 fallback ;;
                *"status --json "*) row b2 primary; [[ ! -e $STATE/foreign ]] || row c3 fallback ;;
                *custody*) echo file; [[ -e $STATE/cut ]] || echo file | sha256sum ;;
            esac
            ;;
"""


def rotate_file(folder: Path, current: str, **configs: str) -> tuple[int, list[str], str]:
    """Return the exit status, changes and errors of a rotation from the config *current*."""
    folder.mkdir(exist_ok=True)
    for name, step in ({current: ""} | configs | {"current": current}).items():
        (folder / name).write_text(f"{step}\n")
    status, _, errors = run_script(
        "rotate_key.sh",
        _KEYRING,
        folder,
        STATE=str(folder),
        OPERATOR_SECRETS="TRANSIT_TOKEN=operator_token",
    )
    # Commands of jobs, and options of changes.
    shown = r"(?<=\.json sh ).*|keys rewrap|config create .*|(?<=--config-add ).*"
    return status, re.findall(shown, errors), errors


STEPS = [
    "new-key",
    "config create --label secret-manager.rotation=new-key keyring_v1 keyring_v2 - file",
    "source=keyring_v2,target=/k.json secret-manager_secret-manager",
    "promote b2",
    "config create --label secret-manager.rotation=promote keyring_v2 keyring_v3 - file",
    "source=keyring_v3,target=/k.json secret-manager_secret-manager",
    "keys rewrap",
    "drop a1",
    "config create --label secret-manager.rotation=drop keyring_v3 keyring_v4 - file",
    "source=keyring_v4,target=/k.json secret-manager_secret-manager",
]


def test_a_log_that_is_not_the_file_becomes_no_config(tmp_path: Path) -> None:
    """If Docker's log of the job lacks a part, nothing is deployed."""
    status, changes, errors = rotate_file(tmp_path, "keyring_v1", cut="")
    assert (status, changes) == (1, ["new-key"])
    assert "the log of the job is not the keyring file" in errors


def test_each_step_with_a_keyring_file_is_its_next_config(tmp_path: Path) -> None:
    """Jobs edit a copy of the file, as an operator who may wrap; each edit is a new Docker config."""
    status, changes, errors = rotate_file(tmp_path, "keyring_v1")
    assert (status, changes) == (0, STEPS), errors
    assert "--secret=source=operator_token,target=operator-TRANSIT_TOKEN," in errors
    assert "export TRANSIT_TOKEN_FILE=/run/secrets/operator-TRANSIT_TOKEN;" in errors
    assert "export KEYRING_CONFIG=keyring_v4" in errors


@pytest.mark.parametrize(
    ("current", "configs", "left"),
    [
        ("keyring_v1", {"keyring_v2": "new-key keyring_v1"}, STEPS[2:]),
        ("keyring_v2", {"keyring_v2": "new-key keyring_v1"}, STEPS[3:]),
        (
            "keyring_v3",
            {"keyring_v3": "promote keyring_v2", "keyring_v4": "drop keyring_v3"},
            [STEPS[6], STEPS[9]],
        ),
    ],
    ids=["step 1", "step 2", "step 4"],
)
def test_an_interrupted_rotation_of_a_file_resumes(
    tmp_path: Path, current: str, configs: dict[str, str], left: list[str]
) -> None:
    """A config that an interrupted run has created is used, and no second key is made."""
    status, changes, errors = rotate_file(tmp_path, current, **configs)
    assert (status, changes) == (0, left), errors


def test_files_of_others_are_not_rotated(tmp_path: Path) -> None:
    """An unrelated config with the next name, a fallback from elsewhere, and other names are refused."""
    for number, (current, configs, reason) in enumerate(
        (
            ("keyring_v1", {"keyring_v2": ""}, "there is a Docker config keyring_v2 already"),
            ("keyring_v1", {"foreign": ""}, "a fallback that this script did not add, c3"),
            ("mine", {}, "is not named keyring_vN"),
        )
    ):
        status, changes, errors = rotate_file(tmp_path / str(number), current, **configs)
        assert (status, changes) == (1, []), errors
        assert reason in errors


def test_each_job_has_a_name_of_its_own() -> None:
    """Docker can still have the container of an earlier job, so no name is used again; all are removed."""
    answers = """
        "service create "*) expr "$*" : '.*--name \\([^ ]*\\)' >&2 ;;
        "service ls "*) echo job-1 ;;
    """
    status, _, errors = run(answers, "start_job image; start_job image; (start_job image); echo end >&2")
    names = [line for line in errors.splitlines() if line.startswith("secret-manager-job-")]
    assert status == 0
    assert len(set(names)) == 3
    assert len({name.split("-")[3] for name in names}) == 1
    assert errors.endswith("end\n+ service rm job-1\n")
