"""Stack files as `swarm check` reads them, compared with Docker's own reading."""

from pathlib import Path

import pytest

from tests.qa.deployment.engine import docker
from vault.clients.swarm.stacks.file import Stack, read

pytestmark = pytest.mark.process

_VARIABLES = {"TAG": "2", "EMPTY": "", "DRIVER": "secret-manager"}
_BELOW = """
x-shop: &shop {image: "shop:${TAG:-1}"}
services:
  api:
    <<: *shop
    secrets: [db, {source: tls, target: key.pem}]
  web: {image: "web:${NONE-1}${EMPTY:-x}", secrets: [db]}
secrets:
  db: {driver: secret-manager, labels: {secret-manager.name: "shop/${NONE:-db}", secret-manager.version: 3}}
  tls: {driver: $DRIVER, labels: [secret-manager.name=shop/tls]}
  old: {external: true}
"""
_ABOVE = """
services:
  api: {image: "other:${TAG?must be set}", secrets: [extra, db]}
  worker: {image: worker, secrets: [old]}
secrets:
  extra: {driver: secret-manager, labels: {secret-manager.name: shop/extra}}
  tls: {driver: secret-manager, labels: {secret-manager.name: shop/other}}
"""


def shown(stack: Stack) -> object:
    """Return a stack without the order of its services' secrets."""
    services = {key: (service.image, set(service.secrets)) for key, service in stack.services.items()}
    return services, stack.secrets


def test_files_are_read_like_docker_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged and with variables, services, images, secrets and labels are those of `docker stack config`."""
    below, above = tmp_path / "below.yml", tmp_path / "above.yml"
    below.write_text(_BELOW)
    above.write_text(_ABOVE)
    for name, text in _VARIABLES.items():
        monkeypatch.setenv(name, text)
    own = read(_BELOW.encode(), _VARIABLES).merged(read(_ABOVE.encode(), _VARIABLES))
    of_docker = read(docker("stack", "config", "-c", str(below), "-c", str(above)).encode(), {})
    assert shown(own) == shown(of_docker)
