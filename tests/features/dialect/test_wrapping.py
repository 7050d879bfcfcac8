"""Wrapping of replies in Vault's dialect."""

from datetime import datetime

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import revoke
from tests.support.dialect import DENIED, FORBIDDEN, NO_WRAPPING_TOKEN, DialectClient
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.core.secrets.wrapping import WrappingToken

WRAP, UNWRAP, LOOKUP = "sys/wrapping/wrap", "sys/wrapping/unwrap", "sys/wrapping/lookup"
SELF = "auth/token/lookup-self"


def test_a_reply_is_wrapped_as_by_vault(root: DialectClient) -> None:
    """With the header, a reply is a wrapping token for it, in Vault's envelope without a request ID."""
    body = root("GET", SELF, X_Vault_Wrap_TTL="1m")
    assert (body["request_id"], body["data"], body["auth"]) == ("", None, None)
    info = body["wrap_info"]
    assert set(info) == {"token", "accessor", "ttl", "creation_time", "creation_path"}
    assert (info["ttl"], info["creation_path"]) == (60, SELF)
    assert info["token"].startswith("smw_")
    assert info["accessor"] not in info["token"]
    reply = root.having(info["token"]).ask("POST", UNWRAP)
    assert reply.json["request_id"] == reply.headers["X-Request-ID"]
    assert reply.json["data"] == root("GET", SELF)["data"]


@pytest.mark.parametrize("content", [{}, {"a": [1, {"b": None}], "é": "x" * 60_000}], ids=["empty", "large"])
def test_data_is_wrapped_and_unwrapped(
    root: DialectClient, anonymous: DialectClient, content: object
) -> None:
    """Any object comes back as it was, to the holder of its token, who needs no other credential."""
    assert anonymous.having(root.wrap(content))("POST", UNWRAP)["data"] == content


@pytest.mark.parametrize("body", [None, b"null", {"token": ""}], ids=repr)
def test_unwrap_takes_the_token_as_credential(root: DialectClient, body: object) -> None:
    """With the wrapping token as the credential, the body can be null, empty or missing."""
    assert root.having(root.wrap({"a": 1}))("PUT", UNWRAP, body)["data"] == {"a": 1}


def test_unwrap_takes_the_token_in_the_body(
    app: Flask, root: DialectClient, anonymous: DialectClient
) -> None:
    """Any valid credential can unwrap what the body names; without one, or a wrong one, it is refused."""
    token = root.wrap({"a": 1})
    assert anonymous.refused("POST", UNWRAP, {"token": token}) == (403, DENIED)
    assert root.having("wrong").refused("POST", UNWRAP, {"token": token}) == (403, DENIED)
    auditor = DialectClient.of(app, "auditor", role="auditor")
    assert auditor.refused("POST", UNWRAP, {"token": token}, X_Vault_Namespace="x")[0] == 404
    assert auditor("POST", UNWRAP, {"token": token})["data"] == {"a": 1}
    for body in ({"token": token}, {"token": "nope"}, {"token": 5}, {"token": root.token}, {}):
        assert auditor.refused("POST", UNWRAP, body) == (400, NO_WRAPPING_TOKEN)


def test_a_second_unwrap_is_400(root: DialectClient, stored: Stored) -> None:
    """A token is good for one unwrap; the second is refused, on record and as an invalid credential."""
    holder = root.having(root.wrap({"a": 1}))
    holder("POST", UNWRAP)
    assert holder.refused("POST", UNWRAP) == (400, NO_WRAPPING_TOKEN)
    assert holder.refused("GET", LOOKUP) == (400, NO_WRAPPING_TOKEN)
    entries = [entry for entry in trail(stored) if "wrap" in entry["action"]]
    assert [(entry["action"], entry["status"]) for entry in entries] == [
        ("wrap", "success"),
        ("unwrap", "success"),
        ("unwrap", "denied"),
        ("wrap_lookup", "denied"),
    ]
    assert entries[0]["details"]["accessor"] == entries[1]["secret_id"]
    assert [entry["details"] for entry in entries[2:]] == [{"reason": "unknown"}] * 2


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {}), ("PUT", b"null")])
def test_a_look_up_needs_only_the_token(
    root: DialectClient, anonymous: DialectClient, method: str, body: object
) -> None:
    """A look-up says where the reply comes from, as often as one likes; the token may be the credential."""
    token = root.wrap({"a": 1}, "90s")
    for found in (root.having(token)(method, LOOKUP, body), anonymous("POST", LOOKUP, {"token": token})):
        assert set(found["data"]) == {"creation_path", "creation_time", "creation_ttl"}
        assert (found["data"]["creation_path"], found["data"]["creation_ttl"]) == (WRAP, 90)
    assert root.having(token)("POST", UNWRAP)["data"] == {"a": 1}


