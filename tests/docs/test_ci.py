"""The workflows in docs/ci.md, run as a CI system runs them, fetch a secret without a stored credential."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import running_app
from tests.docs.documents import ROOT, blocks
from tests.support.access import services
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.databases import new_database
from tests.support.github import Runner, token_endpoint
from tests.support.issuer import public_pem, sign
from tests.support.service import Service
from tests.system.test_ci import GITHUB, GITLAB, SYSTEMS
from vault.clients.dev.mongod import Mongod
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import NewSecret

#: The secrets of the document's jobs.
SECRETS = {
    "acme/api/db-password": b"a password",
    "acme/api/smtp": b'{"username": "mailer", "password": "p"}',
    "acme/api/deploy-key": b"a key\n",
}


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
        for name, value in SECRETS.items():
            new = NewSecret(plaintext=value, name=name)
            services(app).secrets.create(new, attempt=Attempt(action=Action.CREATE, principal=OPERATOR))
    environment = {**environment, "AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}
    with Service(environment, patient=True, folder=folder) as service:
        service.wait_until("/health/ready")
        yield service


def workflow(heading: str) -> dict[str, Any]:
    """Return the YAML below *heading*."""
    [block] = [block for block in blocks("docs/ci.md", "yaml") if block.heading == heading]
    found: dict[str, Any] = yaml.safe_load(block.text)
    return found


def test_the_github_workflow_fetches_secrets(service: Service, tmp_path: Path) -> None:
    """The job of the document gets variables and a file by the action of this repository."""
    found = workflow("GitHub Actions")
    assert found["permissions"]["id-token"] == "write"
    [step] = found["jobs"]["deploy"]["steps"]
    assert re.fullmatch(r"acme/secret-manager@v[\d.]+", step["uses"])
    # The audience is the URL, which is another one here.
    inputs = {**step["with"], "url": service.url, "audience": step["with"]["url"]}
    with token_endpoint(SYSTEMS["GitHub Actions"].iss, GITHUB) as url:
        job = Runner(ROOT, tmp_path, token_url=url, inputs=inputs)
        run = job.step()
    assert (run.succeeded, run.errors) == (True, [])
    variables = job.variables
    key = Path(variables.pop("DEPLOY_KEY"))
    assert variables == {"DB_PASSWORD": "a password", "SMTP_USER": "mailer"}
    assert key.read_bytes() == b"a key\n"


@pytest.mark.parametrize(("ref", "is_deployed"), [("main", True), ("other", False)])
def test_the_gitlab_job_fetches_a_secret(
    ref: str, is_deployed: bool, service: Service, tmp_path: Path
) -> None:
    """The job passes the password on in a private file; a job of another branch stops before that."""
    job = workflow("GitLab CI")["deploy"]
    deploy = tmp_path / "deploy"
    deploy.write_text('#!/bin/sh\nstat -c %a "$2"\ncp "$2" deployed\necho "$2"\n')
    deploy.chmod(0o700)
    claims = {**GITLAB, "ref": ref}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(job["script"])],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "VAULT_URL": service.url,
            "VAULT_JWT": sign(iss=SYSTEMS["GitLab"].iss, aud=job["id_tokens"]["VAULT_JWT"]["aud"], **claims),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if is_deployed:
        assert (done.returncode, done.stderr) == (0, "")
        mode, path = done.stdout.splitlines()
        assert mode == "600"
        assert not Path(path).exists()
        assert (tmp_path / "deployed").read_bytes() == b"a password"
    else:
        assert done.returncode
        assert "401" in done.stderr
        assert not (tmp_path / "deployed").exists()


def test_the_pod_gets_a_jwt_for_the_service() -> None:
    """The pod's JWT is for the audience of the document's issuers."""
    [volume] = workflow("Kubernetes")["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE
