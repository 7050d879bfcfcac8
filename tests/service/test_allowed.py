"""`ALLOWED_NETWORKS` and `ALLOWED_HOSTS`: the addresses that receive answers, and the hosts they may name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app, start
from tests.support.features import tables
from tests.support.rotation import Stored
from vault.common.observability import metrics

HEALTH = {"/health/live", "/health/ready"}.union(*tables("PROBES"))
#: The form of refusals, by the beginning of the path.
FORMS = {prefix: form for table in tables("FORMS") for prefix, form in table.items()}
REST = ("application/problem+json", "detail", "This address is not allowed to use the service.")
OUTSIDE = "192.0.2.1"


def restricted(environment: dict[str, str], **more: str) -> Any:
    return running_app({**environment, "ALLOWED_NETWORKS": "10.0.0.0/8, 2001:db8::/32", **more})


def status(client: FlaskClient, path: str, address: str, method: str = "GET", **headers: str) -> int:
    reply = client.open(path, method=method, environ_base={"REMOTE_ADDR": address}, headers=headers)
    if reply.status_code == 403:
        content_type, field, text = next((FORMS[prefix] for prefix in FORMS if path.startswith(prefix)), REST)
        assert reply.content_type == content_type
        assert reply.headers["X-Request-ID"]
        if method != "HEAD":
            assert reply.get_json(force=True)[field] == text
    return reply.status_code


def every_path(app: Flask) -> set[tuple[str, str]]:
    """Return every method and path of *app*, and some that it does not have."""
    known = {
        (
            method,
            rule.rule.replace("<any('swagger-ui.css', 'swagger-ui-bundle.js'):filename>", "swagger-ui.css"),
        )
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    unknown = {("GET", "/"), ("GET", "/x"), ("GET", "/vault/x"), ("GET", "/health/"), ("GET", "/metrics")}
    unknown |= {("GET", f"{prefix}{rest}") for prefix in FORMS for rest in ("x", "/x", "%2e%2e/x")}
    unknown |= {("LIST", f"{prefix}x") for prefix in FORMS}
    wrong = {("DELETE", path) for _, path in known} | {("OPTIONS", path) for _, path in known}
    return known | unknown | wrong


@pytest.mark.promise("network")
def test_other_networks_reach_only_health_checks(environment: dict[str, str]) -> None:
    """From other networks, everything except health checks is 403, even unknown paths and wrong methods."""
    with restricted(environment) as app:
        start(app)
        client = app.test_client()
        paths = every_path(app)
        assert {"/docs", "/openapi.json", "/vault/secret/fetch"} < {path for _, path in paths}
        for method, path in paths:
            expected = 200 if path in HEALTH and method in ("GET", "HEAD") else 403
            assert status(client, re.sub("<.+>", "docs.js", path), OUTSIDE, method) == expected


def test_both_forms_of_an_address_are_equal(environment: dict[str, str]) -> None:
    """An IPv4 address mapped to IPv6 is the same address, and a missing address is outside."""
    with restricted(environment) as app:
        client = app.test_client()
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"):
            assert status(client, "/openapi.json", address) == 200
        for address in ("11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1", "fe80::1%eth0", ""):
            assert status(client, "/openapi.json", address) == 403


@pytest.mark.promise("network")
def test_behind_a_trusted_proxy_the_client_s_address_is_checked(environment: dict[str, str]) -> None:
    """Behind a trusted proxy, the client's address must be allowed, and a client cannot choose it."""
    with restricted(environment, TRUSTED_PROXIES="203.0.113.0/24") as app:
        client = app.test_client()
        for peer, forwarded_for, expected in (
            ("203.0.113.1", "10.1.2.3", 200),
            ("::ffff:203.0.113.1", "::ffff:10.1.2.3", 200),
            ("203.0.113.1", "10.1.2.3, 192.0.2.1", 403),
            ("203.0.113.1", "", 403),
            ("192.0.2.1", "10.1.2.3", 403),
        ):
            headers = {"X-Forwarded-For": forwarded_for}
            assert status(client, "/openapi.json", peer, **headers) == expected
            fetched = status(client, "/vault/secret/fetch", peer, "POST", **headers)
            assert (fetched == 403) is (expected == 403)


