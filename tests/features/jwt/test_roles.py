"""Create, list and delete roles: callers cannot grant more than they hold, and every step is recorded."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import bearer, make_token, post, services
from tests.support.access_roles import make_issuer, make_role, operator
from tests.support.issuer import AUDIENCE, ISSUER, public_pem, sign
from tests.support.lifecycle import in_past
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.common.errors import (
    AuditUnavailableError,
    GrantRefusedError,
    LimitReachedError,
    RevocationRefusedError,
)
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.principal import ALL_RIGHTS, OPERATOR, Principal, Scope
from vault.core.trail.reader import Filter, page
from vault.features.jwt import roles as module
from vault.features.jwt.errors import (
    RoleNameTakenError,
    RoleNotFoundError,
    RoleTooBroadError,
)
from vault.features.jwt.issuers import Issuers, NewIssuer
from vault.features.jwt.roles import NewRole, RoleInfo, Roles

NOON = datetime(2100, 1, 1, 12, tzinfo=UTC)
MAKER = Principal(
    name="team-a/maker",
    namespace="team-a",
    scopes=frozenset({Scope.TOKEN_MANAGE, Scope.SECRET_FETCH}),
    paths=Paths.of(["billing/", "shared/db"]),
    networks=(ip_network("10.0.0.0/8"),),
    expires_at=NOON,
)
FREE = Principal(name="team-a/free", namespace="team-a", scopes=frozenset(Scope))
NEW = NewRole(
    name="new", issuer="ci", claims=("sub=job",), scopes=frozenset({Scope.SECRET_FETCH}), claim_globs=()
)


@pytest.fixture(autouse=True)
def _issuer(app: Flask) -> None:
    """Create an issuer."""
    make_issuer(app, "ci", iss="https://ci.example", keys=public_pem())


def create(app: Flask, principal: Principal = MAKER, **changes: Any) -> None:
    attempt = Attempt(action=Action.ROLE_CREATE, principal=principal)
    services(app).of(Roles).create(replace(NEW, **changes), attempt=attempt)


def infos(app: Flask, principal: Principal = OPERATOR) -> list[RoleInfo]:
    return services(app).of(Roles).list(attempt=Attempt(action=Action.ROLE_LIST, principal=principal))


def delete(app: Flask, name: str, principal: Principal = MAKER, **options: Any) -> None:
    attempt = Attempt(action=Action.ROLE_DELETE, principal=principal)
    services(app).of(Roles).delete(name, attempt=attempt, **options)


def test_omitted_options_are_the_creator_s(app: Flask, stored: Stored) -> None:
    """A role has its creator's namespace, paths, networks and expiry, and is recorded with its conditions."""
    create(app, max_age=timedelta(hours=1), claim_globs=("ref=v*",))
    [role] = infos(app)
    assert role.created_at is not None
    assert replace(role, created_at=None) == RoleInfo(
        name="new",
        state="active",
        namespace="team-a",
        issuer="ci",
        claims={"sub": "job"},
        claim_globs={"ref": "v*"},
        scopes=("secret:fetch",),
        paths=("billing/", "shared/db"),
        networks=("10.0.0.0/8",),
        max_age=3_600,
        created_by="maker",
        expires_at=NOON,
    )
    entry = stored.audit_logs.find_one({"action": "role_create"})
    assert entry is not None
    assert (entry["status"], entry["principal"]) == ("success", "team-a/maker")
    assert entry["details"] == {
        "role_name": "new",
        "namespace": "team-a",
        "trusts": "ci",
        "scopes": ["secret:fetch"],
        "paths": ["billing/", "shared/db"],
        "networks": ["10.0.0.0/8"],
        "expires_at": NOON.isoformat(),
        "claims": ["sub=job"],
        "claim_globs": ["ref=v*"],
        "max_age": 3_600,
    }


def test_a_creator_can_grant_less(app: Flask) -> None:
    """A role can have fewer paths and a smaller network than its creator."""
    create(app, paths=Paths.of(["billing/eu/", "shared/db"]), networks=(ip_network("10.1.0.0/16"),))
    [role] = infos(app)
    assert (role.paths, role.networks) == (("billing/eu/", "shared/db"), ("10.1.0.0/16",))


