"""deploy/stack.proxy.yml: Caddy in front of the service, as far as it can be checked without an engine."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import World
from tests.docs.documents import ROOT
from tests.support.system import needs

STACK: dict[str, Any] = yaml.safe_load((ROOT / "deploy/stack.proxy.yml").read_text())
FILE = ROOT / "deploy/proxy/Caddyfile"


def test_a_changed_file_is_a_new_config() -> None:
    """Docker configs are immutable, so the name has a part of the file's SHA-256."""
    [config] = STACK["configs"].values()
    assert config["name"] == f"caddyfile-{hashlib.sha256(FILE.read_bytes()).hexdigest()[:8]}"
    assert ROOT / config["file"] == FILE


def test_the_service_trusts_the_network_of_the_proxy_only() -> None:
    """Replicas take the client's address from the one network that only they and the proxy have."""
    proxy, service = STACK["services"]["proxy"], STACK["services"]["secret-manager"]
    [network] = proxy["networks"]
    assert service["networks"] == [network]
    [subnet] = STACK["networks"][network]["ipam"]["config"]
    assert service["environment"]["TRUSTED_PROXIES"] == subnet["subnet"]
    assert STACK["networks"][network]["attachable"] is False
    assert {port["mode"] for port in proxy["ports"]} == {"host"}
    assert (proxy["read_only"], proxy["cap_drop"]) == (True, ["ALL"])


@pytest.mark.process
def test_caddy_takes_the_file(tmp_path: Path) -> None:
    """Caddy accepts its configuration: one host with an automatic certificate, and the service behind it."""
    command = [needs("caddy"), "adapt", "--validate", "--adapter", "caddyfile", "--config", str(FILE)]
    environment = {"PROXY_HOST": "secrets.example.com", "PROXY_OPTIONS": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    [server] = json.loads(done.stdout)["apps"]["http"]["servers"].values()
    [route] = server["routes"]
    assert route["match"] == [{"host": ["secrets.example.com"]}]
    assert "secret-manager:8000" in json.dumps(route)
    assert "automatic_https" not in server


def test_replicas_behind_a_proxy_publish_no_port(swarm: World, deploy: Run) -> None:
    """A service with the label of the stack file loses its ports, and no other does."""
    labels = STACK["services"]["secret-manager"]["deploy"]["labels"]
    ports = [{"target": 8000, "published": 8000}]
    swarm.stack_file["services"] |= {
        "secret-manager": {"ports": ports, "deploy": {"labels": labels}},
        "proxy": {"ports": ports},
    }
    deploy()
    [*_, sent] = [options["input"] for call, options in swarm.called if call[:2] == ("stack", "deploy")]
    services = json.loads(sent)["services"]
    assert "ports" not in services["secret-manager"]
    assert services["proxy"]["ports"] == ports
