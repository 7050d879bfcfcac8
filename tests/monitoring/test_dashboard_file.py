"""The dashboard's file is valid for Grafana, as far as that can be checked without Grafana."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from monitoring.panels import DASHBOARD

FILE: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = FILE["panels"]
SHOWING = [panel for panel in PANELS if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: The schema of Grafana 12; a newer one converts it by itself.
SCHEMA = 41


def test_it_can_be_provisioned() -> None:
    """The dashboard has a stable name, the deployed Grafana's schema, and no database ID."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", FILE["uid"])
    assert FILE["schemaVersion"] == SCHEMA
    assert "id" not in FILE
    assert "__inputs" not in FILE
    stack = (Path(__file__).parents[2] / "stack.monitoring.yml").read_text()
    assert re.search(r"image: \$\{GRAFANA_IMAGE:-grafana/grafana:12\.", stack)


def test_panels_are_unique() -> None:
    """No two panels share a number, and no two queries of a panel a letter."""
    numbers = [panel["id"] for panel in PANELS]
    assert len(set(numbers)) == len(numbers)
    for panel in SHOWING:
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)


def test_panels_have_their_own_places() -> None:
    """All panels are within the grid's 24 columns, and none covers another."""
    places = [(panel["title"], panel["gridPos"]) for panel in PANELS]
    for title, place in places:
        assert place["x"] >= 0, title
        assert place["x"] + place["w"] <= 24, title
        assert min(place["w"], place["h"]) > 0, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("panel", SHOWING, ids=lambda panel: str(panel["id"]))
def test_a_panel_has_a_description_and_a_data_source(panel: dict[str, Any]) -> None:
    """Each panel has a kind that Grafana supports, a description, and the selected data source."""
    assert panel["type"] in ("stat", "timeseries", "state-timeline")
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "reqps", "cps", "s", "percentunit")
    assert panel["datasource"] == SOURCE
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["legendFormat"]
        # A fixed time could be shorter than two scrapes, or smooth peaks away.
        assert not re.search(r"rate\([^\[]+\[\d", target["expr"]) or "increase" in target["expr"]


def test_variables_exist_and_are_used() -> None:
    """Data source and replicas can be chosen, and each variable in a query is Grafana's or our own."""
    names = [variable["name"] for variable in FILE["templating"]["list"]]
    assert names == ["datasource", "instance"]
    source, instance = FILE["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert (instance["datasource"], instance["allValue"]) == (SOURCE, ".*")
    queries = [target["expr"] for panel in SHOWING for target in panel["targets"]]
    used = set(re.findall(r"\$(\w+)", " ".join(queries)))
    assert used == {"__rate_interval", "instance"}
    for query in queries:
        for selector in re.findall(r"secret_manager_\w+(\{.*?\})?", query):
            assert 'instance=~"$instance"' in selector, query
