"""The system of Vault's dialect: health, mounts and capabilities."""

import time
from typing import Any

import pytest
from flask import Flask

from tests.support.dialect import DENIED, FORBIDDEN, DialectClient
from tests.support.lifecycle import trail
from tests.support.metrics import measured
from tests.support.rotation import Stored
from vault.core.crypto.token import new_token
from vault.core.principal import Scope
from vault.core.services import Health, Readiness

CLUSTER = {"cluster_name", "cluster_id"}


def test_the_service_is_healthy(anonymous: DialectClient, stored: Stored) -> None:
    """Health, seal status, leader and initialization need no credential, and leave no entry."""
    before = len(trail(stored))
    health = anonymous("GET", "sys/health?standbyok=true&drsecondarycode=299")
    assert set(health) == CLUSTER | {
        "initialized",
        "sealed",
        "standby",
        "replication_performance_mode",
        "replication_dr_mode",
        "server_time_utc",
        "version",
    }
    assert (health["initialized"], health["sealed"], health["standby"]) == (True, False, False)
    assert health["server_time_utc"] == pytest.approx(time.time(), abs=60)
    assert anonymous.ask("HEAD", "sys/health").status_code == 200
    status = anonymous("GET", "sys/seal-status")
    assert (status["sealed"], status["initialized"], status["version"]) == (False, True, health["version"])
    assert anonymous("GET", "sys/leader") == {"ha_enabled": False}
    assert anonymous("GET", "sys/init") == {"initialized": True}
    assert len(trail(stored)) == before


