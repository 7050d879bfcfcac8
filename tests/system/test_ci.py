"""JWTs of CI systems and workloads, with the claims that they have, act exactly as docs/ci.md says."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app
from tests.support.access import bearer, services
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.issuer import Issuer, sign
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import NewSecret

CREATE, FETCH = "/vault/secret/create", "/vault/secret/fetch"


@dataclass(frozen=True)
class System:
    """A CI system: its `iss`, the role of docs/ci.md, a JWT that matches it, and JWTs that do not."""

    iss: str
    claims: dict[str, str]
    path: str
    jwt: dict[str, Any]
    #: Changed claims by name, with the reason in the trail.
    refused: dict[str, tuple[dict[str, Any], str]]
    globs: dict[str, str] = field(default_factory=dict)
    seconds: int = 86_400


GITHUB = {
    "jti": "5c9b1f0e-6d0c-4d1c-8a50-0d3b8f3b6a10",
    "sub": "repo:acme/api:ref:refs/heads/main",
    "ref": "refs/heads/main",
    "sha": "0b1c2d3e4f5061728394a5b6c7d8e9f001122334",
    "repository": "acme/api",
    "repository_owner": "acme",
    "repository_owner_id": "1342004",
    "run_id": "9284716352",
    "run_number": "41",
    "run_attempt": "1",
    "repository_visibility": "private",
    "repository_id": "74512890",
    "actor_id": "58302",
    "actor": "octo-dev",
    "workflow": "deploy",
    "head_ref": "",
    "base_ref": "",
    "event_name": "push",
    "ref_protected": "true",
    "ref_type": "branch",
    "workflow_ref": "acme/api/.github/workflows/deploy.yml@refs/heads/main",
    "workflow_sha": "0b1c2d3e4f5061728394a5b6c7d8e9f001122334",
    "job_workflow_ref": "acme/api/.github/workflows/deploy.yml@refs/heads/main",
    "job_workflow_sha": "0b1c2d3e4f5061728394a5b6c7d8e9f001122334",
    "runner_environment": "github-hosted",
    "enterprise": "acme-corp",
}
#: A pull request runs on the base repository's behalf, with a ref of its own.
PULL_REQUEST = {
    "sub": "repo:acme/api:pull_request",
    "ref": "refs/pull/7/merge",
    "ref_protected": "false",
    "head_ref": "feature",
    "base_ref": "main",
    "event_name": "pull_request",
}
FORK = {
    "sub": "repo:mallory/api:ref:refs/heads/main",
    "repository": "mallory/api",
    "repository_owner": "mallory",
    "repository_owner_id": "99",
    "repository_id": "80000001",
    "workflow_ref": "mallory/api/.github/workflows/deploy.yml@refs/heads/main",
    "job_workflow_ref": "mallory/api/.github/workflows/deploy.yml@refs/heads/main",
}
GITLAB = {
    "namespace_id": "72",
    "namespace_path": "acme",
    "project_id": "20",
    "project_path": "acme/api",
    "user_id": "1",
    "user_login": "sample-user",
    "user_email": "sample-user@example.com",
    "user_access_level": "developer",
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "runner_id": 1,
    "runner_environment": "self-hosted",
    "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    "project_visibility": "private",
    "ci_config_ref_uri": "gitlab.com/acme/api//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
    "sub": "project_path:acme/api:ref_type:branch:ref:main",
}
KUBERNETES = {
    "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
    "kubernetes.io": {
        "namespace": "billing",
        "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
        "pod": {"name": "api-5f6b", "uid": "43ba5e97-8d2e-4a1e-bba5-1f6ea9fde5ac"},
        "serviceaccount": {"name": "api", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
    },
    "sub": "system:serviceaccount:billing:api",
}
SPIFFE = {"sub": "spiffe://example.org/docker/billing-api"}


def kubernetes(**changes: Any) -> dict[str, Any]:
    """Return the nested claims of a service account, with *changes*."""
    return {"kubernetes.io": {**KUBERNETES["kubernetes.io"], **changes}}


SYSTEMS = {
    "GitHub Actions": System(
        iss="https://token.actions.githubusercontent.com",
        claims={"repository": "acme/api", "repository_id": "74512890", "ref": "refs/heads/main"},
        path="acme/api/",
        jwt=GITHUB,
        refused={
            "another branch": (
                {
                    "ref": "refs/heads/dev",
                    "sub": "repo:acme/api:ref:refs/heads/dev",
                    "ref_protected": "false",
                },
                "role ci: claim ref",
            ),
            "a tag": ({"ref": "refs/tags/main", "ref_type": "tag"}, "role ci: claim ref"),
            "a pull request": (PULL_REQUEST, "role ci: claim ref"),
            "a fork": (FORK, "role ci: claim repository, claim repository_id"),
            "a fork's pull request": (
                {**PULL_REQUEST, **FORK},
                "role ci: claim ref, claim repository, claim repository_id",
            ),
            "the name registered again": ({"repository_id": "90000002"}, "role ci: claim repository_id"),
            "the repository renamed": ({"repository": "acme/core"}, "role ci: claim repository"),
            "no ref": ({"ref": None}, "role ci: claim ref"),
            "another case": ({"repository": "Acme/API"}, "role ci: claim repository"),
        },
    ),
    "GitHub environment": System(
        iss="https://token.actions.githubusercontent.com",
        claims={
            "repository_owner_id": "1342004",
            "job_workflow_ref": "acme/shared/.github/workflows/deploy.yml@refs/heads/main",
            "environment": "production",
        },
        path="deploy/",
        jwt={
            **GITHUB,
            "sub": "repo:acme/api:environment:production",
            "environment": "production",
            "job_workflow_ref": "acme/shared/.github/workflows/deploy.yml@refs/heads/main",
        },
        refused={
            "another workflow": (
                {"job_workflow_ref": "acme/api/.github/workflows/deploy.yml@refs/heads/main"},
                "role ci: claim job_workflow_ref",
            ),
            "a branch of the workflow": (
                {"job_workflow_ref": "acme/shared/.github/workflows/deploy.yml@refs/heads/dev"},
                "role ci: claim job_workflow_ref",
            ),
            "a stranger who calls it": ({"repository_owner_id": "99"}, "role ci: claim repository_owner_id"),
            "no environment": ({"environment": None}, "role ci: claim environment"),
        },
    ),
    "GitLab": System(
        iss="https://gitlab.com",
        claims={
            "project_path": "acme/api",
            "project_id": "20",
            "ref": "main",
            "ref_type": "branch",
            "ref_protected": "true",
        },
        path="acme/api/",
        jwt=GITLAB,
        refused={
            "another branch": (
                {"ref": "dev", "ref_path": "refs/heads/dev", "ref_protected": "false"},
                "role ci: claim ref, claim ref_protected",
            ),
            "a tag of that name": (
                {"ref_type": "tag", "ref_path": "refs/tags/main"},
                "role ci: claim ref_type",
            ),
            "unprotected": ({"ref_protected": "false"}, "role ci: claim ref_protected"),
            "a fork": (
                {"project_path": "mallory/api", "project_id": "21", "namespace_path": "mallory"},
                "role ci: claim project_id, claim project_path",
            ),
            "a merge request": (
                {"ref": "feature", "pipeline_source": "merge_request_event", "ref_protected": "false"},
                "role ci: claim ref, claim ref_protected",
            ),
        },
    ),
    "GitLab releases": System(
        iss="https://gitlab.example.com",
        claims={"project_path": "acme/api", "ref_type": "tag", "ref_protected": "true"},
        globs={"ref": "v*"},
        path="release/",
        jwt={**GITLAB, "ref": "v1.2.3", "ref_type": "tag", "ref_path": "refs/tags/v1.2.3"},
        refused={
            "another tag": ({"ref": "nightly"}, "role ci: claim ref"),
            "a branch of that name": ({"ref_type": "branch"}, "role ci: claim ref_type"),
        },
    ),
    "Kubernetes": System(
        iss="https://kubernetes.default.svc.cluster.local",
        claims={"/kubernetes.io/namespace": "billing", "/kubernetes.io/serviceaccount/name": "api"},
        path="billing/",
        jwt=KUBERNETES,
        seconds=3_600,
        refused={
            "another namespace": (
                kubernetes(namespace="web") | {"sub": "system:serviceaccount:web:api"},
                "role ci: claim /kubernetes.io/namespace",
            ),
            "another service account": (
                kubernetes(serviceaccount={"name": "default"}),
                "role ci: claim /kubernetes.io/serviceaccount/name",
            ),
            "an object in place of a name": (
                kubernetes(namespace={"billing": "billing"}),
                "role ci: claim /kubernetes.io/namespace",
            ),
            "too old": ({"iat": int(time.time()) - 3_700}, "role ci: too old"),
            "of unknown age": ({"iat": None}, "role ci: claim iat"),
        },
    ),
    "SPIFFE": System(
        iss="https://spire.example.com",
        claims={"sub": "spiffe://example.org/docker/billing-api"},
        path="billing/",
        jwt=SPIFFE,
        refused={"another workload": ({"sub": "spiffe://example.org/docker/web"}, "role ci: claim sub")},
    ),
}
CASES = [(name, case) for name, system in SYSTEMS.items() for case in system.refused]


class World:
    """A service that trusts one CI system, with the role of the document, and a secret within its path."""

    def __init__(self, client: FlaskClient, stored: MongoDatabase[dict[str, Any]], system: System) -> None:
        self.client = client
        self.stored = stored
        self.system = system

    def jwt(self, *, key: Any = None, kid: str = "rsa-1", algorithm: str = "", **changes: Any) -> str:
        """Return a JWT that matches the role, with *changes*."""
        base: dict[str, Any] = {"iss": self.system.iss, "aud": AUDIENCE, "scope": None}
        return sign(kid, key=key, algorithm=algorithm, **{**base, **self.system.jwt, **changes})

    def fetch(self, credential: str, name: str = "", **headers: str) -> int:
        """Return the status of a fetch."""
        body = {"name": name or f"{self.system.path}db-password"}
        return self.client.post(FETCH, json=body, headers=bearer(credential) | headers).status_code

    def reason(self) -> str:
        """Return the reason in the newest entry, which must be a refusal."""
        entry = self.stored.audit_logs.find_one(sort=[("_id", -1)])
        assert entry is not None
        assert (entry["action"], entry["status"]) == ("fetch", "denied")
        return str(entry["details"]["reason"])


@pytest.fixture(scope="module")
def idp() -> Iterator[Issuer]:
    """Run an identity provider."""
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    stored: MongoDatabase[dict[str, Any]],
    idp: Issuer,
) -> Iterator[World]:
    """Return a service that requires credentials, for the CI system of the parameter."""
    system = SYSTEMS[request.param]
    with running_app({**environment, "AUTH_ENABLED": "true", "FAILED_AUTH_LIMIT": "1000/second"}) as app:
        make_issuer(app, "ci-system", iss=system.iss, keys=idp)
        make_role(
            app,
            "ci",
            "ci-system",
            claims=system.claims,
            globs=system.globs,
            paths=(system.path,),
            seconds=system.seconds,
        )
        for name in (f"{system.path}db-password", "elsewhere/db-password"):
            attempt = Attempt(action=Action.CREATE, principal=OPERATOR)
            services(app).secrets.create(NewSecret(plaintext=b"value", name=name), attempt=attempt)
        yield World(app.test_client(), stored, system)


each_system = pytest.mark.parametrize("world", SYSTEMS, indirect=True)


@pytest.mark.promise("jwts")
@each_system
def test_the_right_jwt_reaches_exactly_its_path(world: World, stored: MongoDatabase[dict[str, Any]]) -> None:
    """The JWT of the documented job reads its path, and nothing else; the entry names issuer and role."""
    assert world.fetch(world.jwt()) == 200
    entry = stored.audit_logs.find_one({"action": "fetch", "status": "success"})
    assert entry is not None
    assert entry["principal"] == f"ci-system/jwt:{world.system.jwt['sub']}"
    assert (entry["details"]["role"], entry["details"]["issuer"]) == ("ci", "ci-system")
    assert world.fetch(world.jwt(), "elsewhere/db-password") == 404
    new = {"secret": "YQ==", "name": f"{world.system.path}new"}
    assert world.client.post(CREATE, json=new, headers=bearer(world.jwt())).status_code == 403
    # Its own claims give it nothing more.
    wider = world.jwt(scope="secret:create secret:list", namespace="other")
    assert world.client.post(CREATE, json=new, headers=bearer(wider)).status_code == 403
    assert world.fetch(wider) == 200


@pytest.mark.promise("jwts")
@pytest.mark.parametrize(("world", "case"), CASES, indirect=["world"], ids=map(": ".join, CASES))
def test_any_other_jwt_is_refused(world: World, case: str) -> None:
    """Any other JWT is refused, and the entry says which claim was wrong."""
    changes, reason = world.system.refused[case]
    assert world.fetch(world.jwt(**changes)) == 401
    assert world.reason() == reason


@pytest.mark.parametrize("name", ["GitHub Actions", "GitHub environment", "GitLab", "Kubernetes", "SPIFFE"])
def test_the_document_has_the_tested_roles(name: str) -> None:
    """docs/ci.md creates exactly the roles that are tested here."""
    text = " ".join((Path(__file__).parents[2] / "docs" / "ci.md").read_text().replace("\\\n", " ").split())
    system = SYSTEMS[name]
    claims = " ".join(f"--claim {key}={value}" for key, value in system.claims.items())
    assert f"{claims} --scope secret:fetch --path {system.path}" in text
    assert f"--issuer {system.iss} " in text or f"`{system.iss}`" in text
