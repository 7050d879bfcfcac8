"""Stored tokens: write access to the database can neither create nor extend one."""

import json
import math
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, DatetimeMS, Int64, MaxKey
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.access import bearer, make_token, revoke, services
from tests.support.features import requires
from tests.support.rotation import Stored
from vault.common.errors import KeyMissingError
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.token import new_token
from vault.core.documents.token import StoredTokenKey, Token
from vault.core.principal import OPERATOR

QUERY = "/vault/audit/query"
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def ask(client: FlaskClient, token: str) -> int:
    return client.post(QUERY, json={}, headers=bearer(token)).status_code


@pytest.fixture
def token(app: Flask) -> str:
    """Return a token with almost every field that can be altered."""
    return make_token(app, "ci", role="auditor", networks=("127.0.0.0/8",), seconds=3_600)


def assert_each_is_an_alteration(app: Flask, stored: Stored, changes: list[dict[str, Any]]) -> None:
    """Assert that the auditor's token is genuine as it is stored, and not after any of *changes*."""
    key = services(app).tokens._keys.find()
    before = stored.tokens.find_one({"scopes": ["audit:read"]})
    assert before is not None
    own = {"_id": before["_id"]}

    def is_genuine() -> bool:
        # As for authentication.
        token = Token.objects(id=before["_id"], pending=None).first()
        return bool(token and token.is_genuine(key))

    for change in changes:
        stored.tokens.replace_one(own, before)
        assert is_genuine()
        stored.tokens.update_one(own, change)
        assert not is_genuine(), change
    stored.tokens.replace_one(own, before)


#: Alterations of any token.
ALTERED: list[dict[str, Any]] = [
    {"$set": {"name": "other"}},
    {"$set": {"namespace": "other"}},
    {"$push": {"scopes": "token:manage"}},
    {"$set": {"scopes": ["audit:read", "secret:fetch"]}},
    {"$set": {"scopes": "audit:read"}},
    {"$set": {"scopes": None}},
    {"$set": {"scopes": [["audit:read"]]}},
    {"$set": {"paths": ["billing/"]}},
    {"$set": {"paths": []}},
    {"$set": {"networks": []}},
    {"$unset": {"networks": 1}},
    {"$set": {"networks": ["0.0.0.0/0"]}},
    {"$set": {"expires_at": LATER}},
    {"$set": {"expires_at": None}},
    {"$unset": {"expires_at": 1}},
    {"$set": {"expires_at": LATER.isoformat()}},
    {"$set": {"expires_at": Int64(2**60)}},
    {"$set": {"expires_at": False}},
    {"$set": {"created_at": LATER}},
    {"$set": {"created_by": "somebody"}},
    {"$set": {"revoked_at": False}},
    {"$set": {"name": Code("ci")}},
    {"$set": {"name": Binary(b"ci")}},
    {"$set": {"namespace": Code("default")}},
    {"$set": {"created_by": Code("operator")}},
    {"$set": {"scopes": [Code("audit:read")]}},
    {"$set": {"_cls": "Secret"}},
    {"$set": {"_cls": 5}},
    {"$set": {"seal": "0" * 64}},
    {"$set": {"seal": ""}},
    {"$set": {"seal": None}},
    {"$set": {"seal": Binary(b"x")}},
    {"$unset": {"seal": 1}},
]


#: Alterations of the paths of a token.
ALTERED_PATHS: list[dict[str, Any]] = [
    {"$unset": {"paths": 1}},
    {"$set": {"paths": None}},
    {"$set": {"paths": []}},
    {"$set": {"paths": ["billing/", "shared/"]}},
    {"$push": {"paths": "other"}},
    {"$pop": {"paths": 1}},
    {"$set": {"paths": "billing/"}},
    {"$set": {"paths": ["shared/db", "billing/"]}},
    {"$set": {"paths": [["billing/"], ["shared/db"]]}},
    {"$set": {"paths": {"billing/": "shared/db"}}},
    {"$rename": {"paths": "networks"}},
]


#: Alterations of a renewable token.
ALTERED_RENEWAL: list[dict[str, Any]] = [
    {"$set": {"renewable_until": datetime(2101, 1, 1, tzinfo=UTC)}},
    {"$set": {"renewable_until": None}},
    {"$unset": {"renewable_until": 1}},
    {"$set": {"renewable_until": "2101-01-01"}},
    {"$set": {"renewable_until": Int64(2**60)}},
    {"$set": {"renewable_until": False}},
    {"$set": {"renewal_seconds": 86_400}},
    {"$set": {"renewal_seconds": 3_600.0}},
    {"$set": {"renewal_seconds": "3600"}},
    {"$set": {"renewal_seconds": math.inf}},
    {"$set": {"renewal_seconds": math.nan}},
    {"$set": {"renewal_seconds": Binary(b"x")}},
    {"$set": {"renewal_seconds": [3_600]}},
    {"$set": {"renewal_seconds": {"$a": 1}}},
    {"$unset": {"renewal_seconds": 1}},
    {"$unset": {"renewal_seconds": 1, "renewable_until": 1}},
    {"$set": {"expires_at": LATER}},
]

