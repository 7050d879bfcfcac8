"""stack.monitoring.yml fits stack.yml and its files, as far as that can be checked without an engine."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "deploy/stack.monitoring.yml").read_text())
SERVICE: dict[str, Any] = yaml.safe_load((ROOT / "stack.yml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
GRAFANA = ROOT / "deploy/monitoring/grafana"


def mounted(service: str) -> dict[str, Path]:
    """Return the files of *service*, by their paths in its container."""
    configs = STACK["services"][service]["configs"]
    return {config["target"]: ROOT / STACK["configs"][config["source"]]["file"] for config in configs}


def test_prometheus_finds_the_replicas() -> None:
    """Prometheus finds the tasks of the service by name in a shared network, at the metrics port."""
    [scrape] = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "secret-manager"]
    [discovery] = scrape["dns_sd_configs"]
    [name] = discovery["names"]
    service = SERVICE["services"][name.removeprefix("tasks.")]
    assert name.startswith("tasks.")
    assert discovery["type"] == "A"
    [port] = re.findall(r":(\d+)\}$", service["environment"]["METRICS_BIND"])
    assert discovery["port"] == int(port)
    assert set(service["networks"]) & set(STACK["services"]["prometheus"]["networks"]) == {
        "secret-manager-network"
    }


def test_it_adds_to_the_service_s_stack_and_changes_nothing_of_it() -> None:
    """The stack adds its own services, networks and volumes to stack.yml; shared ones already exist."""
    assert not set(STACK["services"]) & set(SERVICE["services"])
    assert not set(STACK["volumes"]) & set(SERVICE["volumes"])
    assert not set(STACK["networks"]) & set(SERVICE["networks"])
    known = set(STACK["networks"]) | set(SERVICE["networks"])
    for service in STACK["services"].values():
        assert set(service["networks"]) <= known


@pytest.mark.parametrize("name", STACK["configs"])
def test_a_changed_file_is_a_new_config(name: str) -> None:
    """Docker configs are immutable, so each name has a part of its file's SHA-256."""
    config = STACK["configs"][name]
    digest = hashlib.sha256((ROOT / config["file"]).read_bytes()).hexdigest()
    assert config["name"] == f"{name}-{digest[:8]}"


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_the_images_are_pinned_and_restricted(name: str) -> None:
    """Each image has one version, a read-only root, no capabilities and no published port."""
    service = STACK["services"][name]
    assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:v?\d+\.\d+\.\d+\}", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "ports" not in service
    assert service["deploy"]["resources"]["limits"]["memory"]


def test_grafana_reaches_only_prometheus() -> None:
    """Grafana has one internal network, Prometheus as its data source, and the dashboard file."""
    grafana = STACK["services"]["grafana"]
    [network] = grafana["networks"]
    assert STACK["networks"][network]["internal"] is True
    [source] = yaml.safe_load((GRAFANA / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert network in STACK["services"]["prometheus"]["networks"]
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    [provider] = yaml.safe_load((GRAFANA / "dashboards.yml").read_text())["providers"]
    files = mounted("grafana")
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert files[home] == GRAFANA / "secret-manager.json"
    folders = {Path(target).parent.as_posix() for target in files}
    provisioning = {f"/etc/grafana/provisioning/{kind}" for kind in ("datasources", "dashboards")}
    assert folders == {*provisioning, provider["options"]["path"]}


def test_prometheus_reads_its_rules() -> None:
    """The rules are at the path in Prometheus's configuration."""
    files = mounted("prometheus")
    [configuration] = [target for target, file in files.items() if file.name == "prometheus.yml"]
    assert f"--config.file={configuration}" in STACK["services"]["prometheus"]["command"]
    [rules] = PROMETHEUS["rule_files"]
    assert files[str(Path(configuration).parent / rules)] == ROOT / "deploy/monitoring/alerts.yml"


def test_grafana_s_password_is_a_docker_secret() -> None:
    """The password comes from an existing secret, and no file of the stack contains one."""
    grafana = STACK["services"]["grafana"]
    [secret] = grafana["secrets"]
    assert STACK["secrets"] == {secret["source"]: {"external": True}}
    password_file = grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert password_file == f"/run/secrets/{secret['target']}"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in grafana["environment"]
