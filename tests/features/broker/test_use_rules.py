"""Use rules of a secret: who sets them, what they are bound to, and who changes them in MongoDB."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.features.broker.conftest import NAME, RULE, TARGET, VALUE, Sides
from tests.support.lifecycle import b64, only
from tests.support.rotation import Stored
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys import rewrap

OTHER = {**RULE, "hosts": ["api.example.com"]}


def change(sides: Sides, rules: Any, status: int = 200, **more: Any) -> dict[str, Any]:
    """Change the use rules of the secret."""
    return sides.call("update-metadata", {"name": NAME, "use_rules": rules, **more}, status)


def test_rules_are_set_replaced_and_removed(sides: Sides, stored: Stored) -> None:
    """Rules are set at create, replaced as a whole by update-metadata and removed by an empty list."""
    sides.create()
    assert only(stored)["envelope"][0] == 4
    assert sides.call("describe", {"name": NAME})["use_rules"] == [RULE]
    basic = {**{name: RULE[name] for name in ("hosts", "methods", "paths")}, "basic": "deploy"}
    change(sides, [OTHER, basic])
    assert sides.call("describe", {"name": NAME})["use_rules"] == [OTHER, basic]
    sides.call("update-metadata", {"name": NAME, "labels": {"a": "b"}})
    sides.call("update-metadata", {"name": NAME, "ttl_seconds": 3_600})
    sides.call("update-metadata", {"name": NAME, "use_rules": None})
    assert sides.call("describe", {"name": NAME})["use_rules"] == [OTHER, basic]
    change(sides, [])
    assert sides.call("describe", {"name": NAME})["use_rules"] == []
    assert only(stored)["envelope"][0] == 2
    assert "use_rules" not in only(stored)
    assert sides.call("fetch", {"name": NAME})["secret"] == b64(VALUE.encode())


def test_a_change_binds_every_version(sides: Sides, stored: Stored, key: MasterKey) -> None:
    """New rules are bound into the ciphertext of each kept version, and later versions have them, too."""
    sides.create()
    sides.call("update", {"name": NAME, "secret": b64(b"second value")})
    change(sides, [OTHER])
    sides.call("update", {"name": NAME, "secret": b64(b"third value")})
    secret = StoredSecret(only(stored))
    assert [one.envelope[0] for one in secret.versions] == [4, 4, 4]
    keyring = Keyring(key, [])
    found = [secret.decrypt_version(one, keyring) for one in secret.versions]
    assert found == [b"third value", b"second value", VALUE.encode()]


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    "altered",
    [
        {"$set": {"use_rules.0.hosts": ["evil.example.com"]}},
        {"$push": {"use_rules.0.hosts": "evil.example.com"}},
        {"$set": {"use_rules.0.paths": ["/"]}},
        {"$set": {"use_rules.0.header": "X-Echo"}},
        {"$push": {"use_rules": OTHER}},
        {"$set": {"use_rules": []}},
        {"$set": {"use_rules": {"0": RULE}}},
        {"$set": {"use_rules.0.weight": float("nan")}},
        {"$unset": {"use_rules": ""}},
    ],
    ids=lambda altered: str(altered)[:40],
)
def test_whoever_writes_to_mongodb_cannot_redirect_a_value(
    sides: Sides, stored: Stored, altered: dict[str, Any]
) -> None:
    """With any change of its rules in MongoDB, a value is neither used nor read."""
    sides.create()
    assert sides.use()["value"]
    stored.secrets.update_one({}, altered)
    assert sides.call("fetch", {"name": NAME}, 500)["code"] == "decryption"
    for host in ("api.stripe.com", "evil.example.com"):
        reply = sides.call(
            "use",
            {"session": sides.tokens["session"], **TARGET, "host": host, "name": NAME},
            500,
            by="broker",
        )
        assert reply["code"] == "decryption"


def test_rules_cannot_be_given_to_a_secret_in_mongodb(sides: Sides, stored: Stored) -> None:
    """A secret to which someone adds rules in MongoDB is neither used nor read."""
    sides.create(rules=[])
    stored.secrets.update_one({}, {"$set": {"use_rules": [RULE]}})
    assert sides.use(500)["code"] == "decryption"


def test_who_sets_rules_may_fetch(sides: Sides, stored: Stored) -> None:
    """Rules need the scope to fetch, beside that to create or to update."""
    tokens = {name: sides.token(name, f"secret:{name}") for name in ("create", "update")}
    body = {"name": NAME, "secret": b64(VALUE.encode()), "use_rules": [RULE]}
    assert sides.call("create", body, 403, by=tokens["create"])["code"] == "scope_missing"
    batch = sides.call("create-batch", {"secrets": [body, {"secret": "YQ=="}]}, by=tokens["create"])
    assert [("problem" in one) for one in batch["secrets"]] == [True, False]
    sides.create()
    before = stored.secrets.find_one({"name": NAME})
    for rules in ([OTHER], []):
        asked = {"name": NAME, "use_rules": rules}
        assert sides.call("update-metadata", asked, 403, by=tokens["update"])["code"] == "scope_missing"
    assert stored.secrets.find_one({"name": NAME}) == before
    both = sides.token("both", "secret:update", "secret:fetch")
    sides.call("update-metadata", {"name": NAME, "use_rules": [OTHER]}, by=both)


@pytest.mark.parametrize(
    "more",
    [{"name": None}, {"secret": b64(b"1234567")}],
    ids=["unnamed", "short"],
)
def test_some_secrets_cannot_have_rules(sides: Sides, more: dict[str, Any]) -> None:
    """A secret without a name, or with a value under 8 bytes, cannot have rules."""
    body = {"name": NAME, "secret": b64(VALUE.encode()), **more}
    asked = {name: value for name, value in body.items() if value}
    assert sides.call("create", {**asked, "use_rules": [RULE]}, 422)["code"] == "use_rules_refused"
    secret_id = sides.call("create", asked)["secret_id"]
    changed = {"secret_id": secret_id, "use_rules": [RULE]}
    assert sides.call("update-metadata", changed, 422)["code"] == "use_rules_refused"
    sides.call("update-metadata", {**changed, "use_rules": []})


def test_a_secret_with_rules_gets_no_short_value(sides: Sides) -> None:
    """An update to a value under 8 bytes is refused while there are rules."""
    sides.create()
    short = {"name": NAME, "secret": b64(b"1234567")}
    assert sides.call("update", short, 422)["code"] == "use_rules_refused"
    change(sides, [])
    sides.call("update", short)


@pytest.mark.parametrize(
    "rule",
    [
        *({**RULE, name: value} for name, value in (("hosts", []), ("methods", []), ("paths", []))),
        *({name: RULE[name] for name in RULE if name != missing} for missing in RULE),
        {**RULE, "basic": "u"},
        {**RULE, "hosts": ["*.stripe.com"]},
        {**RULE, "hosts": ["10.0.0.1"]},
        {**RULE, "hosts": [f"a{n}.com" for n in range(17)]},
        {**RULE, "methods": ["OPTIONS"]},
        {**RULE, "methods": ["get"]},
        {**RULE, "paths": ["/a/../b"]},
        {**RULE, "paths": [f"/{n}" for n in range(65)]},
        {**RULE, "header": "Cookie"},
        {**RULE, "format": "Bearer"},
        {**RULE, "more": 1},
        "rule",
    ],
    ids=str,
)
def test_an_invalid_rule_is_refused(sides: Sides, rule: Any) -> None:
    """A rule that breaks a rule of its form is 422, and nothing is stored."""
    sides.create(rules=[])
    assert change(sides, [rule], 422)["code"] == "unprocessable_entity"
    assert sides.call("describe", {"name": NAME})["use_rules"] == []


def test_there_are_at_most_eight_rules_of_limited_size(sides: Sides) -> None:
    """A secret can have 8 rules, of 16 KiB together."""
    sides.create(rules=[RULE] * 8)
    change(sides, [RULE] * 9, 422)
    change(sides, [{**RULE, "paths": ["/" + "a" * 2_000 + str(n) for n in range(9)]}], 422)


def test_the_entry_names_the_hosts(sides: Sides, stored: Stored) -> None:
    """The entries of a create and of a change have the hosts to which the value may go."""
    sides.create()
    change(sides, [OTHER, RULE])
    change(sides, [])
    hosts = [
        one["details"].get("use_hosts")
        for one in stored.audit_logs.find({"action": {"$in": ["create", "update_metadata"]}}).sort("_id", 1)
    ]
    assert hosts == [["api.stripe.com"], ["api.example.com", "api.stripe.com"], []]


def test_hosts_are_stored_in_one_form(sides: Sides) -> None:
    """Hosts are stored in lower case, and without the port of HTTPS."""
    sides.create(rules=[{**RULE, "hosts": ["API.Stripe.com:443"]}])
    assert sides.call("describe", {"name": NAME})["use_rules"] == [RULE]


def test_a_rewrap_keeps_the_rules(sides: Sides, stored: Stored, key: MasterKey) -> None:
    """A rewrap puts versions with rules under another key, and none that a change has replaced."""
    sides.create()
    sides.call("update", {"name": NAME, "secret": b64(b"second value")})
    before = StoredSecret(only(stored))
    new = Keyring(MasterKey(bytes(range(32))), [key])
    made = [rewrap.rewrap_version(before, one, new) for one in before.versions]
    change(sides, [OTHER])
    assert rewrap.write_rewrapped([one for one in made if one]) == 0
    after = StoredSecret(only(stored))
    made = [rewrap.rewrap_version(after, one, new) for one in after.versions]
    assert rewrap.write_rewrapped([one for one in made if one]) == 2
    secret = StoredSecret(only(stored))
    assert [secret.decrypt_version(one, new) for one in secret.versions] == [b"second value", VALUE.encode()]


def test_concurrent_changes_leave_one_readable_state(sides: Sides, stored: Stored, key: MasterKey) -> None:
    """However changes of rules, expiry and value meet, every version reads under the stored rules."""
    sides.create()
    calls = [
        *(("update-metadata", {"name": NAME, "use_rules": [rule]}) for rule in (RULE, OTHER)),
        ("update-metadata", {"name": NAME, "ttl_seconds": 3_600}),
        *(("update", {"name": NAME, "secret": b64(f"value {n:03}".encode())}) for n in range(3)),
    ] * 2
    clients = [Sides.__new__(Sides) for _ in calls]
    for one in clients:
        one.tokens, one.client = sides.tokens, sides.app.test_client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: pair[0].call(*pair[1]), zip(clients, calls, strict=True)))
    secret = StoredSecret(only(stored))
    assert all(secret.decrypt_version(one, Keyring(key, [])) for one in secret.versions)
