"""The production deployment, created by scripts/deploy.sh and rotated by scripts/rotate_key.sh."""

import json
import os
import re
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.qa.deployment.engine import (
    BUILD_OPTIONS,
    IMAGE,
    MONGODB_NETWORK,
    NETWORK,
    OVERRIDE,
    ROOT,
    STACK,
    containers,
    deploy,
    docker,
    is_healthy,
    is_settled,
    load,
    remove,
    replicas,
    run,
    wait_for,
)
from tests.support.custody import turned
from vault.core.crypto import MasterKey

pytestmark = pytest.mark.process

_DEPLOY = {"PUBLISHED_PORT": "0", "DOCKER_BUILD_OPTIONS": BUILD_OPTIONS}
#: Prints MongoDB's answer without a credential.
_LOOK = (
    "from pymongo import MongoClient\n"
    "client = MongoClient('mongodb://mongodb-1', directConnection=True, serverSelectionTimeoutMS={})\n"
    "try: print('read', client.vault.secrets.find_one())\n"
    "except Exception as error: print(type(error).__name__, getattr(error, 'code', None))\n"
)
#: Prints MongoDB's answers to changes, removals and hiding of audit entries by the service's own user.
_REWRITE = (
    "from pymongo import MongoClient; from vault.common.config.settings import mongo_uri\n"
    "trail = MongoClient(mongo_uri()).vault.audit_logs\n"
    "for rewrite in (lambda: trail.update_many({}, {'$set': {'status': 'success'}}),\n"
    "                lambda: trail.delete_many({}), trail.drop, trail.drop_indexes,\n"
    "                lambda: trail.create_index('ts', expireAfterSeconds=1, sparse=True)):\n"
    "    try: print(rewrite())\n"
    "    except Exception as error: print(error.code)\n"
)
#: Prints the retention of audit entries in seconds.
_RETENTION = (
    "from pymongo import MongoClient; from vault.common.config.settings import mongo_uri\n"
    "indexes = MongoClient(mongo_uri()).vault.audit_logs.index_information()\n"
    "print(indexes['retention']['expireAfterSeconds'])\n"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """The key of a quick start, and the ID of a secret in it with the value `trial`."""

    key: str
    secret_id: str


@pytest.fixture(scope="module")
def trial(master_key: str) -> Iterator[Trial]:
    """Deploy on the empty engine like the quick start, and store a secret."""
    try:
        deploy(MASTER_KEY=master_key)
        wait_for(lambda: is_healthy(2), what="two healthy replicas")
        yield Trial(master_key, replicas()[0].create(b"trial")[1]["secret_id"])
    finally:
        remove()


def has_key(member: str) -> bool:
    """Return whether MongoDB's *member* is deployed with access control."""
    arguments = "{{.Spec.TaskTemplate.ContainerSpec.Args}}"
    return "keyFile" in docker("service", "inspect", f"{STACK}_{member}", "--format", arguments)


@pytest.fixture(scope="module")
def token(trial: Trial) -> str:
    """Make the quick start a secured stack, at the second attempt, and return the first token."""
    assert trial
    command = ("scripts/deploy.sh", OVERRIDE)
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **_DEPLOY}) as interrupted:
        wait_for(lambda: has_key("mongodb-1"), what="the first change of MongoDB")
        interrupted.terminate()
    printed = run(*command, **_DEPLOY).stdout
    [found] = re.findall(r"^smt_[0-9A-Za-z]{38}$", printed, re.MULTILINE)
    return str(found)


def seen_from(network: str, name: str, *, milliseconds: int = 3_000) -> str:
    """Return what a container on *network* reads from MongoDB in that time."""
    docker(
        *(
            "service",
            "create",
            "--quiet",
            "--detach",
            "--no-resolve-image",
            "--name",
            name,
            "--network",
            network,
        ),
        *("--endpoint-mode", "dnsrr", "--restart-condition", "none", "--no-healthcheck"),
        *("--entrypoint", "python", IMAGE, "-c", _LOOK.format(milliseconds)),
    )
    label = f"label=com.docker.swarm.service.name={name}"
    try:
        wait_for(lambda: docker("ps", "-aq", "--filter", label, "--filter", "status=exited"), what=name)
        return docker("logs", docker("ps", "-aq", "--filter", label))
    finally:
        docker("service", "rm", name)


def test_only_a_token_gives_access(token: str) -> None:
    """With the first token, a secret crosses from one replica to the other; without one the answer is 401."""
    one, other = replicas()
    status, created = one.create(b"value", token=token)
    assert status == 200
    assert other.fetch(created["secret_id"], token=token)[0] == 200
    assert other.fetch(created["secret_id"])[0] == 401
    assert one.create(b"value")[0] == 401