@pytest.mark.promise("jwts")
def test_callers_cannot_grant_more_than_they_hold(app: Flask, stored: Stored) -> None:
    """A scope, namespace, path or network that the creator lacks is refused by name."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"scopes": frozenset({Scope.AUDIT_READ})}, "scopes"),
        ({"namespace": "team-b"}, "another namespace"),
        ({"namespace": "default"}, "another namespace"),
        ({"paths": Paths.of(["other/"])}, "paths"),
        ({"paths": Paths.of(["billing/", "shared/"])}, "paths"),
        ({"networks": (ip_network("0.0.0.0/0"),)}, "networks"),
        ({"networks": (ip_network("10.1.0.0/16"), ip_network("192.0.2.1"))}, "networks"),
    )
    for changes, excess in cases:
        with pytest.raises(GrantRefusedError, match=f"A role cannot have more than its creator: {excess}"):
            create(app, **changes)
    assert stored.roles.count_documents({}) == 0


def test_operators_create_any_role(app: Flask) -> None:
    """The command on the machine has no limits."""
    create(app, OPERATOR, namespace="team-z", scopes=ALL_RIGHTS)
    [role] = infos(app)
    assert (role.namespace, role.paths, role.expires_at) == ("team-z", (), None)


@pytest.mark.parametrize("scope", [Scope.SECRET_USE, Scope.SECRET_BROKER])
def test_no_role_has_a_side_of_a_use(app: Flask, stored: Stored, scope: Scope) -> None:
    """Not even an operator gives a role one of the scopes of the two sides of a use."""
    with pytest.raises(GrantRefusedError, match=f"No role has the scope {scope}"):
        create(app, OPERATOR, scopes=frozenset({scope}))
    assert stored.roles.count_documents({}) == 0


@pytest.mark.promise("jwts")
@pytest.mark.parametrize(
    ("iss", "refused", "accepted"),
    [
        (
            "https://token.actions.githubusercontent.com",
            [
                ("ref=refs/heads/main",),
                ("environment=prod",),
                ("job_workflow_ref=a/b/c.yml@refs/heads/main",),
            ],
            [("repository=a/b",), ("repository_owner_id=7", "environment=prod"), ("sub=repo:a/b:x",)],
        ),
        (
            "https://gitlab.com",
            [("ref=main", "ref_protected=true"), ("/ref=main",)],
            [("project_path=a/b",), ("/namespace_id=7",)],
        ),
    ],
)
def test_a_public_issuer_s_role_says_whose_jwt_it_is(
    app: Flask, iss: str, refused: list[tuple[str, ...]], accepted: list[tuple[str, ...]]
) -> None:
    """If anyone can get a JWT, a role that any account satisfies is refused."""
    make_issuer(app, "public", iss=iss, keys=public_pem())
    for claims in refused:
        with pytest.raises(RoleTooBroadError, match="Anyone can get a JWT"):
            create(app, issuer="public", claims=claims)
        create(app, name=f"other-{len(infos(app))}", claims=claims)
    for claims in accepted:
        create(app, name=f"r{len(infos(app))}", issuer="public", claims=claims)
    key, _, value = accepted[0][0].partition("=")
    with pytest.raises(RoleTooBroadError):
        create(app, issuer="public", claims=("x=y",), claim_globs=(f"{key}=*{value}",))
    create(app, issuer="public", claims=(), claim_globs=(f"{key}={value}*",))


@pytest.mark.promise("jwts")
@pytest.mark.parametrize(
    ("iss", "broad", "narrow"),
    [
        (
            "https://token.actions.githubusercontent.com",
            [
                *("sub=repo:*", "sub=repo:acme*", "sub=repo:*:ref:refs/heads/main", "repository=a*"),
                *("repository=acme*", "repository_owner=acme*", "repository_id=7*", "workflow_ref=*/api/x"),
            ],
            ["repository=acme/*", "sub=repo:acme/*", "sub=repo:acme@7/*", "workflow_ref=acme/api/*"],
        ),
        (
            "https://gitlab.com",
            ["sub=project_path:*", "ci_config_ref_uri=gitlab.com/*", "namespace_path=acme*", "user_login=a*"],
            ["project_path=acme/*", "sub=project_path:acme/*", "ci_config_ref_uri=gitlab.com/acme/*"],
        ),
    ],
)
def test_a_glob_of_a_public_issuer_s_role_names_the_owner(
    app: Flask, iss: str, broad: list[str], narrow: list[str]
) -> None:
    """A glob that accounts of other owners could satisfy does not say whose JWT it is."""
    make_issuer(app, "public", iss=iss, keys=public_pem())
    for glob in broad:
        with pytest.raises(RoleTooBroadError, match="Anyone can get a JWT"):
            create(app, issuer="public", claims=("ref=x",), claim_globs=(glob,))
    for number, glob in enumerate(narrow):
        create(app, name=f"r{number}", issuer="public", claims=(), claim_globs=(glob,))
    with pytest.raises(RoleTooBroadError, match="Anyone can get a JWT"):
        create(app, issuer="public", claims=("sub=job_workflow_ref:acme/x/.github/workflows/y.yml@main",))


@pytest.mark.promise("jwts")
def test_only_unlimited_administrators_give_roles_to_the_settings_issuer(app: Flask) -> None:
    """Its JWTs have rights in every namespace, which the manager of one could replace."""
    with pytest.raises(GrantRefusedError, match="Only unlimited administrators"):
        create(app, FREE, issuer="default")


def test_only_unlimited_administrators_take_roles_from_the_settings_issuer(
    environment: dict[str, str],
) -> None:
    """Without the role, JWTs have the rights of their own claims again, which could be more."""
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": "x"}
    with running_app({**environment, **settings}) as app:
        create(app, OPERATOR, name="cap", issuer="default", paths=Paths.of(["ci/"]))
        manager = Principal(name="m", scopes=frozenset(Scope), paths=Paths.of(["ci/"]))
        with pytest.raises(GrantRefusedError, match="paths"):
            delete(app, "cap", manager)
        delete(app, "cap", OPERATOR)


def test_a_namespace_has_room_for_so_many_roles(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager of one namespace cannot use up the roles of all."""
    monkeypatch.setattr("vault.features.jwt.roles.MAX_ROLES_OF_OTHERS", 2)
    for number in range(2):
        create(app, FREE, name=f"r{number}")
    with pytest.raises(LimitReachedError, match="at most 2 roles"):
        create(app, FREE, name="r2")
    create(app, OPERATOR, name="r2")


