"""The tables of the documents list what is stored, and what the service's MongoDB user may do with it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from flask import Flask
from mongoengine import Document

from tests.conftest import start
from tests.docs.documents import table
from tests.docs.generated import require_generated
from tests.support.rotation import Stored
from vault.common import feature
from vault.core.documents import AuditEntry, Secret, Token
from vault.core.documents.audit import AuditKey
from vault.core.documents.database import DATABASE_PRIVILEGES, collection_privileges
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


def grouped(rows: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """Return the table of *rows*, each of a collection and further cells; equal cells share a row."""
    names: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, cells in rows:
        names[cells].append(name)
    lines = ((", ".join(of), *cells) for cells, of in names.items())
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def test_every_collection_and_index_is_listed(app: Flask, stored: Stored) -> None:
    """The tables list the collections of the core, and exactly the indexes that a service creates."""
    start(app)
    indexes = [
        (f"`{name}`", (f"`{', '.join(index['key'])}`", described(index)))
        for name in sorted(stored.list_collection_names())
        for index in stored[name].list_indexes()
        if index["name"] != "_id_"
    ]
    head = "| collection | index | kind |\n| --- | --- | --- |\n"
    require_generated(ARCHITECTURE, "indexes", head + grouped(sorted(indexes)))
    collections = {name for row in table(ARCHITECTURE, "Collections") for name in names_in(row[0])}
    assert set(stored.list_collection_names()) - feature.collections().keys() <= collections


def test_the_privileges_are_listed() -> None:
    """The page has the privileges of the service's role, for a manually configured MongoDB."""
    granted = {"(the database)": DATABASE_PRIVILEGES, **collection_privileges()}
    rows = [(f"`{name}`", (", ".join(f"`{one}`" for one in actions),)) for name, actions in granted.items()]
    head = "| collection | actions |\n| --- | --- |\n"
    require_generated("docs/mongodb.md", "privileges", head + grouped(rows))
