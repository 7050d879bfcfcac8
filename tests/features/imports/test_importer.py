"""Imports from the real server: what arrives, and what is refused, skipped or left."""

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.features.imports.moving import Tree
from tests.support.access import bearer, make_token, services
from tests.support.lifecycle import UNKNOWN_ID
from tests.support.rotation import Stored
from tests.support.unrecorded import unrecorded
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.core.crypto import Keyring, MasterKey
from vault.core.secrets.requests import NewSecret
from vault.core.secrets.store import SecretStore
from vault.features.imports import importer as imports
from vault.features.imports.importer import Importer, Result
from vault.features.imports.importer import ImportOutcome as Outcome
from vault.features.imports.kv_source import ImportSourceError, KVSource, SourceSecret
from vault.features.imports.writer import ImportWriter

Move = Callable[..., dict[str, Result]]


@pytest.fixture
def move(app: Flask, tree: Tree, key: MasterKey) -> Move:
    """Return a function that imports the tree, or compares it, and returns the results by name."""

    def move(path: str = "", *, write: bool = True, **options: Any) -> dict[str, Result]:
        keyring = Keyring(key)
        options = {"namespace": "default", "prefix": "", "max_bytes": 65_536, "max_versions": 10} | options
        with closing(KVSource(tree.bao.url, mount=tree.mount, token=tree.token)) as source:
            importer = Importer(source, keyring, **options)
            guard = services(app).guard
            writer = ImportWriter(keyring, guard, namespace=options["namespace"], source=source.url)
            found = list(importer.run(path, writer.write if write else None))
        results = {result.name: result for result in found}
        assert len(results) == len(found)
        return results

    return move


@pytest.fixture
def here(app: Flask, client: FlaskClient) -> Callable[[str], Any]:
    """Return a function that asks this service for what is at a path of its secrets engine."""
    token = make_token(app, "admin", role="admin")

    def here(path: str) -> Any:
        return client.get(f"/v1/secret/{path}", headers={"X-Vault-Token": token}).json["data"]

    return here


def outcomes(results: Mapping[str, Result]) -> dict[str, Outcome]:
    return {name: result.outcome for name, result in results.items()}


def plain(found: Any) -> Any:
    """Return *found* with times to the millisecond, as this service stores them."""
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", found):
        return datetime.fromisoformat(found).replace(tzinfo=UTC).isoformat(timespec="milliseconds")
    return found


def test_a_secret_arrives_with_all_its_parts(tree: Tree, move: Move, here: Callable[[str], Any]) -> None:
    """Numbers, times, values, states, labels and write rules are those of the source."""
    values = [{"n": number, "s": "ü<&>", "f": 1.5e300, "big": 2**63, "none": None} for number in range(6)]
    tree.put("folder/s", *values)
    tree.describe("folder/s", {"custom_metadata": {"team": "x"}, "cas_required": True, "max_versions": 4})
    tree.bao.ask("POST", f"{tree.mount}/data/folder/s", {"data": {"last": []}, "options": {"cas": 6}})
    tree.change("destroy", "folder/s", [5])
    assert outcomes(move()) == {"folder/s": Outcome.IMPORTED}
    there = tree.metadata("folder/s")
    assert sorted(there["versions"]) == ["4", "5", "6", "7"]
    assert plain(here("metadata/folder/s")) == plain(there)
    for version in ("4", "6", "7", "0"):
        real = tree.bao.ask("GET", f"{tree.mount}/data/folder/s?version={version}").body["data"]
        assert plain(here(f"data/folder/s?version={version}")) == plain(real)
    assert outcomes(move()) == {"folder/s": Outcome.SAME}