def test_names_are_unique_in_a_namespace(app: Flask) -> None:
    """A name is taken in its namespace only, and free again after a deletion."""
    create(app)
    with pytest.raises(RoleNameTakenError, match="already used"):
        create(app)
    create(app, OPERATOR, namespace="team-b")
    create(app, OPERATOR)
    delete(app, "new")
    create(app)
    assert sorted(role.namespace for role in infos(app)) == ["default", "team-a", "team-b"]


def test_there_is_a_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the maximum number of roles, the next is refused."""
    monkeypatch.setattr(module, "MAX_ROLES", 1)
    create(app)
    with pytest.raises(LimitReachedError, match="at most 1 roles"):
        create(app, name="second")


def test_a_principal_sees_roles_of_its_namespace_and_paths(app: Flask) -> None:
    """Roles of other namespaces, and with wider or other paths, appear not to exist."""
    make_role(app, "all", "ci", claims={"sub": "a"}, namespace="team-a")
    make_role(app, "other", "ci", claims={"sub": "a"}, namespace="team-a", paths=("other/",))
    make_role(app, "within", "ci", claims={"sub": "a"}, namespace="team-a", paths=("billing/eu/",))
    make_role(app, "elsewhere", "ci", claims={"sub": "a"}, paths=("billing/",))
    assert [role.name for role in infos(app, MAKER)] == ["within"]
    assert [role.name for role in infos(app, FREE)] == ["all", "other", "within"]
    assert len(infos(app)) == 4
    for name in ("all", "other", "elsewhere", "missing"):
        with pytest.raises(RoleNotFoundError):
            delete(app, name, replace(MAKER, networks=()))
    delete(app, "within", replace(MAKER, networks=()))
    delete(app, "all", FREE)
    delete(app, "elsewhere", OPERATOR)
    delete(app, "other", OPERATOR, namespace="team-a")
    assert infos(app) == []


def test_lists_can_be_filtered_by_state(app: Flask, stored: Stored) -> None:
    """A list with a state has only roles in that state."""
    create(app)
    create(app, name="ending", principal=replace(MAKER, expires_at=in_past(seconds=1)))
    make_role(app, "gone", "ci", claims={"sub": "a"}, namespace="team-a", paths=("billing/",))
    stored.roles.update_one({"name": "team-a/gone"}, {"$set": {"scopes": ["token:manage"]}})
    for state, names in {
        "active": ["new"],
        "expired": ["ending"],
        "altered": ["gone"],
        "orphaned": [],
    }.items():
        roles = services(app).of(Roles).list(state, attempt=operator(Action.ROLE_LIST))
        assert [role.name for role in roles] == names
    # A principal with paths does not see an altered role, whose paths are uncertain.
    assert {role.name for role in infos(app, MAKER)} == {"new", "ending"}
    assert {role.name for role in infos(app, FREE)} == {"new", "ending", "gone"}
    delete(app, "gone", FREE)


def test_a_role_moved_to_another_namespace_is_not_found(app: Flask, stored: Stored) -> None:
    """An altered role is of the namespace that its document has: others neither see nor delete it."""
    create(app, FREE)
    stored.roles.update_one({}, {"$set": {"namespace": "team-b"}})
    assert infos(app, FREE) == []
    with pytest.raises(RoleNotFoundError):
        delete(app, "new", FREE)
    delete(app, "new", OPERATOR, namespace="team-a")
    assert stored.roles.count_documents({}) == 0


def test_a_role_with_more_rights_is_not_deleted(app: Flask, stored: Stored) -> None:
    """A role with a scope or a network that the caller lacks stays, and the refusal names it."""
    make_role(
        app,
        "wide",
        "ci",
        claims={"sub": "a"},
        namespace="team-a",
        scopes=("secret:purge",),
        paths=("billing/",),
    )
    with pytest.raises(RevocationRefusedError, match=r"This role has more than yours: scopes, networks\."):
        delete(app, "wide")
    assert stored.roles.count_documents({}) == 1
    create(app)
    delete(app, "new")
    delete(app, "wide", FREE)


def test_a_cascade_deletes_the_issuers_that_a_token_made(app: Flask, stored: Stored) -> None:
    """A leaked token must not leave an issuer behind; roles of others for it are orphaned."""
    make_token(app, "boss", role="admin")
    boss = Principal(name="boss", scopes=frozenset(Scope))
    new = NewIssuer(name="evil", issuer="https://evil.example", audience="x", public_key=public_pem())
    services(app).of(Issuers).create(new, attempt=Attempt(action=Action.ISSUER_CREATE, principal=boss))
    create(app, OPERATOR, name="kept", issuer="evil")
    services(app).tokens.revoke("boss", cascade=True, attempt=operator(Action.TOKEN_REVOKE))
    assert [(role.name, role.state) for role in infos(app)] == [("kept", "orphaned")]
    [entry] = stored.audit_logs.find({"action": "issuer_delete"})
    assert entry["details"] == {"issuer_name": "evil", "created_by": "boss"}


def test_a_cascade_deletes_the_roles_that_a_token_made(app: Flask, stored: Stored) -> None:
    """Revoking a token with all that it made also deletes its roles, each with its entry first."""
    make_token(app, "boss", role="admin")
    boss = Principal(name="boss", scopes=frozenset(Scope))
    create(app, boss)
    create(app, boss, name="second")
    create(app, OPERATOR, name="kept")
    stored.roles.update_one({"name": "second"}, {"$set": {"scopes": []}})
    services(app).tokens.revoke("boss", cascade=True, attempt=operator(Action.TOKEN_REVOKE))
    assert [(role.name, role.state) for role in infos(app)] == [("kept", "active"), ("second", "altered")]
    entries = list(stored.audit_logs.find({"action": "role_delete"}))
    assert [entry["details"] for entry in entries] == [
        {"role_name": "new", "namespace": "default", "created_by": "boss"}
    ]


def test_the_name_of_a_jwt_is_shown_whole(app: Flask) -> None:
    """A creator that is a JWT keeps its issuer in lists, even if a namespace has the issuer's name."""
    job = Principal(name="ci/jwt:job", namespace="ci", scopes=frozenset(Scope))
    create(app, job)
    assert infos(app)[0].created_by == "ci/jwt:job"