def test_the_quick_start_does_not_open_a_secured_stack(trial: Trial, token: str) -> None:
    """While stack.yml alone is deployed, no anonymous request succeeds; afterwards, all data is there."""
    _, created = replicas()[0].create(b"secured", token=token)
    with load(is_allowed=False) as outcome:
        refused = deploy(MASTER_KEY=trial.key, check=False)
        wait_for(lambda: is_settled(2), what="two ready replicas")
    assert outcome.requests == []
    assert {reason.split()[0] for _, _, reason in outcome.failures} <= {"401", "503"}
    assert refused.returncode == 1
    run("scripts/deploy.sh", OVERRIDE, **_DEPLOY)
    for replica in replicas():
        assert replica.fetch(trial.secret_id, token=token)[1] == {"secret": b64encode(b"trial").decode()}
        assert replica.fetch(created["secret_id"], token=token)[0] == 200
    secrets = docker("secret", "ls", "--filter", "name=master_key", "--format", "{{.Name}}")
    assert secrets == "master_key_v1"


@pytest.mark.usefixtures("token")
def test_a_deployment_is_repeated_from_its_record(tmp_path: Path) -> None:
    """Without a checkout, a manager sees what a variable would change, and changes it unless it is wrong."""
    command = (
        "env",
        "-C",
        str(tmp_path),
        str(ROOT / ".venv/bin/secret-manager"),
        "swarm",
        "deploy",
        "--again",
    )
    assert run(*command, "--plan").stdout == "Nothing would change.\n"
    refused = run(*command, check=False, AUDIT_TTL_DAYS="30d")
    assert refused.returncode == 1
    assert "wrong: AUDIT_TTL_DAYS: Not a valid integer.\n" in refused.stderr
    planned = run(*command, "--plan", "--json", AUDIT_TTL_DAYS="20").stdout
    change = {"what": "variable AUDIT_TTL_DAYS", "now": "", "then": "20"}
    assert [json.loads(line) for line in planned.splitlines()] == [
        {"place": place, **change} for place in ("backup", "replica-set", "secret-manager")
    ]
    run(*command, AUDIT_TTL_DAYS="20")
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    assert run(*command, "--plan").stdout == "Nothing would change.\n"
    assert len(docker("config", "ls", "-q", "--filter", "name=secret-manager-deployment").split()) == 1


@pytest.mark.promise("swarm")
@pytest.mark.usefixtures("token")
def test_mongodb_is_unreachable_from_outside() -> None:
    """Other networks cannot reach MongoDB; its own network reads nothing without a credential."""
    docker("network", "create", "--driver", "overlay", "another")
    try:
        assert seen_from("another", "look-another") == "ServerSelectionTimeoutError None"
    finally:
        wait_for(
            lambda: not run("docker", "network", "rm", "another", check=False).returncode, what="its end"
        )
    assert seen_from(NETWORK, "look-clients") == "ServerSelectionTimeoutError None"
    assert seen_from(MONGODB_NETWORK, "look-members", milliseconds=60_000) == "OperationFailure 13"


@pytest.mark.promise("swarm")
@pytest.mark.usefixtures("token")
def test_containers_have_minimal_privileges_and_show_no_secret() -> None:
    """Root filesystems are read-only, capabilities dropped, and the swarm's output has no secret."""
    values = set()
    for service in ("secret-manager", "backup", "mongodb-1", "mongodb-2", "mongodb-3"):
        container = containers(f"{STACK}_{service}")[0]
        host = docker(
            "inspect", container, "--format", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
        )
        assert host == "true [ALL]"
        assert docker("exec", container, "id", "-u") in {"10001", "999"}
        if service == "secret-manager":
            # The first process is Docker's init.
            # A process can end before its file is read.
            status = docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/status || true")
            assert status.count("NoNewPrivs:\t1") > 1
        for name in docker("exec", container, "ls", "/run/secrets").split():
            values.add(docker("exec", container, "cat", f"/run/secrets/{name}"))
    assert len(values) == 3
    # Docker keeps the settings of the quick start, with the key, as those before.
    names = docker("service", "ls", "-q").split()
    inspected = docker("service", "inspect", *names, "--format", "{{json .Spec}}")
    # Not `docker service logs`, which sometimes does not end.
    kept = docker("ps", "-aq", "--filter", f"label=com.docker.stack.namespace={STACK}").split()
    written = [run("docker", "logs", container) for container in kept]
    logs = "".join(f"{one.stdout}{one.stderr}" for one in written)
    for value in values:
        assert value not in inspected
        assert value not in logs


@pytest.mark.promise(3)
@pytest.mark.usefixtures("token")
def test_the_service_s_own_user_cannot_rewrite_the_trail() -> None:
    """The service's connection string cannot change, remove or hide audit entries."""
    assert replicas()[0].run("python", "-c", _REWRITE).split() == ["13"] * 5