def test_an_imported_secret_goes_on(tree: Tree, move: Move, app: Flask, client: FlaskClient) -> None:
    """Further versions follow the imported ones, and REST reads all of them."""
    tree.put("s", *({"n": number} for number in range(12)))
    tree.change("destroy", "s", [12])
    move()
    headers = bearer(make_token(app, "rest", role="admin"))
    body: dict[str, Any] = {"name": "s", "secret": "bmV3"}
    updated = client.post("/vault/secret/update", json=body, headers=headers)
    assert updated.json is not None
    assert updated.json["version"] == 13
    fetched = client.post("/vault/secret/fetch", json={"name": "s", "version": 11}, headers=headers)
    assert fetched.json == {"secret": "eyJuIjoxMH0="}
    described = client.post("/vault/secret/describe", json={"name": "s"}, headers=headers).json
    assert described is not None
    assert [one["version"] for one in described["versions"]] == [13, 11, 10, 9, 8, 7, 6, 5, 4]
    assert outcomes(move(write=False)) == {"s": Outcome.DIFFERS}


def test_states_of_versions_arrive(
    tree: Tree, move: Move, here: Callable[[str], Any], stored: Stored
) -> None:
    """The source returns no value of a deleted version, so here it is destroyed; its number and times stay.

    A version that will be deleted can be read until then, and a secret can have labels only.
    """
    tree.put("s", {"n": 1}, {"n": 2})
    tree.change("delete", "s", [1, 2])
    tree.describe("later", {"delete_version_after": "1h"})
    tree.put("later", {"n": 1})
    tree.describe("labelled", {"custom_metadata": {"a": "b"}})
    assert set(outcomes(move(write=False)).values()) == {Outcome.MISSING}
    assert stored.secrets.count_documents({}) == stored.audit_logs.count_documents({"action": "create"}) == 0
    results = move()
    result = results["s"]
    assert result.notes == ["the values of deleted versions, which the source does not return: 1, 2"]
    versions = here("metadata/s")["versions"]
    assert [versions[number]["destroyed"] for number in ("1", "2")] == [True, True]
    there = tree.metadata("s")["versions"]
    assert {number: plain(one["deletion_time"]) for number, one in versions.items()} == {
        number: plain(one["deletion_time"]) for number, one in there.items()
    }
    later = here("data/later")
    assert later["data"] == {"n": 1}
    deleted_at = tree.metadata("later")["versions"]["1"]["deletion_time"]
    assert plain(later["metadata"]["deletion_time"]) == plain(deleted_at)
    assert results["labelled"].versions == []
    assert here("metadata/labelled")["custom_metadata"] == {"a": "b"}
    assert set(outcomes(move()).values()) == {Outcome.SAME}


def test_what_cannot_be_here_is_refused_alone(tree: Tree, move: Move) -> None:
    """Names, labels and values that this service cannot have are named; the others arrive."""
    tree.put("good", {"n": 1})
    tree.put("a%20", {})
    tree.put("c%2A/e", {})
    tree.put("large", {"text": "x" * 1_000})
    tree.put("deep", {"a": [[[[]]]]})
    tree.describe("labelled", {"custom_metadata": {"a=b": "c"}})
    tree.bao.ask("POST", f"{tree.mount}/data/deep", {"data": {"x": _nested(300)}})
    results = move(max_bytes=900)
    assert {
        name: result.reason for name, result in results.items() if result.outcome is not Outcome.IMPORTED
    } == {
        "a ": "no secret here can have this name: it must not have a part that is empty, . or .., or that "
        "begins or ends with a space",
        "c*/": "no secret here can have this name: it must not contain *",
        "deep": "version 2 is nested too deeply",
        "labelled": "no secret here can have its custom_metadata as labels",
        "large": "version 1 has more than MAX_SECRET_BYTES",
    }
    assert results["good"].outcome is Outcome.IMPORTED


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_only_the_newest_versions_are_kept(tree: Tree, move: Move) -> None:
    """Versions beyond MAX_VERSIONS are not copied, and the result says so."""
    tree.put("s", *({"n": number} for number in range(5)))
    result = move(max_versions=2)["s"]
    assert (result.versions, result.notes) == ([4, 5], ["3 older versions beyond MAX_VERSIONS"])


