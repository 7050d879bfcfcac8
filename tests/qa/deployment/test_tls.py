"""TLS on a swarm: the service's own certificate, and Caddy in front of the service."""

import json
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.qa.deployment.engine import (
    API,
    BUILD_OPTIONS,
    IMAGE,
    OVERRIDE,
    STACK,
    Replica,
    build,
    containers,
    docker,
    is_healthy,
    remove,
    replicas,
    run,
    wait_for,
)
from tests.system.test_tls import Pair, make

pytestmark = pytest.mark.process

_CADDY = "secret-manager:caddy"
_DOCKERFILE = f"""
FROM {IMAGE}
USER 0
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends caddy >/dev/null
ENTRYPOINT []
"""
_CREATE = "/vault/secret/create"
_BODY = {"secret": b64encode(b"value").decode()}


def deploy(*arguments: object, **environment: str) -> str:
    """Deploy for production, wait for two replicas, and return what was printed."""
    own = {"PUBLISHED_PORT": "0", "DOCKER_BUILD_OPTIONS": BUILD_OPTIONS, **environment}
    printed = run("scripts/deploy.sh", OVERRIDE, *map(str, arguments), **own).stdout
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    return printed


def options(pair: Pair) -> tuple[object, ...]:
    """Return the options that name this pair."""
    return "--tls-cert", pair.certificate, "--tls-key", pair.key


def shown(replica: Replica) -> str:
    """Return the certificate that a replica shows."""
    address = urlsplit(replica.url)
    return ssl.get_server_certificate((str(address.hostname), int(address.port or 0)))


def members() -> list[str]:
    """Return the containers of MongoDB's members."""
    return [one for number in (1, 2, 3) for one in containers(f"{STACK}_mongodb-{number}")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a certificate for this machine, and its key."""
    return make(tmp_path_factory.mktemp("first"), "first")


@pytest.fixture(scope="module")
def token(image: str, pair: Pair) -> Iterator[str]:
    """Deploy on the empty engine with a certificate, and return the first token."""
    assert image
    try:
        [found] = re.findall(r"^smt_[0-9A-Za-z]{38}$", deploy(*options(pair)), re.MULTILINE)
        yield str(found)
    finally:
        remove()
        for name in docker("secret", "ls", "--format", "{{.Name}}").split():
            run("docker", "secret", "rm", name, check=False)
        run("docker", "config", "rm", *docker("config", "ls", "-q").split(), check=False)


def test_a_new_pair_replaces_the_replicas_only(token: str, pair: Pair, tmp_path: Path) -> None:
    """Replicas have TLS with the pair that was deployed last; without another one, nothing restarts."""
    for replica in replicas():
        assert shown(replica) == pair.certificate.read_text()
        url = replica.url.replace("http:", "https:") + _CREATE
        headers = {"Authorization": f"Bearer {token}"}
        reply = requests.post(url, json=_BODY, headers=headers, verify=pair.certificate, timeout=30)
        assert reply.status_code == 200
    before, second = members(), make(tmp_path, "second")
    deploy(*options(second))
    assert {shown(replica) for replica in replicas()} == {second.certificate.read_text()}
    kept = sorted(containers())
    assert "Encrypt requests" not in deploy()
    assert sorted(containers()) == kept
    assert members() == before


def test_caddy_in_front_hides_the_replicas(token: str, tmp_path: Path) -> None:
    """Through Caddy, the trail has the client's own address, even a forged one; no replica has a port."""
    build(_CADDY, _DOCKERFILE)
    deploy(
        *("deploy/stack.proxy.yml", "--no-tls"),
        PROXY_HOST="localhost",
        PROXY_NODE=docker("node", "inspect", "self", "--format", "{{.Description.Hostname}}"),
        PROXY_OPTIONS="local_certs",
        PROXY_IMAGE=_CADDY,
    )
    authority = tmp_path / "root.crt"

    def has_certificate() -> bool:
        file = "/data/caddy/pki/authorities/local/root.crt"
        found = [run("docker", "exec", one, "cat", file, check=False) for one in containers(f"{STACK}_proxy")]
        authority.write_text("".join(one.stdout for one in found))
        return "-----END" in authority.read_text()

    wait_for(has_certificate, what="a certificate")
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}

    def is_created() -> bool:
        try:
            return requests.post(
                f"https://localhost{_CREATE}", json=_BODY, headers=headers, verify=authority, timeout=30
            ).ok
        except requests.RequestException:
            return False

    wait_for(is_created, what="a reply through Caddy")
    tail = ("secret-manager", "audit", "query", "--action", "create", "--json")
    [*_, entry] = map(json.loads, replicas()[0].run(*tail).splitlines())
    assert not entry["ip"].startswith(("10.213.65.", "192.0.2."))
    assert docker("service", "inspect", API, "--format", "{{json .Spec.EndpointSpec.Ports}}") == "null"