def test_a_key_is_rotated_and_a_repeated_deployment_keeps_it(token: str) -> None:
    """The next key is used after rotate_key.sh, and after deploy.sh, which changes the retention."""
    _, created = replicas()[0].create(b"older than the key", token=token)
    done = run("scripts/rotate_key.sh")
    assert "0 left" in done.stdout
    printed = run("scripts/deploy.sh", OVERRIDE, AUDIT_TTL_DAYS="30", **_DEPLOY).stdout
    assert "a copy of master_key_v2" in printed
    wait_for(
        lambda: replicas()[0].run("python", "-c", _RETENTION) == str(30 * 86_400), what="another retention"
    )
    # There is a token already: no second one is created.
    assert "smt_" not in printed
    # Earlier ones have ended.
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    for replica in replicas():
        assert replica.fetch(created["secret_id"], token=token)[0] == 200
        assert replica.run("ls", "/run/secrets") == "master_key_v2\nmongo_uri"
    # The service of backups has the same key.
    wait_for(lambda: secrets_of("backup") == "master_key_v2\nmongo_uri", what="the key in the backups")


def secrets_of(service: str) -> str:
    """Return the names of the secrets of a *service*; empty while its container is replaced."""
    found = containers(f"{STACK}_{service}")
    return run("docker", "exec", found[0], "ls", "/run/secrets", check=False).stdout.strip() if found else ""


@pytest.mark.usefixtures("token")
def test_backups_are_made_and_drilled_by_default() -> None:
    """The deployment makes a backup by itself, and drills it on a MongoDB that only the backups reach."""
    label = f"label=com.docker.swarm.service.name={STACK}_backup"

    def log() -> str:
        found = docker("ps", "-aq", "--filter", label).split()
        return "".join(run("docker", "logs", container).stdout for container in found)

    wait_for(lambda: "a drill passed" in log(), what="a backup and its drill")
    [container] = containers(f"{STACK}_backup")
    names = docker("exec", container, "ls", "-l", "/backups").splitlines()[1:]
    assert [name[:10] for name in names] == ["-rw-------"] * len(names)
    assert re.search(r"vault-\d{8}T\d{6}Z\.tar$", names[-1])


def test_a_backup_is_made_and_drilled_next_to_mongodb(token: str, tmp_path: Path) -> None:
    """`run_command.sh` writes a backup into the current folder; a drill on a separate MongoDB accepts it."""
    assert replicas()[0].create(b"kept", token=token)[0] == 200
    job = str(ROOT / "scripts/run_command.sh")
    assert "secrets, 1 token and " in run("env", "-C", str(tmp_path), job, "backup", "vault.tar").stdout
    [made] = tmp_path.iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    again = run("env", "-C", str(tmp_path), job, "backup", "vault.tar", check=False)
    assert again.returncode == 1
    assert "vault.tar exists" in again.stdout + again.stderr
    docker(
        *("service", "create", "--quiet", "--detach=false", "--no-resolve-image", "--name", "drill"),
        *("--network", MONGODB_NETWORK, "--endpoint-mode", "dnsrr", "mongo:7.0"),
    )
    try:
        own = {"MONGO_URI": "mongodb://drill/"}
        assert (
            "the backup is good" in run("env", "-C", str(tmp_path), job, "drill", "vault.tar", **own).stdout
        )
    finally:
        docker("service", "rm", "drill")


def test_the_key_moves_into_custody_and_is_rotated_there(token: str) -> None:
    """With a keyring file as a Docker config, no container has the key, and rotate_key.sh edits the file."""
    # Not at the top: a build can be without the feature.
    from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey

    _, created = replicas()[0].create(b"before custody", token=token)
    name = replicas()[0].run("ls", "/run/secrets").split()[0]
    key = MasterKey(b64decode(replicas()[0].run("cat", f"/run/secrets/{name}")))
    slot = Slot("program", "command", "/etc/secret-manager/program", turned(key._material))
    file = KeyringFile((WrappedKey(key.id, "primary", (slot,)),))
    run("docker", "config", "create", "keyring_v1", "-", stdin=file.text())
    run("scripts/deploy.sh", OVERRIDE, "tests/qa/deployment/custody.yml", **_DEPLOY)
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    done = run("scripts/rotate_key.sh")
    assert "0 left" in done.stdout
    assert "export KEYRING_CONFIG=keyring_v4" in done.stderr
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    for replica in replicas():
        assert replica.fetch(created["secret_id"], token=token)[0] == 200
        assert replica.run("ls", "/run/secrets") == "mongo_uri"
    content = b64decode(docker("config", "inspect", "keyring_v4", "--format", "{{json .Spec.Data}}"))
    [rotated] = KeyringFile.parse(content).keys
    assert rotated.id != key.id