def test_a_path_and_a_prefix(tree: Tree, move: Move, stored: Stored) -> None:
    """Only the asked part is imported, below a folder and into a namespace of this service."""
    for name in ("a", "a/b", "c"):
        tree.put(name, {})
    assert set(move("a", prefix="from/vault/", namespace="team")) == {"from/vault/a", "from/vault/a/b"}
    assert {one["namespace"] for one in stored.secrets.find()} == {"team"}
    [entry] = stored.audit_logs.find({"details.name": "from/vault/a/b"})
    assert entry["details"] == {
        "name": "from/vault/a/b",
        "namespace": "team",
        "versions": [1],
        "imported_from": f"{tree.bao.url}/v1/{tree.mount}",
    }
    assert (entry["action"], entry["principal"], entry["status"]) == ("create", "operator", "success")


@pytest.mark.promise("purges")
def test_an_existing_secret_is_never_changed(
    tree: Tree, move: Move, app: Flask, client: FlaskClient, stored: Stored
) -> None:
    """A secret with other content or limits is named and left, also if it is deleted or does not decrypt."""
    for name in ("other", "deleted", "limited", "altered", "same", "label"):
        tree.put(name, {"n": 1})
    move()
    tree.put("counted", {})
    headers = bearer(make_token(app, "rest", role="admin"))
    counted = {"name": "counted", "secret": "e30=", "max_reads": 5}
    client.post("/vault/secret/create", json=counted, headers=headers)
    client.post("/vault/secret/update", json={"name": "other", "secret": "bmV3"}, headers=headers)
    stored.secrets.update_one({"name": "deleted"}, {"$set": {"deleted_at": datetime.now(UTC)}})
    stored.secrets.update_one({"name": "altered"}, {"$set": {"version": 2}})
    stored.secrets.update_one({"name": "limited"}, {"$set": {"expires_at": datetime.now(UTC) + timedelta(1)}})
    stored.secrets.update_one({"name": "label"}, {"$set": {"labels": ["a=b"]}})
    before = list(stored.secrets.find().sort("_id"))
    results = move()
    assert {name: result.reason for name, result in results.items()} == {
        "other": "the secret here has other content",
        "deleted": "the secret here is deleted",
        "altered": "the secret here does not decrypt",
        "limited": "the secret here does not decrypt",
        "label": "the secret here has other content",
        "counted": "the secret here has other content",
        "same": "",
    }
    assert list(stored.secrets.find().sort("_id")) == before