def test_nothing_changes_without_its_entry(app: Flask, stored: Stored) -> None:
    """While the trail cannot be written, no role is created, listed or deleted."""
    create(app)
    block_trail(stored)
    refused: list[Callable[[], object]] = [
        lambda: create(app, name="second"),
        lambda: infos(app),
        lambda: delete(app, "new"),
    ]
    for attempt in refused:
        with pytest.raises(AuditUnavailableError):
            attempt()
    assert [document["name"] for document in stored.roles.find()] == ["team-a/new"]


def test_entries_about_roles_are_not_those_of_secrets(app: Flask, stored: Stored) -> None:
    """A principal with paths that reads the trail does not see entries about a role with a secret's name."""
    create(app, FREE, name="billing")
    delete(app, "billing", FREE)
    reader = replace(MAKER, paths=Paths.of(["billing"]), scopes=frozenset({Scope.AUDIT_READ}))
    attempt = Attempt(action=Action.AUDIT_QUERY, principal=reader)
    assert page(Filter(), cursor=None, limit=100, attempt=attempt).entries == []
    assert stored.audit_logs.count_documents({"action": {"$in": ["role_create", "role_delete"]}}) == 2


def test_a_role_for_all_namespaces_needs_a_creator_that_sees_all(app: Flask, stored: Stored) -> None:
    """Outside `default`, `audit:read` of a role is for its namespace, unless it and its creator say all."""
    audit = frozenset({Scope.AUDIT_READ})
    everything = replace(FREE, all_namespaces=True)
    with pytest.raises(GrantRefusedError, match="more than its creator: all namespaces"):
        create(app, FREE, scopes=audit, all_namespaces=True)
    create(app, FREE, scopes=audit, name="own")
    create(app, everything, scopes=audit, name="all", all_namespaces=True)
    assert {role.name: role.all_namespaces for role in infos(app)} == {"own": False, "all": True}
    # As of an earlier version.
    assert ["own_entries_only" in role for role in stored.roles.find().sort("name")] == [False, True]
    with pytest.raises(RevocationRefusedError, match="more than yours: all namespaces"):
        delete(app, "all", FREE)
    entry = stored.audit_logs.find_one({"details.role_name": "all", "status": "success"})
    assert entry is not None
    assert entry["details"]["all_namespaces"] is True
    stored.roles.update_many({}, {"$unset": {"own_entries_only": 1}})
    assert {role.name: role.state for role in infos(app)} == {"own": "altered", "all": "active"}


def test_a_jwt_sees_the_entries_that_its_role_sees(environment: dict[str, str]) -> None:
    """A JWT of another namespace sees all entries through a role for all only, never by its own claims."""
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    with running_app(environment | settings) as app:
        client = app.test_client()
        make_token(app, "other", role="reader")
        for name, sees_all in (("own", False), ("all", True)):
            options = {"namespace": "team-a", "scopes": ("audit:read",), "all_namespaces": sees_all}
            make_role(app, name, "default", claims={"sub": name}, **options)
        found = {}
        for name in ("own", "all", "claims"):
            jwt = sign(sub=name, namespace="team-a", scope="audit:read")
            page = post(client, "/vault/audit/query", {}, headers=bearer(jwt))
            found[name] = {entry["details"].get("namespace") for entry in page["entries"]}
    assert found == {"own": {"team-a"}, "all": {"team-a", "default", None}, "claims": {"team-a"}}