#: Everything but true; the last ones read as true.
NOT_TRUE = (None, False, 0, "", [], 1, "x", math.nan, [0], {"$a": 1}, Binary(b"x"), DatetimeMS(2**62))
#: Additions of the fields for renewals, periods, orphans and entries, also if they are false.
ADDED: list[dict[str, Any]] = [
    *({"$set": {field: value}} for field in ("periodic", "orphan") for value in (True, *NOT_TRUE[1:])),
    *({"$set": {"renewable_until": value}} for value in (LATER, 0, False, "")),
    *({"$set": {"renewal_seconds": value}} for value in (86_400, 0, False, "")),
    {"$set": {"own_entries_only": True}},
]
#: Alterations of a token that sees the entries of its own namespace only.
ALTERED_ENTRIES: list[dict[str, Any]] = [
    {"$unset": {"own_entries_only": 1}},
    *({"$set": {"own_entries_only": value}} for value in NOT_TRUE),
]


@pytest.mark.promise("credentials", "names")
@pytest.mark.parametrize(
    ("grant", "changes"),
    [
        ({"networks": ("127.0.0.0/8",), "seconds": 3_600}, [*ALTERED, *ADDED]),
        ({"paths": ("billing/", "shared/db")}, ALTERED_PATHS),
        ({"seconds": 3_600, "max_age": 86_400}, ALTERED_RENEWAL),
        ({"namespace": "team"}, ALTERED_ENTRIES),
    ],
    ids=["plain", "paths", "renewable", "entries"],
)
def test_an_altered_token_is_not_genuine(
    app: Flask, client: FlaskClient, stored: Stored, grant: dict[str, Any], changes: list[dict[str, Any]]
) -> None:
    """A token of which any field was changed, removed or added is not genuine, and is refused everywhere."""
    text = make_token(app, "ci", role="auditor", **grant)
    boss = make_token(app, "boss", role="admin", namespace=grant.get("namespace"))
    assert_each_is_an_alteration(app, stored, changes)
    stored.tokens.update_one({"scopes": ["audit:read"]}, changes[0])
    for path in ("/vault/token/self", "/vault/token/renew", "/vault/token/revoke-self"):
        assert client.post(path, json={}, headers=bearer(text)).status_code == 401
    listed = client.post("/vault/token/list", json={}, headers=bearer(boss)).json["tokens"]
    assert sorted(token["state"] for token in listed) == ["active", "altered"]


def test_fields_of_a_later_version_are_ignored(client: FlaskClient, stored: Stored, token: str) -> None:
    """A field that the service does not know, whatever its name means to MongoEngine, changes nothing."""
    stored.tokens.update_one({}, {"$set": {"_created": False, "_auto_dereference": False, "unknown": 1}})
    assert ask(client, token) == 200


def test_a_token_of_an_earlier_version_is_valid(app: Flask, client: FlaskClient, stored: Stored) -> None:
    """A token whose seal covers no paths, as earlier versions stored it, is valid and has no limit."""
    key = app.extensions["secret-manager"].tokens._keys.find_or_make()
    text = new_token()
    created_at = datetime(2026, 11, 1, tzinfo=UTC)
    record = {
        "id": key.hash(text),
        "name": "old",
        "namespace": "default",
        "created_by": "operator",
        "scopes": ["audit:read"],
        "networks": [],
        "expires_at": None,
        "revoked_at": None,
    }
    seal = key.seal({**record, "created_at": int(created_at.timestamp() * 1_000)})
    found = {name: value for name, value in record.items() if value is not None and name != "id"}
    stored.tokens.insert_one({"_id": record["id"], **found, "created_at": created_at, "seal": seal})
    assert ask(client, text) == 200
    [info] = app.extensions["secret-manager"].tokens.list(
        attempt=Attempt(action=Action.TOKEN_LIST, principal=OPERATOR)
    )
    assert (info.state, info.paths) == ("active", ())


def test_a_revoked_token_cannot_be_restored(
    app: Flask, client: FlaskClient, stored: Stored, token: str
) -> None:
    """Removing the revocation from the database does not restore the token."""
    revoke(app, "ci")
    stored.tokens.update_one({}, {"$unset": {"revoked_at": 1}})
    assert ask(client, token) == 401


@pytest.mark.promise("credentials")
def test_a_token_cannot_replace_another(app: Flask, client: FlaskClient, stored: Stored) -> None:
    """A token with an administrator's copied scopes and seal is altered."""
    make_token(app, "boss", role="admin")
    mine = make_token(app, "mine", role="reader")
    boss = stored.tokens.find_one({"name": "boss"})
    assert boss is not None
    stored.tokens.update_one({"name": "boss"}, {"$set": {"name": "was boss"}})
    del boss["_id"]
    stored.tokens.update_one({"name": "mine"}, {"$set": boss})
    assert ask(client, mine) == 401


def strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(strings(part) for pair in value.items() for part in pair))
    if isinstance(value, list):
        return set().union(*(strings(part) for part in value))
    return {value.hex() if isinstance(value, bytes) else str(value)}


