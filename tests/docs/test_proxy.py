"""The proxies of docs/proxy.md, as configured there, and that of Docker Swarm, in front of the service."""

import http.client
import json
import os
import random
import re
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks
from tests.support.databases import new_database
from tests.support.service import Service
from tests.support.system import needs, unmeasured
from tests.support.waiting import wait_until
from tests.system.test_tls import Pair, answers, make
from vault.clients.dev.mongod import Mongod, free_port
from vault.server.clients import IDLE_SECONDS

pytestmark = pytest.mark.process

DOCUMENT = "docs/proxy.md"
CREATE, FETCH = "/vault/secret/create/", "/vault/secret/fetch"
#: Another address of this machine than that of the proxy.
CLIENT = "127.0.0.5"


def block(heading: str, language: str) -> Block:
    """Return the one block below *heading*."""
    [found] = [found for found in blocks(DOCUMENT, language) if found.heading == heading]
    return found


@dataclass(frozen=True)
class Proxy:
    """A running proxy, and the service behind it."""

    port: int
    service: Service
    mongo_uri: str
    authority: Pair
    folder: Path

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"https://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection that repeats nothing and opens no second one by itself."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, context=context, source_address=(CLIENT, 0)
        )


Command = Callable[[Path, Pair, dict[str, str]], list[str]]


def adapted(text: str, names: dict[str, str]) -> str:
    """Return the configuration *text* with the *names* of this machine; each of them must be in it."""
    for name, here in names.items():
        assert name in text, name
        text = text.replace(name, here)
    return text