def test_a_look_up_of_nothing_is_400(root: DialectClient, anonymous: DialectClient) -> None:
    """A token that does not exist, or none at all, is refused like one that was used."""
    for client in (root, anonymous):
        for body in ({"token": "nope"}, {"token": 5}, {}):
            assert client.refused("POST", LOOKUP, body) == (400, NO_WRAPPING_TOKEN)


@pytest.mark.promise("vault")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", SELF),
        ("GET", "nothing/x"),
        ("POST", WRAP),
    ],
)
def test_a_token_elsewhere_is_spent(root: DialectClient, stored: Stored, method: str, path: str) -> None:
    """A wrapping token is not a credential for anything else: it is 403, and the reply is gone."""
    holder = root.having(root.wrap({"a": 1}))
    assert holder.refused(method, path) == (403, FORBIDDEN)
    assert holder.refused(method, path) == (403, DENIED)
    assert holder.refused("POST", UNWRAP) == (400, NO_WRAPPING_TOKEN)
    spent = next(entry for entry in trail(stored) if entry["status"] == "bad_request")
    assert spent["details"] == {"reason": "wrapping token"}
    assert len(spent["secret_id"]) == 36


@pytest.mark.promise("vault")
def test_each_spent_token_has_its_entry(root: DialectClient, stored: Stored) -> None:
    """However many tokens are spent on other paths, each has an entry that names its reply."""
    tokens = [root.wrap({"a": number}) for number in range(8)]
    for token in tokens:
        assert root.having(token).refused("GET", SELF) == (403, FORBIDDEN)
    spent = [entry["secret_id"] for entry in trail(stored) if entry["status"] == "bad_request"]
    assert spent == [WrappingToken(token).accessor for token in tokens]


def test_a_health_check_spends_no_token(root: DialectClient) -> None:
    """Paths that need no credential do not look at one."""
    holder = root.having(root.wrap({"a": 1}))
    holder("GET", "sys/health", X_Vault_Wrap_TTL="60")
    assert holder("POST", UNWRAP)["data"] == {"a": 1}


def test_a_life_has_the_forms_of_vault(root: DialectClient) -> None:
    """The header takes seconds and numbers with units, up to 30 days; without any, nothing is wrapped."""
    for ttl, seconds in [
        ("60", 60),
        ("1h30m", 5_400),
        ("1.5s", 2),
        ("1ms", 1),
        ("30d", 2_592_000),
    ]:
        assert root("GET", SELF, X_Vault_Wrap_TTL=ttl)["wrap_info"]["ttl"] == seconds, ttl
    for ttl in ["", "0s"]:
        assert root("GET", SELF, X_Vault_Wrap_TTL=ttl)["wrap_info"] is None, ttl
        required = {"errors": ["endpoint requires response wrapping to be used"]}
        assert root.refused("POST", WRAP, {}, X_Vault_Wrap_TTL=ttl) == (400, required), ttl
    for ttl in ["abc", "-1", "1.5", "9" * 10, "30d1s", "٣"]:
        headers = {"X_Vault_Wrap_TTL": ttl.encode().decode("latin-1")}
        status, body = root.refused("GET", SELF, **headers)
        assert status == 400, ttl
        assert body["errors"][0].startswith("error parsing X-Vault-Wrap-TTL header: "), ttl