def test_only_operations_leave_an_entry(
    environment: dict[str, str], stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A refused operation is recorded with its reason; a refused page is not recorded."""
    with restricted(environment) as app:
        client = app.test_client()
        for path in ("/docs", "/x", "/openapi.json"):
            assert status(client, path, OUTSIDE) == 403
        assert status(client, "/vault/secret/fetch", OUTSIDE, "POST") == 403
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"], entry["ip"]) == ("fetch", "denied", OUTSIDE)
    assert entry["details"] == {"reason": "address"}


def test_by_default_every_address_is_answered(environment: dict[str, str]) -> None:
    """By default, no address is refused."""
    with running_app(environment) as app:
        assert status(app.test_client(), "/openapi.json", OUTSIDE) == 200


EVIL = "evil.example:8000"
HOSTS = {"ALLOWED_HOSTS": "localhost, 127.0.0.1,[::1],Vault.Example.com"}


@pytest.fixture
def hosted(environment: dict[str, str]) -> Iterator[FlaskClient]:
    """Return a client of an application with hosts of its own."""
    with running_app({**environment, **HOSTS}) as app:
        yield app.test_client()


def status_of(client: FlaskClient, host: str, path: str = "/openapi.json", method: str = "GET") -> int:
    return client.open(path, method=method, headers={"Host": host}).status_code


@pytest.mark.promise("network")
def test_only_own_hosts_are_answered(hosted: FlaskClient) -> None:
    """A host of the setting is answered at any port and in any case; any other or malformed one is not."""
    for host, expected in [
        *((host, 200) for host in ("LOCALHOST:1", "127.0.0.1", "[::1]:8000", "vault.example.com")),
        *((host, 421) for host in (EVIL, "[::2]:8000", "localhost.evil.example", "::1")),
        *((host, 421) for host in ("", "localhost:80:80", "localhost,evil.example", "user@localhost")),
    ]:
        assert status_of(hosted, host) == expected, host


def test_a_request_without_a_host_is_refused(hosted: FlaskClient) -> None:
    """HTTP/1.0 has no `Host`, and a request without one is not for a host of the setting."""
    environ = hosted.application.test_request_context("/openapi.json").request.environ
    del environ["HTTP_HOST"]
    with hosted.application.request_context(environ):
        assert hosted.application.full_dispatch_request().status_code == 421


@pytest.mark.promise("network")
def test_another_host_reaches_only_health_checks(hosted: FlaskClient) -> None:
    """Under another host, every path except health checks gets 421: pages, operations, unknown ones."""
    start(hosted.application)
    for method, path in every_path(hosted.application):
        expected = 200 if path in HEALTH and method in ("GET", "HEAD") else 421
        assert status_of(hosted, EVIL, path.replace("<", "").replace(">", ""), method) == expected


@pytest.mark.promise("network")
def test_the_refusal_comes_first(hosted: FlaskClient, stored: Stored) -> None:
    """Neither the credential nor the body is looked at, and nothing is recorded or stored."""
    headers = {"Host": EVIL, "Authorization": "Bearer wrong"}
    reply = hosted.post("/vault/secret/create", json={"secret": "YQ=="}, headers=headers)
    assert (reply.status_code, reply.content_type) == (421, "application/problem+json")
    body = reply.get_json(force=True)
    assert (body["code"], body["request_id"]) == ("host_refused", reply.headers["X-Request-ID"])
    assert hosted.get(body["type"], headers={"Host": "localhost"}).status_code == 200
    assert stored.audit_logs.count_documents({}) == 0


def test_by_default_every_host_is_answered(environment: dict[str, str]) -> None:
    """Without the setting, no host is refused."""
    with running_app(environment) as app:
        assert status_of(app.test_client(), EVIL) == 200


@pytest.fixture
def scraped(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FlaskClient]:
    """Return a client of an application with metrics."""
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path))
    with running_app({**environment, **HOSTS, "METRICS_BIND": "127.0.0.1:9464"}) as app:
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