def nginx(folder: Path, pair: Pair, names: dict[str, str]) -> list[str]:
    """Write nginx's configuration; as in Debian's, the document's part is within `http`."""
    names |= {
        "/etc/ssl/secrets.example.com.crt": str(pair.certificate),
        "/etc/ssl/secrets.example.com.key": str(pair.key),
        # Buffers of the system as small as on a slow network.
        "listen 443 ": f"listen 127.0.0.1:{names.pop(':443')} sndbuf=16k ",
    }
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/temporary-{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{adapted(block('nginx', 'nginx').text, names)}}}\n"
    )
    return [needs("nginx", "/usr/sbin/nginx", package="nginx-light"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, pair: Pair, names: dict[str, str]) -> list[str]:
    """Write HAProxy's configuration."""
    bundle = folder / "bundle.pem"
    bundle.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    names["/etc/haproxy/secrets.example.com.pem"] = str(bundle)
    names[":443"] = f"127.0.0.1:{names[':443']}"
    (folder / "haproxy.cfg").write_text(adapted(block("HAProxy", "haproxy").text, names))
    return [needs("haproxy", "/usr/sbin/haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(folder: Path, pair: Pair, names: dict[str, str]) -> list[str]:
    """Write Caddy's configuration, without its interface for administrators."""
    names |= {
        "/etc/ssl/secrets.example.com.crt": str(pair.certificate),
        "/etc/ssl/secrets.example.com.key": str(pair.key),
        "secrets.example.com {": f"https://127.0.0.1:{names.pop(':443')} {{",
    }
    options = "{\nadmin off\nauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + adapted(block("Caddy", "caddy").text, names))
    return [needs("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def caddy_on_swarm(folder: Path, pair: Pair, names: dict[str, str]) -> list[str]:
    """Write the configuration of deploy/stack.proxy.yml, with a certificate in place of automatic ones."""
    here = {
        "{$PROXY_OPTIONS}": "auto_https disable_redirects",
        "{$PROXY_HOST} {": f"https://127.0.0.1:{names[':443']} {{\n\ttls {pair.certificate} {pair.key}",
        "secret-manager:8000": names["127.0.0.1:8000"],
    }
    text = adapted((ROOT / "deploy/proxy/Caddyfile").read_text(), here)
    (folder / "Caddyfile").write_text(text)
    return [needs("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES: dict[str, Command] = {
    "nginx": nginx,
    "HAProxy": haproxy,
    "Caddy": caddy,
    "Caddy on Swarm": caddy_on_swarm,
}


@pytest.fixture(scope="module")
def service(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str]]:
    """Run the service as the document starts it, for one proxy after the other."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "WEB_CONCURRENCY": "1"}
        settings["TRUSTED_PROXIES"] = "127.0.0.1"
        with Service(settings, patient=True, folder=tmp_path_factory.mktemp("service")) as service:
            service.wait_until_started()
            yield service, uri


@contextmanager
def running(
    prepare: Command, served: tuple[Service, str], folder: Path, changes: dict[str, str] | None = None
) -> Iterator[Proxy]:
    """Run a proxy in front of the service, after *changes* of its configuration."""
    service, uri = served
    authority = make(folder, "authority")
    port = free_port()
    names = {**(changes or {}), "127.0.0.1:8000": f"127.0.0.1:{service.port}", ":443": str(port)}
    command = prepare(folder, make(folder, "proxy", authority), names)
    environment = {**unmeasured(), "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (
        (folder / "proxy.log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or answers(port))
            assert process.poll() is None, (folder / "proxy.log").read_text()
            yield Proxy(port, service, uri, authority, folder)
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, service: tuple[Service, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Run each of the proxies."""
    with running(PROXIES[request.param], service, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def behind_nginx(service: tuple[Service, str], tmp_path: Path) -> Iterator[Proxy]:
    """Run nginx."""
    with running(nginx, service, tmp_path) as proxy:
        yield proxy


def ask(connection: http.client.HTTPConnection, path: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
    """Return status, body and headers of the reply to a POST of *body*, on this connection or none."""
    headers = {"Content-Type": "application/json", **headers}
    connection.request("POST", path, json.dumps(body), headers)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read()), reply.headers


def test_secrets_pass_through_the_proxy(proxy: Proxy) -> None:
    """A secret comes back unchanged, over TLS, with the HSTS header and the service's own headers."""
    with closing(proxy.connect()) as connection:
        value = {"secret": b64encode(os.urandom(60_000)).decode()}
        status, created, headers = ask(connection, CREATE, value, **{"X-Request-ID": "from-outside"})
        assert status == 200
        assert headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]
        assert headers["X-Request-ID"] == "from-outside"
        assert headers["Cache-Control"] == "no-store"
        status, fetched, headers = ask(connection, FETCH, created, **{"Accept-Encoding": "gzip"})
        assert (status, fetched, headers["Content-Encoding"]) == (200, value, None)


def test_the_client_s_address_is_recorded(proxy: Proxy) -> None:
    """The trail has the address of the proxy's client, even if the client forges the header."""
    with closing(proxy.connect()) as connection:
        for forged in ({}, {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "127.0.0.1, 127.0.0.1"}):
            status, created, _ = ask(connection, CREATE, {"secret": "YQ=="}, **forged)
            assert status == 200
            with MongoClient[Any](proxy.mongo_uri) as client:
                entries = client.get_default_database().audit_logs
                entry = entries.find_one({"secret_id": created["secret_id"]})
            assert entry is not None
            assert entry["ip"] == CLIENT


def test_a_large_body_is_refused_by_the_service(proxy: Proxy) -> None:
    """A body that the service does not accept gets its problem document, not a page of the proxy's."""
    refused = requests.post(
        proxy.url + CREATE,
        json={"secret": "A" * 8_000_000},
        verify=str(proxy.authority.certificate),
        timeout=30,
    )
    assert (refused.status_code, refused.headers["Content-Type"]) == (413, "application/problem+json")


#: The text of each example that has the service's address, and the one that also has a lost node's.
SECOND_ADDRESSES = {
    "nginx": ("server 127.0.0.1:8000;", "server 127.0.0.1:8000;\n    server {};"),
    "HAProxy": (
        "server replica-1 127.0.0.1:8000 check",
        "server replica-1 127.0.0.1:8000 check\n    server replica-2 {} check",
    ),
    "Caddy": ("reverse_proxy 127.0.0.1:8000", "reverse_proxy 127.0.0.1:8000 {}"),
}


@contextmanager
def silent_address() -> Iterator[str]:
    """Yield an address that never answers, like that of a lost node."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        # The queue of the listener is full from now on, and nothing takes from it.
        first.connect(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.nightly
@pytest.mark.parametrize("name", SECOND_ADDRESSES)
def test_a_lost_node_fails_no_request(name: str, service: tuple[Service, str], tmp_path: Path) -> None:
    """While one of two addresses of the service does not answer, every request is answered."""
    text, with_second = SECOND_ADDRESSES[name]
    with (
        silent_address() as lost,
        running(PROXIES[name], service, tmp_path, {text: with_second.format(lost)}) as proxy,
    ):
        if name == "Caddy":
            # This version does not repeat a POST: a health check has to fail first.
            log = tmp_path / "proxy.log"
            wait_until(lambda: "health_checker" in log.read_text())
        for _ in range(8):
            with closing(proxy.connect()) as connection:
                assert ask(connection, CREATE, {"secret": "YQ=="})[0] == 200


def held(service: Service) -> int:
    """Return the number of the service's open connections, from the system's connection table."""
    ours = f"0100007F:{service.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local == ours and state == "01" for _, local, _, state, *_ in rows)


def test_connections_to_the_service_are_kept(proxy: Proxy) -> None:
    """The requests of a client, and of others after it, use the same few connections to the service."""
    for _ in range(5):
        with closing(proxy.connect()) as connection:
            for _ in range(10):
                assert ask(connection, CREATE, {"secret": "YQ=="})[0] == 200
    # Of health checks, too.
    assert 1 <= held(proxy.service) <= 4


def test_nginx_has_no_place_for_temporary_files(behind_nginx: Proxy) -> None:
    """The largest bodies and replies pass while nginx cannot write any file."""
    for place in behind_nginx.folder.glob("temporary-*"):
        place.rmdir()
    value = {"secret": b64encode(os.urandom(65_536)).decode()}
    with closing(behind_nginx.connect()) as connection:
        status, created, _ = ask(connection, CREATE, value)
        assert status == 200
        assert ask(connection, FETCH, created)[1] == value
    with closing(behind_nginx.connect()) as slow:
        slow.request("GET", "/docs/ui/swagger-ui-bundle.js")
        time.sleep(0.5)
        assert len(slow.getresponse().read()) > 1_000_000


def test_every_example_keeps_connections_for_less_time_than_the_service() -> None:
    """No example relies on an idle connection that the service may be about to end."""
    for setting in ("keepalive ", "idleConnTimeout: "):
        [seconds] = re.findall(rf"\b{setting}(\d+)s\b", DOCUMENTS[DOCUMENT])
        assert int(seconds) < IDLE_SECONDS


# --- Idle pauses


def pauses(connect: Callable[[], http.client.HTTPConnection], count: int) -> int:
    """Return the number of requests answered on one connection after each of *count* idle pauses."""
    answered = 0
    with closing(connect()) as connection:
        assert ask(connection, CREATE, {"secret": "YQ=="})[0] == 200
        # A lost connection is an error, not a reason for a new one.
        connection.auto_open = 0
        for _ in range(count):
            time.sleep(random.uniform(4, 6))  # noqa: S311 - no secret
            answered += ask(connection, CREATE, {"secret": "YQ=="})[0] == 200
    return answered


def ways(proxy: Proxy) -> list[Callable[[], http.client.HTTPConnection]]:
    """Return the ways to the service: direct, and through nginx."""
    direct = proxy.service.port
    return [lambda: http.client.HTTPConnection("127.0.0.1", direct, timeout=30), proxy.connect]


@pytest.mark.long
@pytest.mark.nightly
def test_no_request_after_an_idle_pause_is_lost(behind_nginx: Proxy) -> None:
    """40 sessions lose no request after a pause of 4 to 6 seconds, direct and through nginx."""
    both = [way for way in ways(behind_nginx) for _ in range(40)]
    with ThreadPoolExecutor(len(both)) as pool:
        assert sum(pool.map(lambda way: pauses(way, 1), both)) == 80


@pytest.mark.nightly
def test_no_request_of_a_long_session_is_lost(behind_nginx: Proxy) -> None:
    """One session loses no request in 40 pauses of 4 to 6 seconds, direct and through nginx."""
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda way: pauses(way, 40), ways(behind_nginx))) == [40, 40]