@pytest.mark.promise("vault")
def test_a_secret_is_wrapped(root: DialectClient, stored: Stored) -> None:
    """A secret is read, on record as wrapped, and only the holder of the token gets it."""
    root("POST", "secret/data/a/b", {"data": {"password": "hunter2"}})
    reply = root.ask("GET", "secret/data/a/b", X_Vault_Wrap_TTL="60")
    assert "hunter2" not in reply.text
    info = reply.json["wrap_info"]
    entry = trail(stored)[-1]
    assert (entry["action"], entry["status"]) == ("fetch", "success")
    assert entry["details"]["wrapped"] is True
    assert entry["details"]["accessor"] == info["accessor"]
    assert info["creation_path"] == "secret/data/a/b"
    unwrapped = root.having(info["token"])("POST", UNWRAP)
    assert unwrapped["data"]["data"] == {"password": "hunter2"}
    assert "hunter2" not in str(list(stored.secrets.find()))
    assert info["token"] not in str(list(stored.audit_logs.find()))


def test_a_login_is_wrapped_with_the_accessor_of_its_token(app: Flask, root: DialectClient) -> None:
    """A wrapped login names the accessor of the client token, and the token works after the unwrap."""
    token = DialectClient.of(app, "ci", role="reader").token
    login = {"role_id": "ci", "secret_id": token}
    info = root.having(None)("POST", "auth/approle/login", login, X_Vault_Wrap_TTL="60")["wrap_info"]
    auth = root.having(info["token"])("POST", UNWRAP)["auth"]
    assert info["wrapped_accessor"] == auth["accessor"]
    assert root.having(auth["client_token"])("GET", SELF)["data"]["display_name"] == "ci"


@pytest.mark.promise("vault")
def test_a_wrapped_reply_keeps_its_end(root: DialectClient, stored: Stored) -> None:
    """However often a reply is unwrapped and wrapped again, it expires no later than its first wrapping."""
    token = root.wrap({"a": 1}, "60s")
    first = _expiry(stored)
    for _ in range(3):
        info = root.having(token)("POST", UNWRAP, X_Vault_Wrap_TTL="30d")["wrap_info"]
        assert info["ttl"] < 60
        token = info["token"]
    assert _expiry(stored) < first
    # A shorter life than that is granted.
    assert root.having(token)("POST", UNWRAP, X_Vault_Wrap_TTL="5s")["wrap_info"]["ttl"] == 5


def _expiry(stored: Stored) -> datetime:
    """Return the expiry of the newest wrapped reply."""
    [found] = stored.secrets.find({"namespace": "service:wrapping"}).sort("created_at", -1).limit(1)
    expiry: datetime = found["expires_at"]
    return expiry


@pytest.mark.promise("vault")
def test_a_reply_in_its_last_second_is_not_wrapped_again(root: DialectClient, stored: Stored) -> None:
    """A reply that expires within a second is not kept again: it could outlive its first wrapping."""
    holder = root.having(root.wrap({"a": 1}, "1s"))
    assert holder.refused("POST", UNWRAP, X_Vault_Wrap_TTL="30d") == (400, NO_WRAPPING_TOKEN)
    assert stored.secrets.count_documents({}) <= 1


@pytest.mark.promise("vault")
def test_a_look_up_is_not_wrapped(root: DialectClient, anonymous: DialectClient, stored: Stored) -> None:
    """A look-up needs no credential, so it stores nothing: it is refused with the header."""
    token = root.wrap({"a": 1})
    refusal = {"errors": ["a look-up cannot be wrapped"]}
    for client in (root, anonymous, root.having(token)):
        assert client.refused("POST", LOOKUP, {"token": token}, X_Vault_Wrap_TTL="30d") == (400, refusal)
    assert stored.secrets.count_documents({}) == 1
    assert anonymous("POST", LOOKUP, {"token": token}, X_Vault_Wrap_TTL="0")["data"]["creation_ttl"] == 60


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "secret/data/gone", 404),
        ("DELETE", "secret/data/gone", 204),
        ("POST", "secret/data/-", 400),
    ],
)
def test_an_entry_says_wrapped_only_of_a_wrapped_reply(
    root: DialectClient, stored: Stored, method: str, path: str, status: int
) -> None:
    """The entry of a request whose reply was not wrapped has neither `wrapped` nor an accessor."""
    root("POST", "secret/data/gone", {"data": {}})
    root.ask("DELETE", "secret/data/gone")
    body = {} if method == "POST" else None
    assert root.ask(method, path, body, X_Vault_Wrap_TTL="60").status_code == status
    assert not trail(stored)[-1].get("details", {}).keys() & {"wrapped", "accessor"}


