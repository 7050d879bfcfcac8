"""docs/security.md names existing tests for every promise."""

import ast
import re

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, headings, table

SECURITY = "docs/security.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = [heading for heading in headings(DOCUMENTS[SECURITY]) if re.match(r"\d\. ", heading)]


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named(document: str) -> set[tuple[str, str]]:
    return set(_TEST.findall(DOCUMENTS[document]))


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if named(document)])
def test_every_named_test_exists(document: str) -> None:
    """Each test that a document names as a proof exists under that name."""
    for path, name in named(document):
        assert name in names_in(path), f"{path}::{name}"


@pytest.mark.parametrize("heading", [*PROMISES, "Other guarantees"])
def test_every_statement_has_its_proof(heading: str) -> None:
    """Each row of a promise's table names at least one test."""
    rows = table(SECURITY, heading)
    assert rows
    for what, proof in rows:
        assert _TEST.search(proof), what


def test_the_promises_are_those_of_the_readme() -> None:
    """README and threat model make the same six promises, in the same order."""
    readme = re.findall(r"^(\d\. )\*\*(.+?)(?:\.\*\*|\*\*:)", DOCUMENTS["README.md"], re.MULTILINE)
    assert [number + promise for number, promise in readme] == PROMISES
    assert len(PROMISES) == 6
