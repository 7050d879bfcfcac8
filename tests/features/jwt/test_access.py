"""Access control: every operation of the API document with valid and invalid JWTs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.service.test_access import (
    ALSO,
    LET_IN,
    OPEN,
    OWN,
    World,
    check_refused,
    check_scopes,
    running_world,
)
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.issuer import UNPUBLISHED_KEY, Issuer, sign, signed_with_the_public_key, unsigned
from vault.clients.dev.mongod import Mongod
from vault.core.principal import ALL_RIGHTS, Scope

#: The `iss` of an issuer whose JWTs act through roles.
CI = "https://ci.example"


def of_ci(**changes: Any) -> str:
    """Return a JWT of that issuer."""
    return sign(**{"iss": CI, "aud": AUDIENCE, **changes})


@pytest.fixture(scope="module", params=["true", "false"], ids=["asking", "not asking"])
def world(request: pytest.FixtureRequest, mongod: Mongod, master_key: str) -> Iterator[World]:
    """Return an application, with or without required authentication, with two issuers, and roles for one."""
    settings = {"MASTER_KEY": master_key, "AUTH_ENABLED": request.param}
    with Issuer() as issuer, running_world(mongod, **settings, **issuer.environment) as world:
        make_issuer(world.app, "ci", iss=CI, keys=issuer)
        roles = {scope.replace(":", "-"): (scope, scope) for scope in ALL_RIGHTS}
        for name, (kind, scope) in (roles | dict.fromkeys(("a", "b"), ("twice", Scope.SECRET_LIST))).items():
            make_role(world.app, name, "ci", claims={"kind": kind}, scopes=(scope,))
        yield world


#: Each invalid JWT, and its principal in the audit trail.
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "alg none": (unsigned, "anonymous"),
    "HS256 with the public key": (signed_with_the_public_key, "anonymous"),
    "another signature": (lambda: sign(key=UNPUBLISHED_KEY), "anonymous"),
    "another key's algorithm": (lambda: sign(algorithm="PS256"), "anonymous"),
    "wrong issuer": (lambda: sign(iss="https://other.example"), "anonymous"),
    "wrong audience": (lambda: sign(aud="other"), "anonymous"),
    "expired": (lambda: sign(exp=1_700_000_000), "anonymous"),
    "not yet valid": (lambda: sign(nbf=4_000_000_000), "anonymous"),
    "issued later": (lambda: sign(iat=4_000_000_000), "anonymous"),
    "unknown kid": (lambda: sign("rsa-2"), "anonymous"),
    "no kid": (lambda: sign(None), "anonymous"),
    "no exp": (lambda: sign(exp=None), "anonymous"),
    "no iss": (lambda: sign(iss=None), "anonymous"),
    "no aud": (lambda: sign(aud=None), "anonymous"),
    "no sub": (lambda: sign(sub=None), "anonymous"),
    "sub of line feeds": (lambda: sign(sub="a" + chr(10)), "anonymous"),
    "endless sub": (lambda: sign(sub="a" * 129), "anonymous"),
    "empty sub": (lambda: sign(sub=""), "anonymous"),
    "namespace of another type": (lambda: sign(namespace=["a"]), "jwt:build"),
    "namespace of another form": (lambda: sign(namespace="a b"), "jwt:build"),
    "scopes of another type": (lambda: sign(scope=["secret:fetch"]), "jwt:build"),
    "no role": (lambda: of_ci(kind="none"), "ci/jwt:build"),
    "several roles": (lambda: of_ci(kind="twice"), "ci/jwt:build"),
    "its own scope": (lambda: of_ci(scope="secret:fetch"), "ci/jwt:build"),
    "another audience": (lambda: of_ci(aud="vault"), "anonymous"),
    "another issuer's audience": (lambda: sign(aud=AUDIENCE), "anonymous"),
    "endless": (lambda: sign(more="a" * 9_000), "anonymous"),
}


@pytest.mark.promise("credentials")
@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_jwt_is_401_everywhere(world: World, name: str) -> None:
    """Every invalid JWT gets the same 401 from every operation, and the trail records `denied`."""
    make, principal = REFUSED[name]
    check_refused(world, lambda _: f"Bearer {make()}", principal)


@pytest.mark.promise("credentials")
@pytest.mark.parametrize(
    ("kid", "claim", "scopes"),
    [
        *(("rsa-1", scope.value, {scope}) for scope in Scope),
        *((kid, " ".join(sorted(ALL_RIGHTS)), set(ALL_RIGHTS)) for kid in ("rsa-1", "ec-1", "ed-1")),
        ("rsa-1", "openid secret:fetch  profile", {Scope.SECRET_FETCH}),
        ("rsa-1", "", set()),
        ("rsa-1", None, set()),
        (
            "rsa-1",
            "secret:* secret secret: SECRET:FETCH secret:fetch,secret:create xsecret:fetch admin",
            set(),
        ),
        ("rsa-1", "secret:fetch\tsecret:create", set()),
    ],
    ids=lambda value: f"{len(value)} scopes" if isinstance(value, set) else str(value),
)
def test_a_jwt_authorizes_by_its_scopes(
    world: World, kid: str, claim: str | None, scopes: set[Scope]
) -> None:
    """A JWT of any published key has exactly the scopes of its claim, by their exact names."""
    check_scopes(world, f"bearer {sign(kid, scope=claim)}", scopes)


@pytest.mark.parametrize("held", sorted(ALL_RIGHTS), ids=str)
def test_a_role_of_a_jwt_authorizes_exactly_its_operations(world: World, held: Scope) -> None:
    """A JWT has exactly the scopes of its role, whatever scopes it claims."""
    client = world.app.test_client()
    header = f"Bearer {of_ci(kind=held, scope=' '.join(Scope))}"
    for path, scope, body in world.operations:
        if path in OWN | OPEN:
            # Another test describes a JWT.
            continue
        reply = world.ask(client, path, {"name": "nobody"} if path.endswith("/delete") else body, header)
        if scope is held and path not in ALSO:
            assert reply.status_code in LET_IN | {403}, (path, reply.text)
            assert "WWW-Authenticate" not in reply.headers, path
            continue
        assert reply.status_code == 403, path
        entry = world.stored.audit_logs.find_one(sort=[("_id", -1)])
        assert entry is not None
        assert (entry["status"], entry["principal"]) == ("denied", "ci/jwt:build")
        role = {"role": held.replace(":", "-"), "issuer": "ci"}
        missing = ALSO[path][0] if scope is held else scope
        assert entry["details"] == {"reason": f"needs {missing}"} | role


def test_a_jwt_describes_itself_only(world: World) -> None:
    """A JWT can describe itself; the service neither renews nor revokes it, and says why."""
    client, header = world.app.test_client(), f"Bearer {sign(scope='secret:fetch', namespace='team-a')}"
    described = world.ask(client, "/vault/token/self", {}, header).json
    assert {name: described[name] for name in ("principal", "kind", "namespace", "scopes", "renewable")} == {
        "principal": "jwt:build",
        "kind": "jwt",
        "namespace": "team-a",
        "scopes": ["secret:fetch"],
        "renewable": False,
    }
    assert described["expires_at"]
    assert {described[name] for name in ("created_at", "created_by", "renewable_until", "last_used_at")} == {
        None
    }
    of_role = world.ask(client, "/vault/token/self", {}, f"Bearer {of_ci(kind=Scope.SECRET_LIST)}").json
    assert (described["role"], of_role["role"]) == (None, "secret-list")
    assert (of_role["principal"], of_role["scopes"]) == ("ci/jwt:build", ["secret:list"])
    for path in OWN - {"/vault/token/self"}:
        reply = world.ask(client, path, {}, header)
        assert (reply.status_code, reply.get_json(force=True)["code"]) == (403, "token_required")
        entry = world.stored.audit_logs.find_one(sort=[("_id", -1)])
        assert entry is not None
        assert (entry["status"], entry["details"]) == (
            "denied",
            {"namespace": "team-a", "reason": "not a token"},
        )
