"""docs/architecture.md describes the current package."""

import dataclasses
import re
from configparser import ConfigParser
from typing import Any

from flask import Flask
from mongoengine import Document

from tests.conftest import start
from tests.docs.documents import ROOT, blocks, table
from tests.support.rotation import Stored
from vault.crypto.binding import Binding
from vault.documents import AuditEntry, Secret, Token
from vault.documents.audit import AuditKey
from vault.documents.token import StoredTokenKey

ARCHITECTURE = "docs/architecture.md"
#: Keys that atomic steps keep in a document, in addition to its fields.
BESIDE = {"secrets": {"lease", "held_reads", "held_tries"}}


def test_the_floors_are_those_of_the_contract() -> None:
    """The floors are drawn as in import-linter's contract, from top to bottom."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    held = setup["importlinter:contract:floors"]["layers"].split("\n")[1:]
    [drawn] = [block.text for block in blocks(ARCHITECTURE) if block.text.startswith("server | app")]
    lines = [re.split(r" {2,}", line)[0] for line in drawn.splitlines()]
    assert lines == held


def test_every_field_is_listed() -> None:
    """The table of collections has the fields of each stored document."""
    rows = {row[0].strip("`"): names_in(row[2]) for row in table(ARCHITECTURE, "Collections")}
    kinds: tuple[type[Document], ...] = (Secret, AuditEntry, AuditKey, Token, StoredTokenKey)
    for kind in kinds:
        name = kind._get_collection_name()
        fields = {field.db_field for field in kind._fields.values()}
        assert rows[name] == {"_id", *fields} | BESIDE.get(name, set()), f"{ARCHITECTURE}: {name}"


def test_every_bound_and_unbound_field_is_listed() -> None:
    """The text names the fields of a secret that its ciphertexts are bound to, and all that they are not."""
    text = " ".join((ROOT / ARCHITECTURE).read_text().split())
    [(bound, unbound)] = re.findall(
        r"Bound to an `envelope`, so that a change makes it unreadable: (.*?)\. "
        r"Neither encrypted nor bound: (.*?)\. An",
        text,
    )
    fields = {field.db_field for field in Secret._fields.values()} | BESIDE["secrets"]
    names = {field.name for field in dataclasses.fields(Binding)} - {"secret_id", "is_canary"}
    names |= {"_id", "key_id"}
    assert names_in(bound) == names, f"{ARCHITECTURE}: Bound to an envelope"
    assert names_in(unbound) == fields - names - {"envelope"}, f"{ARCHITECTURE}: Neither encrypted nor bound"


def names_in(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def described(index: dict[str, Any]) -> str:
    """Return the kind of *index* in the document's words."""
    partial = index.get("partialFilterExpression", {})
    is_unset, exists = None in partial.values(), {"$exists": True} in partial.values()
    condition = "is unset" if is_unset else "exists" if exists else f"is `{next(iter(partial.values()), '')}`"
    kinds = {
        "unique": index.get("unique"),
        "sparse": index.get("sparse"),
        "TTL": "expireAfterSeconds" in index,
        f"where `{next(iter(partial), '')}` {condition}": partial,
    }
    return ", ".join(kind for kind, found in kinds.items() if found)


def test_every_collection_and_index_is_listed(app: Flask, stored: Stored) -> None:
    """The tables list the collections that a service creates, and exactly its indexes."""
    start(app)
    indexes = sorted(
        (name, ", ".join(index["key"]), described(index))
        for name in stored.list_collection_names()
        for index in stored[name].list_indexes()
        if index["name"] != "_id_"
    )
    rows = table(ARCHITECTURE, "Indexes")
    listed = [(name, keys.strip("`"), kind) for names, keys, kind in rows for name in names_in(names)]
    assert sorted(listed) == indexes, f"{ARCHITECTURE}: Indexes"
    collections = {name for row in table(ARCHITECTURE, "Collections") for name in names_in(row[0])}
    assert set(stored.list_collection_names()) <= collections
