"""A fetch after any change in the database returns only a failure, and the trail records the attempt."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary
from bson.datetime_ms import DatetimeMS
from flask.testing import FlaskClient

from tests.conftest import running_app, start
from tests.support.lifecycle import CALLS, Caller, b64, document, trail
from tests.support.rotation import Stored, fill, new_key, settings
from vault.app import CLOSE
from vault.core.crypto import Binding, Keyring

OURS, FALLBACK = new_key(), new_key()
FETCH = "/vault/secret/fetch"
#: The size of an envelope: format byte, key ID, nonce, ciphertext (as long as the value), tag.
SIZE = 1 + 8 + 12 + 24 + 16
PROBLEM = {
    "type": "/problems/decryption",
    "title": "Stored value does not verify",
    "status": 500,
    "detail": "The request could not be completed.",
    "code": "decryption",
}


@pytest.fixture
def environment(mongo_uri: str) -> dict[str, str]:
    return settings(mongo_uri, OURS, FALLBACK)


class Target:
    """A stored secret, fetched over HTTP after each change."""

    def __init__(self, client: FlaskClient, stored: Stored) -> None:
        self.client = client
        self.stored = stored
        [self.id] = fill(stored, OURS, 1)
        self.document = document(stored, self.id)
        self.envelope: bytes = self.document["envelope"]
        self.refused = 0

    def other(self) -> dict[str, Any]:
        """Return another stored secret."""
        [other] = fill(self.stored, OURS, 1)
        return document(self.stored, other)

    def assert_refused(self, *, unset: str | None = None, **changed: Any) -> None:
        """Change the document, check that its fetch is refused like any other, and undo the change."""
        change: dict[str, Any] = {"$set": changed} if changed else {}
        if unset:
            change["$unset"] = {unset: ""}
        self.stored.secrets.update_one({"_id": self.id}, change)
        self.assert_is_refused()
        self.stored.secrets.replace_one({"_id": self.id}, self.document)

    def assert_is_refused(self) -> None:
        """Check that the fetch is refused like every other one, with an entry in the trail."""
        reply = self.client.post(FETCH, json={"secret_id": self.id})
        self.refused += 1
        assert reply.status_code == 500
        assert reply.content_type == "application/problem+json"
        assert json.loads(reply.data) == PROBLEM | {"request_id": reply.headers["X-Request-ID"]}
        # The headers too: only the request ID distinguishes one refusal from another.
        names = set(reply.headers.keys()) - {"X-Request-ID"}
        assert {name: reply.headers[name] for name in names} == {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(reply.data)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        entries = list(self.stored.audit_logs.find({"secret_id": self.id}).sort("_id"))
        assert len(entries) == self.refused
        assert (entries[-1]["action"], entries[-1]["status"]) == ("fetch", "error")
        assert entries[-1]["request_id"] == reply.headers["X-Request-ID"]

    def assert_reads(self) -> None:
        """Check that the unchanged value is readable."""
        reply = self.client.post(FETCH, json={"secret_id": self.id})
        assert reply.status_code == 200


@pytest.fixture
def target(client: FlaskClient, stored: Stored) -> Target:
    return Target(client, stored)


@pytest.mark.promise(1)
def test_a_flipped_bit_anywhere_is_refused(target: Target) -> None:
    """A flipped bit in any byte of an envelope, from format to tag, is refused."""
    assert len(target.envelope) == SIZE
    for position in range(SIZE):
        altered = bytearray(target.envelope)
        altered[position] ^= 1 << position % 8
        target.assert_refused(envelope=Binary(bytes(altered)))
    target.assert_reads()


def test_any_other_envelope_is_refused(target: Target) -> None:
    """A truncated, extended or missing envelope, or one of another key, version or namespace, is refused."""
    for length in [0, 5, 15, 37, 60]:
        target.assert_refused(envelope=Binary(target.envelope[:length]))
        target.assert_refused(envelope=Binary(target.envelope[length + 1 :]))
    target.assert_refused(envelope=Binary(target.envelope + b"\0"))
    target.assert_refused(envelope=Binary(target.envelope * 2))
    target.assert_refused(unset="envelope")
    # The ID of a fallback key, which is held as well.
    named = target.envelope[:1] + bytes.fromhex(FALLBACK.id) + target.envelope[9:]
    target.assert_refused(envelope=Binary(named))
    target.assert_refused(envelope=Binary(named), key_id=FALLBACK.id)
    for changed in ({"version": 2}, {"namespace": "other"}):
        binding = Binding(**{"secret_id": target.id, "version": 1, "namespace": "default", **changed})
        target.assert_refused(envelope=Binary(Keyring(OURS).encrypt(b"from elsewhere", binding)))


@pytest.mark.promise(1)
def test_swapped_secrets_are_refused(target: Target) -> None:
    """Neither an envelope nor a whole document can replace another secret's."""
    other = target.other()
    target.assert_refused(envelope=other["envelope"])
    everything = {name: value for name, value in other.items() if name != "_id"}
    target.assert_refused(**everything)
    target.assert_reads()


