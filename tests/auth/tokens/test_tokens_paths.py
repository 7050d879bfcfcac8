"""Paths of tokens: no one grants or revokes more paths than they have, or sees tokens with more."""

from typing import Any

import pytest
from flask import Flask

from tests.support.access import bearer, make_token, services
from tests.support.rotation import Stored
from vault.auth.tokens.info import TokenInfo
from vault.auth.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.errors import GrantRefusedError, RevocationRefusedError
from vault.core.paths import Paths
from vault.core.principal import OPERATOR, Principal, Scope

LIMITED = Principal(name="limited", scopes=frozenset(Scope), paths=Paths.of(["billing/", "shared/db"]))
UNLIMITED = Principal(name="unlimited", scopes=frozenset(Scope))


def create(app: Flask, principal: Principal, name: str = "new", paths: tuple[str, ...] = ()) -> str:
    grant = Grant(name=name, scopes=frozenset({Scope.SECRET_FETCH}), paths=Paths.of(paths))
    attempt = Attempt(action=Action.TOKEN_CREATE, principal=principal)
    return services(app).tokens.create(grant, attempt=attempt).text


def infos(app: Flask, principal: Principal = OPERATOR) -> dict[str, TokenInfo]:
    attempt = Attempt(action=Action.TOKEN_LIST, principal=principal)
    return {info.name: info for info in services(app).tokens.list(attempt=attempt)}


def revoke(app: Flask, name: str, principal: Principal, *, cascade: bool = False) -> tuple[str, ...]:
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=principal)
    return services(app).tokens.revoke(name, cascade=cascade, attempt=attempt).revoked


def test_omitted_paths_are_the_creator_s(app: Flask, stored: Stored) -> None:
    """A token without paths of its own has its creator's; the entry of its creation has them."""
    create(app, LIMITED)
    create(app, UNLIMITED, "free")
    tokens = infos(app)
    assert (tokens["new"].paths, tokens["free"].paths) == (("billing/", "shared/db"), ())
    details = {entry["details"]["token"]: entry["details"] for entry in stored.audit_logs.find().limit(2)}
    assert (details["new"]["paths"], details["free"]["paths"]) == (["billing/", "shared/db"], [])


def test_paths_are_stored_without_those_that_others_cover(app: Flask) -> None:
    """A path below another one is left out."""
    create(app, UNLIMITED, paths=("a/b", "a/", "c", "c"))
    assert infos(app)["new"].paths == ("a/", "c")


@pytest.mark.promise("credentials")
def test_a_creator_grants_only_paths_within_its_own(app: Flask, stored: Stored) -> None:
    """A token can have any paths within its creator's; others are refused, and no token is stored."""
    for paths in (("other",), ("billing",), ("shared/",), ("shared/db/",), ("billing/a", "x/")):
        with pytest.raises(GrantRefusedError, match="more than its creator: paths"):
            create(app, LIMITED, paths=paths)
    assert stored.tokens.count_documents({}) == 0
    for number, paths in enumerate((("billing/eu/",), ("billing/db", "shared/db"), ("billing/",))):
        create(app, LIMITED, f"t{number}", paths)
        assert infos(app)[f"t{number}"].paths == paths


def test_tokens_with_more_paths_are_not_listed(app: Flask, stored: Stored) -> None:
    """A limited principal sees only tokens within its paths; those of an altered token are uncertain."""
    made = {"in": ("billing/a",), "out": ("other/",), "all": (), "both": ("billing/", "x")}
    for name, paths in made.items():
        create(app, UNLIMITED, name, paths)
    create(app, UNLIMITED, "altered", ("billing/b",))
    stored.tokens.update_one({"name": "altered"}, {"$set": {"paths": ["billing/c"]}})
    assert set(infos(app, LIMITED)) == {"in"}
    assert set(infos(app, UNLIMITED)) == {"in", "out", "all", "both", "altered"}
    assert infos(app)["altered"].state == "altered"


@pytest.mark.promise("credentials")
def test_tokens_with_more_paths_are_not_revoked(app: Flask, stored: Stored) -> None:
    """A limited principal cannot revoke a token with paths outside its own, or without a limit."""
    for name, paths in {"all": (), "other": ("other/",), "both": ("billing/", "other")}.items():
        create(app, UNLIMITED, name, paths)
        with pytest.raises(RevocationRefusedError, match=r"more than yours: paths\."):
            revoke(app, name, LIMITED)
        assert stored.tokens.count_documents({"revoked_at": None}) == 1
        assert revoke(app, name, UNLIMITED) == (name,)


def test_tokens_within_its_paths_are_revoked(app: Flask) -> None:
    """A limited principal revokes tokens within its paths, with all that they created, and itself."""
    text = make_token(app, "limited", role="admin", paths=("billing/",))
    attempt = Attempt(action=Action.TOKEN_CREATE)
    services(app).authenticator.identify(text, attempt=attempt)
    limited = attempt.principal
    assert limited.paths == Paths.of(["billing/"])
    create(app, limited, "child", ("billing/a/",))
    child = Principal(name="child", scopes=frozenset(Scope), paths=Paths.of(["billing/a/"]))
    create(app, child, "grandchild")
    assert revoke(app, "child", limited, cascade=True) == ("child", "grandchild")
    assert set(infos(app, limited)) == {"limited", "child", "grandchild"}
    assert revoke(app, "limited", limited) == ("limited",)


def test_paths_over_http(app: Flask) -> None:
    """Over HTTP, `create` accepts paths, null for the caller's own, and `list` returns them."""
    client, boss = app.test_client(), make_token(app, "boss", role="admin", paths=("billing/", "shared/db"))

    def post(action: str, **body: Any) -> Any:
        return client.post(f"/vault/token/{action}", json=body, headers=bearer(boss))

    assert post("create", name="some", role="reader", paths=["billing/x"]).status_code == 200
    assert post("create", name="same", role="reader", paths=None).status_code == 200
    refused = post("create", name="more", role="reader", paths=["shared/"])
    assert (refused.status_code, refused.json["detail"]) == (
        403,
        "A token cannot have more than its creator: paths.",
    )
    assert {token["name"]: token["paths"] for token in post("list").json["tokens"]} == {
        "boss": ["billing/", "shared/db"],
        "same": ["billing/", "shared/db"],
        "some": ["billing/x"],
    }
