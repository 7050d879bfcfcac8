"""The waits and jobs of the scripts that manage a swarm, with answers of Docker that change with the time."""

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: A clock that only `sleep` moves; what the scripts change goes to standard error, after a "+".
_PRELUDE = """
set -euo pipefail
exec 3>&2
unset SECONDS; SECONDS=0
sleep() { SECONDS=$((SECONDS + $1)); }
for file in swarm_lib job mongodb_placement mongodb_members; do source "scripts/$file.sh"; done
IMAGE=secret-manager:1
docker() {
    case "$*" in
%s
        "info "*) echo node-a ;;
        "service create "* | "service rm "* | "service update "* | exec*) printf '+ %%s\\n' "$*" >&3 ;;
        *) return 1 ;;
    esac
}
"""


def run(answers: str, command: str, **environment: str) -> tuple[int, str, str]:
    """Return exit status, output and errors of a *command* of the scripts, with these *answers* of Docker."""
    done = subprocess.run(
        ("bash", "-c", _PRELUDE % answers + command),
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
        *.Secrets*) echo master_key_v1 master_key_v1 ;;
        *.Mounts*) echo --mount=type=bind,source=/dev/log,target=/dev/log,readonly=false; echo ;;
        *.Env*) printf '%s\\n' AUDIT_ENABLED=false AUDIT_SINK=unix:///dev/log TOKEN_MAX_DAYS=30 BIND= ;;
    """
    status, printed, errors = run(answers, "like_service 1 2")
    assert (status, errors) == (0, "")
    assert printed.splitlines() == [
        "--network=secret-manager_secret-manager-network",
        "--mount=type=bind,source=/dev/log,target=/dev/log,readonly=false",
        "--secret=source=master_key_v1,target=master_key_v1,uid=1,gid=2,mode=0400",
        "--env=MASTER_KEY_FILE=",
        "--env=MASTER_KEY_FALLBACKS_FILE=",
        "--env=MONGO_URI_FILE=",
        "--env=AUDIT_ENABLED=false",
        "--env=AUDIT_TTL_DAYS=",
        "--env=AUDIT_SINK=unix:///dev/log",
        "--env=AUDIT_SINK_REQUIRED=",
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
