"""The metrics have their own address and appear nowhere else."""

from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import running_app, start
from tests.support.lifecycle import Caller
from tests.support.rotation import Stored, fill, new_key, settings
from tests.support.trail import block_trail
from vault import __version__
from vault.common.observability import metrics

OURS, OLD, FOREIGN = (new_key() for _ in range(3))
PUBLIC, OWN = "http://localhost:8000", "http://localhost:9464"


@pytest.fixture
def environment(mongo_uri: str) -> dict[str, str]:
    return settings(mongo_uri, OURS, OLD) | {"METRICS_BIND": "127.0.0.1:9464"}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the cached figures for one test only."""
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path_factory.mktemp("measured")))


@pytest.fixture
def client(environment: dict[str, str], folder: None) -> Iterator[FlaskClient]:
    """Return a client of an application that was created after `folder`."""
    assert folder is None
    with running_app(environment) as app:
        yield app.test_client()


def samples(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Return the samples of the page, by name and label values."""
    reply = client.get("/metrics", base_url=OWN)
    assert reply.status_code == 200
    return {
        (sample.name.removeprefix("secret_manager_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.get_data(as_text=True))
        for sample in family.samples
    }


def test_the_public_port_has_no_metrics(client: FlaskClient) -> None:
    """The public port has no metrics page, whatever host a request names."""
    for headers in ({}, {"Host": "localhost:9464"}, {"X-Forwarded-Port": "9464"}):
        reply = client.get("/metrics", base_url=PUBLIC, headers=headers)
        assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


def test_the_metrics_port_has_nothing_else(client: FlaskClient) -> None:
    """The metrics address serves nothing of the API."""
    for path in ["/", "/docs", "/health/ready", "/vault/secret/fetch", "/metrics/"]:
        assert client.get(path, base_url=OWN).status_code == 404, path
        assert client.post(path, base_url=OWN, json={}).status_code == 404, path


def test_the_page_has_version_and_readiness(client: FlaskClient, stored: Stored) -> None:
    """The version and each readiness check are read at the time of the request."""
    start(client.application)
    measured = samples(client)
    assert measured["build_info", __version__] == 1
    checks = ("mongodb", "restore", "keys", "auth", "audit", "clock")
    assert {check: measured["ready", check] for check in checks} == dict.fromkeys(checks, 1)
    block_trail(stored)
    client.post("/vault/secret/fetch", json={}, base_url=PUBLIC)
    measured = samples(client)
    assert {check for check in checks if not measured["ready", check]} == {"audit"}


def test_the_page_counts_versions_by_key(
    client: FlaskClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored versions are counted by master key, including a missing one."""
    anyone = Caller(client, monkeypatch)
    secret_id = anyone.post("create", {"secret": "YQ=="}).get_json()["secret_id"]
    assert anyone.post("update", {"secret_id": secret_id, "secret": "YQ=="}).status_code == 200
    fill(stored, OLD, 3)
    fill(stored, FOREIGN, 4)
    measured = samples(client)
    assert {labels[1:]: value for labels, value in measured.items() if labels[0] == "secrets_stored"} == {
        (OURS.id, "primary"): 2,
        (OLD.id, "fallback"): 3,
        (FOREIGN.id, "missing"): 4,
    }
    assert measured["rewrap_remaining",] == 7


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_there_are_metrics(environment: dict[str, str], folder: None) -> None:
    """Without MongoDB, the page reports that and omits the figures that it cannot know."""
    assert folder is None
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as app:
        measured = samples(app.test_client())
    assert measured["ready", "mongodb"] == 0
    assert measured["build_info", __version__] == 1
    assert not [labels for labels in measured if labels[0] in ("secrets_stored", "rewrap_remaining")]


def test_before_the_first_count_there_is_no_figure(client: FlaskClient) -> None:
    """Until the first count of versions by key, the page has no figure for it."""
    start(client.application)
    with (Path(str(metrics.FOLDER)) / "key_usage.lock").open("w") as another:
        flock(another, LOCK_EX)
        measured = samples(client)
    assert measured["ready", "mongodb"] == 1
    assert not [labels for labels in measured if labels[0] in ("secrets_stored", "rewrap_remaining")]