@pytest.mark.promise(1)
def test_a_changed_field_is_refused(target: Target) -> None:
    """A changed, added or wrongly typed version, namespace, expiry or read limit is refused."""
    for changed in [
        {"version": 2},
        {"version": 0},
        {"version": "two"},
        {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)},
        {"expires_at": DatetimeMS(2**63 - 1)},
        {"expires_at": "never"},
        {"max_reads": 1},
        {"max_reads": "many"},
        {"envelope": "text"},
        {"envelope": None},
        {"key_id": [OURS.id]},
        {"key_id": {"a": OURS.id}},
        {"key_id": None},
    ]:
        target.assert_refused(**changed)
    target.assert_reads()


@pytest.mark.parametrize(
    "key_id",
    [[[OURS.id]], {"a": OURS.id}, None],
    ids=["two lists", "document", "none"],
)
def test_a_key_id_of_another_type_prevents_no_start(
    target: Target, stored: Stored, environment: dict[str, str], key_id: object
) -> None:
    """A replica that starts on a database with such a document is ready and reads other secrets."""
    other = target.other()["_id"]
    stored.secrets.update_one({"_id": target.id}, {"$set": {"key_id": key_id, "older": [{"key_id": key_id}]}})
    target.client.application.extensions[CLOSE]()
    with running_app(environment) as app:
        client = app.test_client()
        start(app)
        assert client.get("/health/ready").status_code == 200
        assert client.post(FETCH, json={"secret_id": other}).status_code == 200


@pytest.fixture
def versions(alice: Caller) -> str:
    """Return a secret of three versions, with every limit and a name."""
    secret_id = alice.create(b"value number 1", name="a/b", max_reads=900, ttl_seconds=3_600)
    alice.update(secret_id, b"value number 2", b"value number 3")
    return secret_id


LIMITS: list[dict[str, Any]] = [
    {"$set": {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)}},
    {"$unset": {"expires_at": ""}},
    {"$set": {"max_reads": 901}},
    {"$unset": {"max_reads": ""}},
    {"$set": {"name": "a/c"}},
    {"$unset": {"name": ""}},
    {"$inc": {"version": 1}},
    {"$inc": {"version": -1}},
]


@pytest.mark.promise(1)
def test_no_version_reads_under_other_limits(alice: Caller, stored: Stored, versions: str) -> None:
    """After any limit is changed, no version can be read or described."""
    genuine = document(stored, versions)
    for change in LIMITS:
        stored.secrets.update_one({"_id": versions}, change)
        # The newest version's number has no influence on an older one that is requested by its number.
        older = [] if "$inc" in change else [{"version": 1}, {"version": 2}]
        for body in ({}, *older):
            assert alice.refused("fetch", secret_id=versions, **body) == 500
        assert alice.refused("describe", secret_id=versions) == 500, change
        stored.secrets.replace_one({"_id": versions}, genuine)


@pytest.mark.promise(1)
def test_an_update_does_not_authenticate_a_changed_limit(
    alice: Caller, stored: Stored, versions: str
) -> None:
    """A limit that was changed in the database stays invalid after an update."""
    genuine = document(stored, versions)
    for change in LIMITS:
        stored.secrets.update_one({"_id": versions}, change)
        before = document(stored, versions)
        assert alice.refused("update", secret_id=versions, secret="YQ==") in (404, 500), change
        assert document(stored, versions) == before, change
        stored.secrets.replace_one({"_id": versions}, genuine)


@pytest.mark.promise(1)
def test_versions_cannot_replace_each_other(alice: Caller, stored: Stored, versions: str) -> None:
    """An envelope of another version of the same secret does not read under a version's number."""
    before = document(stored, versions)
    first, second = before["older"]
    swapped = [{**first, "envelope": second["envelope"]}, {**second, "envelope": first["envelope"]}]
    renumbered = [{**first, "version": 2}, {**second, "version": 1}]
    for older in (swapped, renumbered):
        stored.secrets.update_one({"_id": versions}, {"$set": {"older": older}})
        for version in (1, 2):
            assert alice.refused("fetch", secret_id=versions, version=version) == 500
        assert alice.fetch(versions) == b64(b"value number 3")
    for older in (first, second):
        stored.secrets.update_one({"_id": versions}, {"$set": {"envelope": older["envelope"]}})
        for action, more in (("fetch", {}), ("describe", {}), ("update", {"secret": "YQ=="})):
            assert alice.refused(action, secret_id=versions, **more) == 500


def test_an_older_version_can_be_put_back_and_the_trail_shows_it(
    alice: Caller, stored: Stored, versions: str
) -> None:
    """A writer of the database can make an older version the newest; the entries have its number."""
    before = document(stored, versions)
    stored.audit_logs.delete_many({})
    for older, value in zip(before["older"], (b"value number 1", b"value number 2"), strict=True):
        newest = {name: older[name] for name in ("version", "envelope", "key_id")}
        stored.secrets.update_one({"_id": versions}, {"$set": newest})
        assert alice.fetch(versions) == b64(value)
    alice.update(versions, b"value number 3 again")
    recorded = [(entry["action"], entry["details"].get("version")) for entry in trail(stored)]
    # A fetch of version 1 of a secret without another version has no number.
    assert recorded == [("fetch", None), ("fetch", 2), ("update", 3)]