@pytest.mark.promise("credentials")
def test_a_dump_of_the_database_contains_no_token(app: Flask, client: FlaskClient, stored: Stored) -> None:
    """No stored text is a valid credential."""
    token = make_token(app, "ci", role="admin")
    assert ask(client, token) == 200
    dump = [document for name in stored.list_collection_names() for document in stored[name].find()]
    assert token not in json.dumps(
        dump, default=lambda value: value.hex() if isinstance(value, bytes) else str(value)
    )
    assert token[4:36] not in str(dump)
    found = set().union(*map(strings, dump))
    assert len(found) > 20
    for text in found:
        for credential in (text, f"smt_{text}"):
            if credential.isprintable() and credential.isascii():
                assert ask(client, credential) in (401, 429)


@pytest.mark.promise("credentials")
def test_a_new_token_key_ends_tokens_and_creates_none(
    environment: dict[str, str], stored: Stored, token: str
) -> None:
    """A token key replaced by an attacker's, of any type, or with another master key, admits no one."""
    material = secrets.token_bytes(32)
    changes: list[tuple[dict[str, Any], int]] = [
        ({"envelope": 7}, 500),
        ({"envelope": b"\x01" + material * 3}, 500),
        ({"key_id": MasterKey(material).id}, 503),
        ({"key_id": None}, 500),
    ]
    for change, status in changes:
        stored.token_keys.update_one({}, {"$set": change})
        with running_app(environment) as fresh:
            assert ask(fresh.test_client(), token) == status
    stored.token_keys.delete_many({})
    with running_app(environment) as fresh:
        assert ask(fresh.test_client(), token) == 401


@pytest.mark.usefixtures("token")
def test_a_token_key_under_an_unknown_master_key_is_not_tried() -> None:
    """A token key with a missing master key is reported as such, not as invalid."""
    found = StoredTokenKey.stored()
    assert found
    with pytest.raises(KeyMissingError):
        found.rewrap(Keyring(MasterKey(bytes(32))))


@pytest.mark.promise("credentials")
@pytest.mark.usefixtures("token")
def test_the_seal_covers_every_field() -> None:
    """A newly added field of the document cannot stay outside the seal unnoticed."""
    found = Token.objects.first()
    found.paths = ["billing/"]
    found.renewable_until, found.renewal_seconds = LATER, 60
    found.periodic = found.orphan = found.own_entries_only = True
    # Two disable or remove a token; an attacker who can write them could remove it as well. Others grant
    # nothing.
    outside = {"seal", "pending", "purge_at", "last_used_at", "announced"}
    assert set(found._record()) | outside == set(Token._fields)


@requires("dialect")
@pytest.mark.parametrize("field", ["periodic", "orphan"])
def test_a_token_stays_periodic_and_an_orphan(
    app: Flask, client: FlaskClient, stored: Stored, field: str
) -> None:
    """A periodic token or an orphan without its field, or with another value in it, is altered."""
    boss = bearer(make_token(app, "boss", role="admin"))
    body = {"period": "1h", "policies": ["auditor"]}
    text = client.post("/v1/auth/token/create-orphan", json=body, headers=boss).json["auth"]["client_token"]
    key, own = services(app).tokens._keys.find(), {"created_by": "boss"}
    assert Token.objects.get(**own).is_genuine(key)
    for change in ({"$unset": {field: 1}}, *({"$set": {field: value}} for value in NOT_TRUE)):
        stored.tokens.update_one(own, change)
        assert not Token.objects.get(**own).is_genuine(key), change
    assert client.post("/vault/token/self", json={}, headers=bearer(text)).status_code == 401


def test_a_last_use_of_any_type_is_no_error(client: FlaskClient, stored: Stored, token: str) -> None:
    """The last use is not sealed: of another type, it reads as unset, and the next use replaces most."""
    boss = make_token(client.application, "boss", role="admin")
    for value in (
        *(None, 7, "now", math.inf, Int64(2**62), [], {"a": 1}, True, Binary(b"x"), MaxKey()),
        DatetimeMS(2**62),
    ):
        stored.tokens.update_many({}, {"$set": {"last_used_at": value}})
        assert ask(client, token) == 200
        described = client.post("/vault/token/self", json={}, headers=bearer(token)).json
        listed = client.post("/vault/token/list", json={"unused_for": 1}, headers=bearer(boss)).json["tokens"]
        assert described["last_used_at"] is None
        assert {token["last_used_at"] for token in listed} <= {None}
        Token.store_uses({Token.objects(name="ci").first().id: 0})
        replaced = Token.objects(name="ci").first()
        assert isinstance(replaced.last_used_at, datetime) or isinstance(value, MaxKey | DatetimeMS)


@pytest.mark.usefixtures("token")
def test_a_later_use_stays(stored: Stored) -> None:
    """A use that is stored late does not move the last use back, and the clock is MongoDB's."""
    [found] = stored.tokens.find()
    Token.store_uses({found["_id"]: 1_000})
    [first] = stored.tokens.find()
    assert first["last_used_at"] < datetime.now(UTC)
    Token.store_uses({found["_id"]: 3_600_000, "0" * 64: 0})
    assert list(stored.tokens.find()) == [first]