@pytest.mark.promise("vault")
def test_wrong_tokens_are_limited(environment: dict[str, str]) -> None:
    """Guesses of wrapping tokens are limited by `FAILED_AUTH_LIMIT`, wherever they are sent."""
    with running_app({**environment, "FAILED_AUTH_LIMIT": "3/hour"}) as app:
        root = DialectClient.of(app)
        anonymous = root.having(None)
        assert anonymous.refused("POST", LOOKUP, {"token": "smw_" + "0" * 43})[0] == 400
        assert anonymous.having("smw_" + "0" * 43).refused("POST", UNWRAP)[0] == 400
        assert root.refused("POST", UNWRAP, {"token": "smw_" + "0" * 43})[0] == 400
        assert anonymous.refused("POST", LOOKUP, {"token": "smw_" + "0" * 43})[0] == 429
        assert root.having(root.wrap({"a": 1}))("POST", UNWRAP)["data"] == {"a": 1}


def _wrapped(root: DialectClient, path: str = "secret/data/a") -> str:
    return str(root("GET", path, X_Vault_Wrap_TTL="60")["wrap_info"]["token"])


@pytest.mark.promise("vault")
@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "secret/metadata/a", None),
        ("POST", "secret/destroy/a", {"versions": [1]}),
        ("DELETE", "secret/data/a", None),
        ("POST", "auth/token/revoke-self", None),
    ],
)
def test_a_wrapped_reply_ends_with_its_secret_and_its_maker(
    app: Flask, stored: Stored, again: bool, method: str, path: str, body: object
) -> None:
    """Neither a purge nor a revocation leaves a wrapped value behind, however often it was wrapped."""
    root = DialectClient.of(app)
    root("POST", "secret/data/a", {"data": {"k": "hunter2"}})
    token = _wrapped(root)
    if again:
        token = root.having(token)("POST", UNWRAP, X_Vault_Wrap_TTL="30")["wrap_info"]["token"]
    assert root.ask(method, path, body).status_code in (200, 204)
    holder = root.having(token)
    for path in ("sys/wrapping/lookup", UNWRAP):
        assert holder.refused("POST", path) == (400, NO_WRAPPING_TOKEN)
    entry = trail(stored)[-1]
    assert entry["details"]["reason"] in ("its secret ended", "its maker was revoked")
    assert entry["secret_id"] == WrappingToken(token).accessor


@pytest.mark.promise("vault")
def test_wrapped_data_ends_with_its_maker(app: Flask, stored: Stored) -> None:
    """Data that is no secret's has its maker's end."""
    root = DialectClient.of(app, "wrapper", role="admin")
    token = root.wrap({"a": 1})
    revoke(app, "wrapper")
    assert root.having(token).refused("POST", UNWRAP) == (400, NO_WRAPPING_TOKEN)
    assert trail(stored)[-1]["details"] == {"reason": "its maker was revoked"}


def test_metadata_stays_wrapped_while_its_secret_does(app: Flask) -> None:
    """A reply without a value needs no version that can be read."""
    root = DialectClient.of(app, "reader", role="admin")
    root("POST", "secret/data/a", {"data": {"k": 1}})
    token = _wrapped(root, "secret/metadata/a")
    root.ask("DELETE", "secret/data/a")
    assert root.having(token)("POST", UNWRAP)["data"]["current_version"] == 1