def test_an_earlier_document_can_be_put_back_and_the_trail_shows_it(
    alice: Caller, stored: Stored, versions: str
) -> None:
    """A writer of the database can put a kept document back: value, version, expiry and count of reads."""
    before = document(stored, versions)
    alice.update(versions, b"value number 4")
    alice.fetch(versions)
    alice("update-metadata", secret_id=versions, ttl_seconds=60)
    stored.audit_logs.delete_many({"action": {"$ne": "update"}})
    stored.secrets.replace_one({"_id": versions}, before)
    assert alice.fetch(versions) == b64(b"value number 3")
    assert stored.secrets.find_one({"_id": versions}, {"reads": 1, "expires_at": 1}) == {
        "_id": versions,
        "reads": 1,
        "expires_at": before["expires_at"],
    }
    recorded = [(entry["action"], entry["details"]["version"]) for entry in trail(stored)]
    assert recorded == [("update", 2), ("update", 3), ("update", 4), ("fetch", 3)]


@pytest.mark.promise(1)
def test_named_secrets_cannot_replace_each_other(alice: Caller, stored: Stored) -> None:
    """If two names, or two secrets under their names, are swapped, neither reads as the other."""
    ids = [alice.create(b"%d" % number, name=f"name/{number}") for number in range(2)]
    stored.secrets.drop_indexes()
    first, second = (document(stored, secret_id) for secret_id in ids)
    for names in (("name",), ("name", "envelope"), ("envelope",)):
        stored.secrets.update_one({"_id": ids[0]}, {"$set": {name: second[name] for name in names}})
        stored.secrets.update_one({"_id": ids[1]}, {"$set": {name: first[name] for name in names}})
        for name in ("name/0", "name/1"):
            assert alice.refused("fetch", name=name) == 500
        for genuine in (first, second):
            stored.secrets.replace_one({"_id": genuine["_id"]}, genuine)


@pytest.mark.promise(1)
@pytest.mark.new_database
def test_a_secret_is_found_by_no_equal_name(alice: Caller, stored: Stored) -> None:
    """With a collation, by which MongoDB finds equal names, too, a secret is found only by its own."""
    secret_id = alice.create(name="Billing/DB")
    [created] = stored.secrets.find()
    stored.secrets.drop()
    stored.create_collection("secrets", collation={"locale": "en", "strength": 2})
    stored.secrets.insert_one(created)
    assert stored.secrets.find_one({"name": "billing/db"})
    for action, more in CALLS.items():
        assert alice.refused(action, name="billing/db", **more) == 404
    assert list(stored.secrets.find()) == [created]
    assert alice("list", name_prefix="billing/")["secrets"] == []
    assert alice("describe", name="Billing/DB")["secret_id"] == secret_id


def test_a_name_cannot_be_added(alice: Caller, stored: Stored) -> None:
    """A secret created without a name cannot be read by an added name."""
    secret_id = alice.create()
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"name": "a/b"}})
    assert alice.refused("fetch", name="a/b") == 500
    assert alice.refused("fetch", secret_id=secret_id) == 500


@pytest.mark.parametrize(
    "changed",
    [
        {"older": "text"},
        {"older": {"version": 1}},
        {"older": ["text"]},
        {"older": [{}]},
        {"older": [{"version": 1, "envelope": "text", "key_id": OURS.id}]},
        {"older": [{"version": 1, "envelope": Binary(b""), "key_id": OURS.id}]},
    ],
)
def test_malformed_older_versions_do_not_affect_the_newest(
    alice: Caller, stored: Stored, versions: str, changed: dict[str, Any]
) -> None:
    """With anything in place of older versions, the newest reads, and no reply shows a wrong value."""
    stored.secrets.update_one({"_id": versions}, {"$set": changed})
    assert alice.fetch(versions) == b64(b"value number 3")
    assert alice.post("fetch", {"secret_id": versions, "version": 1}).status_code in (404, 500, 503)
    assert alice.post("describe", {"secret_id": versions}).status_code in (200, 500)
    assert alice("update", secret_id=versions, secret="YQ==")["version"] == 4
    assert alice.fetch(versions, version=3) == b64(b"value number 3")
    assert alice("delete", secret_id=versions)["secret_id"] == versions


@pytest.mark.parametrize("labels", [5, [None, "a=b"], {"a": "b"}], ids=str)
def test_malformed_labels_do_not_affect_a_list(alice: Caller, stored: Stored, labels: object) -> None:
    """A secret with labels that the service never wrote is listed and described, and so are all others."""
    ids = {alice.create(), alice.create()}
    stored.secrets.update_one({}, {"$set": {"labels": labels}})
    assert {secret["secret_id"] for secret in alice("list")["secrets"]} == ids
    for secret_id in ids:
        assert alice("describe", secret_id=secret_id)["labels"] in ({}, {"a": "b"})