def test_a_service_that_is_not_ready_is_sealed(
    anonymous: DialectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service cannot create and fetch secrets, its health is 503 and it looks sealed."""
    monkeypatch.setattr(Health, "readiness", lambda _: Readiness({"mongodb": ["MongoDB is not available"]}))
    reply = anonymous.ask("GET", "sys/health")
    assert (reply.status_code, reply.json["sealed"]) == (503, True)
    assert reply.json["initialized"]
    assert anonymous.ask("HEAD", "sys/health").status_code == 503
    status = anonymous("GET", "sys/seal-status")
    assert status["sealed"]
    assert not CLUSTER & (set(status) | set(reply.json))


def test_without_mongodb_there_are_no_warnings_about_it() -> None:
    """While MongoDB is not available, nothing is known about its members and its clock."""
    assert Readiness({"mongodb": ["MongoDB is not available"]}).warnings == []


def test_a_health_check_chooses_its_status(anonymous: DialectClient) -> None:
    """A load balancer can ask for another status than 200, as with Vault; not for one that is a failure."""
    for code, status in [("299", 299), ("", 200), ("473", 473)]:
        assert anonymous.ask("GET", f"sys/health?activecode={code}").status_code == status, code
    for code in ["x", "99", "204", "304", "500", "2000"]:
        assert anonymous.refused("GET", f"sys/health?activecode={code}")[0] == 400, code


def test_a_chosen_status_is_no_label(anonymous: DialectClient) -> None:
    """Strangers choose no label of a metric: a check counts by its own status, not by the one it asks for."""
    before = measured("requests_total", operation="health_of_vault", status="200")
    for code in (432, 433):
        assert anonymous.ask("GET", f"sys/health?activecode={code}").status_code == code
        assert measured("requests_total", operation="health_of_vault", status=str(code)) == 0
    assert measured("requests_total", operation="health_of_vault", status="200") == before + 2


def test_the_mounts_are_fixed(app: Flask, root: DialectClient) -> None:
    """Every credential sees the same mounts: KV version 2 at `secret/`, and the three ways to log in."""
    for client in (root, DialectClient.of(app, "reader", role="reader")):
        mounts = client("GET", "sys/mounts")
        assert set(mounts["data"]) == {"secret/", "sys/"}
        # Next to the envelope's own fields, as the real one has it.
        assert mounts["secret/"] == mounts["data"]["secret/"]
        visible = client("GET", "sys/internal/ui/mounts")["data"]
        assert visible["secret"] == mounts["data"]
        assert set(visible["auth"]) == {"approle/", "jwt/", "token/"}
    kv = mounts["data"]["secret/"]
    assert (kv["type"], kv["options"]) == ("kv", {"version": "2"})


def test_a_caller_with_paths_lists_no_mounts(app: Flask, stored: Stored) -> None:
    """As on the real server, a tenant finds the mount of its paths, and 403 in place of all mounts."""
    tenant = DialectClient.of(app, "tenant", role="reader", paths=("billing/",))
    assert tenant.refused("GET", "sys/mounts") == (403, FORBIDDEN)
    entry = trail(stored)[-1]
    assert (entry["action"], entry["status"]) == ("mounts", "denied")
    found = tenant("POST", "sys/capabilities-self", {"paths": ["sys/mounts", "auth/token/lookup-self"]})
    assert found["sys/mounts"] == ["deny"]
    assert found["auth/token/lookup-self"] == ["read", "update"]
    assert tenant("GET", "sys/internal/ui/mounts/secret/billing/db")["data"]["path"] == "secret/"
    assert "secret/" in tenant("GET", "sys/internal/ui/mounts")["data"]["secret"]


def test_without_a_credential_no_mounts_are_visible(anonymous: DialectClient, stored: Stored) -> None:
    """A caller without a credential gets empty maps, without an entry; with a wrong one, 403."""
    assert anonymous("GET", "sys/internal/ui/mounts")["data"] == {"auth": {}, "secret": {}}
    assert len(trail(stored)) == 1
    assert anonymous.having("wrong").refused("GET", "sys/internal/ui/mounts") == (403, DENIED)
    assert anonymous.refused("GET", "sys/mounts") == (403, DENIED)
    assert anonymous.refused("GET", "sys/internal/ui/mounts/secret/x") == (403, DENIED)


def test_the_mount_of_a_path(root: DialectClient, stored: Stored) -> None:
    """The mount of any path below it is described with its own path, whether or not there is a secret."""
    for path, mount, kind in [
        ("secret", "secret/", "kv"),
        ("secret/a/b", "secret/", "kv"),
        ("sys/x", "sys/", "system"),
        ("auth/jwt/login", "jwt/", "jwt"),
    ]:
        found = root("GET", f"sys/internal/ui/mounts/{path}")["data"]
        assert (found["path"], found["type"]) == (mount, kind)
    assert [(entry["action"], entry["status"]) for entry in trail(stored)[1:]] == [("mounts", "success")] * 4


def test_the_mount_of_an_unknown_path_is_403(root: DialectClient, stored: Stored) -> None:
    """An unknown path is refused with Vault's text, whatever the rights of the caller."""
    for path in ["secrets", "auth/other"]:
        status, body = root.refused("GET", f"sys/internal/ui/mounts/{path}")
        assert status == 403, path
        [text] = body["errors"]
        assert text.startswith("preflight capability check returned 403, please ensure client's policies"), (
            path
        )
        assert text.endswith(f'grant access to path "{path}/"'), path
        assert trail(stored)[-1]["details"] == {"reason": "unknown path"}, path


def test_an_unknown_path_shows_no_token(root: DialectClient) -> None:
    """A token in a path that is unknown is masked in the reply."""
    token = new_token()
    assert root.refused("GET", f"sys/internal/ui/mounts/{token}")[1]["errors"][0].endswith('to path "…/"')
    assert root.refused("GET", token)[1] == {"errors": ['no handler for route "…". route entry not found.']}


def capabilities(client: DialectClient, *paths: str) -> dict[str, Any]:
    found: dict[str, Any] = client("POST", "sys/capabilities-self", {"paths": list(paths)})["data"]
    return found


def test_all_rights_are_those_of_root(root: DialectClient) -> None:
    """A credential with all rights has Vault's `root` everywhere, also where nothing is mounted."""
    paths = ("secret/data/a", "sys/policies", "x")
    assert capabilities(root, *paths) == {path: ["root"] for path in paths}


#: The capabilities that each scope gives, by path.
GIVEN: dict[Scope, dict[str, list[str]]] = {
    Scope.SECRET_CREATE: {"secret/data/a": ["create"]},
    Scope.SECRET_FETCH: {"secret/data/a": ["read"], "secret/subkeys/a": ["read"]},
    Scope.SECRET_DELIVER: {},
    Scope.SECRET_UPDATE: {
        "secret/data/a": ["patch", "update"],
        "secret/metadata/a": ["patch", "update"],
    },
    Scope.SECRET_DESCRIBE: {"secret/metadata/a": ["read"]},
    Scope.SECRET_DELETE: {
        "secret/data/a": ["delete"],
        "secret/delete/a": ["update"],
        "secret/undelete/a": ["update"],
    },
    Scope.SECRET_PURGE: {"secret/metadata/a": ["delete"], "secret/destroy/a": ["update"]},
    Scope.SECRET_LIST: {"secret/metadata/a": ["list"]},
    Scope.CANARY_MANAGE: {},
    Scope.AUDIT_READ: {},
    Scope.AUDIT_WITNESS: {},
    Scope.TOKEN_MANAGE: {"auth/token/create": ["update"]},
    Scope.WEBHOOK_MANAGE: {},
    Scope.ROTATION_MANAGE: {},
    Scope.SECRET_USE: {},
    Scope.SECRET_BROKER: {},
}


def test_each_scope_gives_its_capabilities(app: Flask) -> None:
    """A scope gives exactly the capabilities of its operations, at the paths of a secret."""
    assert GIVEN.keys() == set(Scope), "give each scope a line above, empty if it gives none"
    for scope in Scope:
        client = DialectClient.of(app, scope.replace(":", "-"), scopes=(scope,))
        paths = {path for given in GIVEN.values() for path in given} | {"secret/config", "kv/data/a"}
        assert capabilities(client, *paths) == {path: GIVEN[scope].get(path, ["deny"]) for path in paths}, (
            scope
        )
        assert capabilities(client, "sys/mounts", "auth/token/lookup-self") == {
            "sys/mounts": ["read"],
            "auth/token/lookup-self": ["read", "update"],
        }, scope


def test_metadata_is_created_with_two_scopes(app: Flask) -> None:
    """Metadata of a new secret needs the scope for metadata, and the one for new secrets."""
    client = DialectClient.of(app, "two", scopes=(Scope.SECRET_CREATE, Scope.SECRET_UPDATE))
    found = capabilities(client, "secret/metadata/a", "secret/data/a")
    assert found["secret/metadata/a"] == ["create", "patch", "update"]
    assert client.ask("POST", "secret/metadata/a", {"cas_required": True}).status_code == 204
    less = DialectClient.of(app, "one", scopes=(Scope.SECRET_UPDATE,))
    assert less.refused("POST", "secret/metadata/b", {"cas_required": True}) == (403, FORBIDDEN)


@pytest.mark.parametrize("form", [list, ",".join], ids=["list", "text"])
def test_capabilities_of_few_paths(root: DialectClient, form: Any) -> None:
    """A request names up to 100 paths: a reply to thousands takes much more memory than the request."""
    paths = [f"secret/data/{number}" for number in range(101)]
    assert len(root("POST", "sys/capabilities-self", {"paths": form(paths[1:])})["data"]) == 100
    assert root.refused("POST", "sys/capabilities-self", {"paths": form(paths)}) == (
        400,
        {"errors": ["at most 100 paths"]},
    )


def test_capabilities_end_with_the_paths(app: Flask) -> None:
    """Outside the paths of a credential, nothing is allowed; a folder within them can be listed."""
    limited = DialectClient.of(app, "limited", role="reader", paths=("in/", "one"))
    assert capabilities(
        limited,
        "secret/data/in/a",
        "secret/data/out",
        "secret/data/one",
        "secret/metadata/in/",
        "secret/metadata/in",
        "secret/metadata/one",
        "secret/metadata/",
    ) == {
        "secret/data/in/a": ["read"],
        "secret/data/out": ["deny"],
        "secret/data/one": ["read"],
        "secret/metadata/in/": ["list", "read"],
        "secret/metadata/in": ["list"],
        "secret/metadata/one": ["read"],
        "secret/metadata/": ["deny"],
    }
    assert limited.refused("LIST", "secret/metadata/in")[0] == 404
    assert limited.refused("LIST", "secret/metadata/one") == (403, FORBIDDEN)


def test_paths_are_asked_for_in_several_forms(root: DialectClient, stored: Stored) -> None:
    """A list, a text with commas, and the older `path` are understood; without any, the request is 400."""
    for body in ({"paths": ["a", "b"]}, {"paths": "a, b"}, {"path": "a,b"}):
        assert root("PUT", "sys/capabilities-self", body)["data"] == {"a": ["root"], "b": ["root"]}
    one = root("POST", "sys/capabilities-self", {"path": "a"})
    assert one["data"] == {"a": ["root"], "capabilities": ["root"]}
    assert (one["a"], one["capabilities"]) == (["root"], ["root"])
    assert [entry["action"] for entry in trail(stored)[1:]] == ["capabilities"] * 4
    for body in (b"  ", b"null", {}, {"paths": []}):
        refused = root.refused("POST", "sys/capabilities-self", body)
        assert refused == (400, {"errors": ["paths must be supplied"]}), body
    for body in ({"paths": {"a": 1}}, {"paths": [1, {}]}):
        assert root.refused("POST", "sys/capabilities-self", body)[0] == 400, body