def test_what_a_killed_import_left_is_replaced(
    tree: Tree, move: Move, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending secret of an earlier import does not hold its name."""
    tree.put("s", {"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(SecretStore, "publish", _die)
        patch.setattr(SecretStore, "roll_back", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            move()
    [left] = stored.secrets.find({"pending": True})
    assert outcomes(move()) == {"s": Outcome.IMPORTED}
    [found] = stored.secrets.find()
    assert found["_id"] != left["_id"]
    assert "pending" not in found
    assert unrecorded(stored) == {}


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_batch_is_rolled_back(
    tree: Tree, move: Move, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any error while a batch is stored, none of it stays."""
    tree.put("s", {"n": 1})
    for error in (KeyboardInterrupt, AuditUnavailableError, StorageUnavailableError("x")):
        monkeypatch.setattr(SecretStore, "publish", _raising(error))
        with pytest.raises(error if isinstance(error, type) else type(error)):
            move()
        assert stored.secrets.count_documents({}) == 0


def _raising(error: BaseException | type[BaseException]) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_name_that_another_request_holds_differs(
    tree: Tree, move: Move, monkeypatch: pytest.MonkeyPatch, stored: Stored, key: MasterKey
) -> None:
    """If a client creates a secret at the same time, its secret stays."""
    tree.put("s", {"n": 1})
    tree.put("t", {"n": 1})
    other = NewSecret(plaintext=b"x", name="s").document("default", UNKNOWN_ID)
    other.encrypt(Keyring(key))
    hold = SecretStore.hold_names

    def hold_late(store: SecretStore, made: Any) -> Any:
        stored.secrets.insert_one(other.document())
        return hold(store, made)

    monkeypatch.setattr(SecretStore, "hold_names", hold_late)
    results = move()
    assert (results["s"].outcome, results["s"].reason) == (Outcome.DIFFERS, "another request took the name")
    assert results["t"].outcome is Outcome.IMPORTED
    assert stored.secrets.count_documents({}) == 2


def test_batches_are_bounded(tree: Tree, move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has a maximum of secrets, and of bytes."""
    sizes = []
    write = ImportWriter.write

    def counted(writer: ImportWriter, new: Mapping[str, SourceSecret]) -> Mapping[str, str]:
        sizes.append(len(new))
        return write(writer, new)

    monkeypatch.setattr(ImportWriter, "write", counted)
    monkeypatch.setattr(imports, "_BATCH", 4)
    monkeypatch.setattr(imports, "_BATCH_BYTES", 2_000)
    tree.fill(10, versions=1)
    tree.put("a", {"text": "x" * 3_000})
    move()
    assert sizes == [1, 4, 4, 2]


def test_secrets_that_are_gone_are_left_out(tree: Tree, move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is removed during the import is not a result, however many are read ahead."""
    monkeypatch.setattr(imports, "_READ_AHEAD", 2)
    tree.fill(4, versions=1)
    read = KVSource.read

    def read_some(source: KVSource, path: str, *, max_versions: int) -> SourceSecret | None:
        return None if path[-1] in "02" else read(source, path, max_versions=max_versions)

    monkeypatch.setattr(KVSource, "read", read_some)
    assert sorted(move()) == ["folder-1/secret-1", "folder-3/secret-3"]


def test_a_source_that_fails_ends_the_import(tree: Tree, move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated import completes it."""
    tree.fill(40, versions=1)
    read = KVSource.read

    def fail(source: KVSource, path: str, *, max_versions: int) -> SourceSecret | None:
        if path.endswith("-19"):
            raise ImportSourceError("gone")
        return read(source, path, max_versions=max_versions)

    with monkeypatch.context() as patch:
        patch.setattr(KVSource, "read", fail)
        with pytest.raises(ImportSourceError, match="gone"):
            move()
    assert set(outcomes(move()).values()) == {Outcome.IMPORTED}
    assert set(outcomes(move()).values()) == {Outcome.SAME}


def test_a_folder_that_cannot_be_listed_is_refused(tree: Tree, app: Flask, key: MasterKey) -> None:
    """The error of a folder is its result."""
    tree.put("a/b", {})
    token = tree.allow('path "~/data/*" { capabilities = ["read"] }')
    with closing(KVSource(tree.bao.url, mount=tree.mount, token=token)) as source:
        importer = Importer(source, Keyring(key), namespace="default", prefix="", max_bytes=1, max_versions=1)
        [result] = importer.run("a/")
    assert app
    assert (result.name, result.outcome, result.reason) == ("a/", Outcome.REFUSED, "the token cannot read it")


@pytest.mark.promise("purges")
def test_hashes_tell_every_difference(tree: Tree, key: MasterKey) -> None:
    """The two hashes are equal only if all secrets are; they have a new key for each import."""
    source = KVSource(tree.bao.url, mount=tree.mount, token=tree.token)
    options: dict[str, Any] = {"namespace": "default", "prefix": "", "max_bytes": 1, "max_versions": 1}
    importers = [Importer(source, Keyring(key), **options) for _ in range(2)]
    one, other = (importer.hashes() for importer in importers)
    same = Result(name="s", outcome=Outcome.SAME, there=b"x", here=b"x")
    for hashes in (one, other):
        hashes.add(same)
        assert hashes.there == hashes.here
    assert one.there != other.there
    one.add(replace(same, here=b""))
    assert one.there != one.here
