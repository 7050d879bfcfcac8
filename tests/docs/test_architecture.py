"""The tables of docs/architecture.md list what is stored."""

import re
from typing import Any

from flask import Flask
from mongoengine import Document

from tests.conftest import start
from tests.docs.documents import table
from tests.support.rotation import Stored
from vault.core.documents import AuditEntry, Secret, Token
from vault.core.documents.audit import AuditKey
from vault.core.documents.token import StoredTokenKey

ARCHITECTURE = "docs/architecture.md"
#: Keys that atomic steps keep in a document, in addition to its fields.
BESIDE = {"secrets": {"lease", "held_reads", "held_tries"}}


def test_every_field_is_listed() -> None:
    """The table of collections has the fields of each stored document."""
    rows = {row[0].strip("`"): names_in(row[2]) for row in table(ARCHITECTURE, "Collections")}
    kinds: tuple[type[Document], ...] = (Secret, AuditEntry, AuditKey, Token, StoredTokenKey)
    for kind in kinds:
        name = kind._get_collection_name()
        fields = {field.db_field for field in kind._fields.values()}
        assert rows[name] == {"_id", *fields} | BESIDE.get(name, set()), f"{ARCHITECTURE}: {name}"


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
