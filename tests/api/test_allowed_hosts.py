"""`ALLOWED_HOSTS`: the host names that requests may name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.api.test_allowed_networks import HEALTH, every_path
from tests.conftest import running_app, start
from tests.support.rotation import Stored
from vault.observability import metrics

EVIL = "evil.example:8000"


@pytest.fixture
def environment(master_key: str, mongo_uri: str) -> dict[str, str]:
    hosts = "localhost, 127.0.0.1,[::1],Vault.Example.com"
    return {"MASTER_KEY": master_key, "MONGO_URI": mongo_uri, "ALLOWED_HOSTS": hosts}


def status(client: FlaskClient, host: str, path: str = "/openapi.json", method: str = "GET") -> int:
    return client.open(path, method=method, headers={"Host": host}).status_code


@pytest.mark.promise("network")
def test_only_own_hosts_are_answered(client: FlaskClient) -> None:
    """A host of the setting is answered at any port and in any case; any other or malformed one is not."""
    for host, expected in [
        *((host, 200) for host in ("LOCALHOST:1", "127.0.0.1", "[::1]:8000", "vault.example.com")),
        *((host, 421) for host in (EVIL, "[::2]:8000", "localhost.evil.example", "::1")),
        *((host, 421) for host in ("", "localhost:80:80", "localhost,evil.example", "user@localhost")),
    ]:
        assert status(client, host) == expected, host


def test_a_request_without_a_host_is_refused(client: FlaskClient) -> None:
    """HTTP/1.0 has no `Host`, and a request without one is not for a host of the setting."""
    environ = client.application.test_request_context("/openapi.json").request.environ
    del environ["HTTP_HOST"]
    with client.application.request_context(environ):
        assert client.application.full_dispatch_request().status_code == 421


@pytest.mark.promise("network")
def test_another_host_reaches_only_health_checks(client: FlaskClient) -> None:
    """Under another host, every path except health checks gets 421: pages, operations, unknown ones."""
    start(client.application)
    for method, path in every_path(client.application):
        expected = 200 if path in HEALTH and method in ("GET", "HEAD") else 421
        assert status(client, EVIL, path.replace("<", "").replace(">", ""), method) == expected


@pytest.mark.promise("network")
def test_the_refusal_comes_first(client: FlaskClient, stored: Stored) -> None:
    """Neither the credential nor the body is looked at, and nothing is recorded or stored."""
    headers = {"Host": EVIL, "Authorization": "Bearer wrong"}
    reply = client.post("/vault/secret/create", json={"secret": "YQ=="}, headers=headers)
    assert (reply.status_code, reply.content_type) == (421, "application/problem+json")
    body = reply.get_json(force=True)
    assert (body["code"], body["request_id"]) == ("host_refused", reply.headers["X-Request-ID"])
    assert client.get(body["type"], headers={"Host": "localhost"}).status_code == 200
    assert stored.audit_logs.count_documents({}) == 0


def test_by_default_every_host_is_answered(environment: dict[str, str]) -> None:
    """Without the setting, no host is refused."""
    with running_app({**environment, "ALLOWED_HOSTS": ""}) as app:
        assert status(app.test_client(), EVIL) == 200


@pytest.fixture
def scraped(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FlaskClient]:
    """Return a client of an application with metrics."""
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path))
    with running_app({**environment, "METRICS_BIND": "127.0.0.1:9464"}) as app:
        yield app.test_client()


@pytest.mark.promise("network")
def test_metrics_are_for_own_hosts_and_addresses(scraped: FlaskClient) -> None:
    """A page cannot read the metrics by DNS rebinding; a Prometheus that uses addresses can."""
    for host, expected in [
        ("localhost:9464", 200),
        ("10.0.0.7:9464", 200),
        ("[::7]:9464", 200),
        (EVIL, 421),
        ("", 421),
    ]:
        reply = scraped.get("/metrics", base_url="http://localhost:9464", headers={"Host": host})
        assert reply.status_code == expected, host
