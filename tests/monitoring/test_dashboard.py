"""The dashboard is valid for Grafana, and every metric that it and the alerts query exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import running_app, start
from tests.support.instruments import described
from tests.system.test_tls import make
from vault.common.observability import metrics

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = json.loads((ROOT / "deploy/monitoring/grafana/secret-manager.json").read_text())
PANELS = [panel for panel in FILE["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: The schema of Grafana 12; a newer one converts it by itself.
SCHEMA = 41


def test_the_metrics_of_dashboard_and_alerts_exist(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each metric in a query is one that the service counts, or one of its page of metrics."""
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path))
    monkeypatch.setattr("vault.core.keys.status._SCRAPE_TIMEOUT_SECONDS", 60)
    pair = make(tmp_path, "server")
    files = {"TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    with running_app({**environment, **files, "METRICS_BIND": "127.0.0.1:9464"}) as app:
        start(app)
        page = app.test_client().get("/metrics", base_url="http://localhost:9464").get_data(as_text=True)
    on_page = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    counted = {
        f"{family.name}{suffix}"
        for family, _ in described()
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
            family.type, ("",)
        )
    }
    alerts = (ROOT / "deploy/monitoring/alerts.yml").read_text()
    queried = set(re.findall(r"secret_manager_\w+", " ".join((*QUERIES, alerts))))
    assert len(queried) > 10
    assert queried <= on_page | counted


def test_the_dashboard_can_be_provisioned() -> None:
    """It has a stable name, the deployed Grafana's schema, one data source, and a choice of replicas."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", FILE["uid"])
    assert FILE["schemaVersion"] == SCHEMA
    assert not {"id", "__inputs"} & set(FILE)
    stack = (ROOT / "deploy/stack.monitoring.yml").read_text()
    assert re.search(r"image: \$\{GRAFANA_IMAGE:-grafana/grafana:12\.", stack)
    assert [variable["name"] for variable in FILE["templating"]["list"]] == ["datasource", "instance"]
    for panel in PANELS:
        assert panel["datasource"] == SOURCE
        assert {json.dumps(target["datasource"]) for target in panel["targets"]} == {json.dumps(SOURCE)}
    for query in QUERIES:
        for selector in re.findall(r"secret_manager_\w+(\{.*?\})?", query):
            assert 'instance=~"$instance"' in selector, query
