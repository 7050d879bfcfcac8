"""The workflows in docs/ci.md, run as a CI system runs them, fetch a secret without a stored credential."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.conftest import running_app
from tests.docs.documents import blocks
from tests.support.access import services
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.databases import new_database
from tests.support.issuer import public_pem, sign
from tests.support.service import Service
from tests.system.test_ci import GITHUB, GITLAB, SYSTEMS
from vault.cli.dev.mongod import Mongod
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.secrets.requests import NewSecret

REQUEST_TOKEN = "the-runner-s-own"


@contextmanager
def token_endpoint() -> Iterator[str]:
    """Serve JWTs like GitHub does for a job, for the audience in the query; yield the URL."""

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == f"Bearer {REQUEST_TOKEN}"
            [audience] = parse_qs(urlsplit(self.path).query)["audience"]
            credential = sign(iss=SYSTEMS["GitHub Actions"].iss, aud=audience, **GITHUB)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"count": 1, "value": credential}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
        server.shutdown()


@pytest.fixture(scope="module")
def service(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with the issuers and roles of the document, and a secret."""
    with new_database(mongod) as uri:
        yield from serving({"MASTER_KEY": master_key, "MONGO_URI": uri}, tmp_path_factory.mktemp("ci"))


def serving(environment: dict[str, str], folder: Path) -> Iterator[Service]:
    with running_app(environment) as app:
        for issuer, role in (("GitHub Actions", "api-main"), ("GitLab", "api-gitlab")):
            system = SYSTEMS[issuer]
            make_issuer(app, role, iss=system.iss, keys=public_pem())
            make_role(app, role, role, claims=system.claims, paths=(system.path,))
        new = NewSecret(plaintext=b"a password", name="acme/api/db-password")
        services(app).secrets.create(new, attempt=Attempt(action=Action.CREATE, principal=OPERATOR))
    with Service({**environment, "AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}, folder=folder) as service:
        service.wait_until("/health/ready")
        yield service


def run(script: str, folder: Path, **variables: str) -> str:
    """Return the output of *script*, which must succeed."""
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def workflow(heading: str) -> dict[str, Any]:
    """Return the YAML below *heading*."""
    [block] = [block for block in blocks("docs/ci.md", "yaml") if block.heading == heading]
    found: dict[str, Any] = yaml.safe_load(block.text)
    return found


def test_the_github_workflow_fetches_a_secret(service: Service, tmp_path: Path) -> None:
    """The job requests its JWT, and the password is masked and in the environment of later steps."""
    found = workflow("GitHub Actions")
    assert found["permissions"]["id-token"] == "write"
    [step] = found["jobs"]["deploy"]["steps"]
    with token_endpoint() as url:
        printed = run(
            step["run"],
            tmp_path,
            VAULT_URL=service.url,
            ACTIONS_ID_TOKEN_REQUEST_URL=url,
            ACTIONS_ID_TOKEN_REQUEST_TOKEN=REQUEST_TOKEN,
            GITHUB_ENV=str(tmp_path / "env"),
        )
    assert printed == "::add-mask::a password\n"
    assert (tmp_path / "env").read_text() == "DB_PASSWORD=a password\n"


def test_the_gitlab_job_fetches_a_secret(service: Service, tmp_path: Path) -> None:
    """The job gets its JWT as a variable, and writes the password to a file."""
    job = workflow("GitLab CI")["deploy"]
    [script] = job["script"]
    credential = sign(iss=SYSTEMS["GitLab"].iss, aud=job["id_tokens"]["VAULT_JWT"]["aud"], **GITLAB)
    assert run(script, tmp_path, VAULT_URL=service.url, VAULT_JWT=credential) == ""
    assert (tmp_path / "db-password").read_bytes() == b"a password"


def test_the_pod_gets_a_jwt_for_the_service() -> None:
    """The pod's JWT is for the audience of the document's issuers."""
    [volume] = workflow("Kubernetes")["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE
