"""docs/operations.md explains what operators see."""

import ast
import re
from collections.abc import Iterator

from tests.docs.documents import DOCUMENTS, ROOT, table
from vault.api.problems import REFUSALS

OPERATIONS = "docs/operations.md"
_LEVELS = ("warning", "error", "exception")


def logged(*methods: str) -> Iterator[str]:
    """Yield what the package logs by *methods*, as it stands there."""
    for path in (ROOT / "vault").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logger"), attr=attr), args=[ast.Constant(text), *_]
                ):
                    if attr in methods:
                        yield str(text)


def fits(message: str, text: str) -> bool:
    """Return whether *message* is how a line of the log with the format *text* begins."""
    return text.startswith(message) or bool(re.fullmatch(re.escape(text).replace("%s", ".+"), message))


def messages() -> list[str]:
    rows = [row for row in table(OPERATIONS, "Monitor") if row[1] in ("info", "warning", "error")]
    return [message for row in rows for message in re.findall(r"`(.+?)`", row[0])]


def test_what_the_log_says_is_explained() -> None:
    """Every warning and error that the package logs is in the table, and nothing that it does not log is."""
    assert len(messages()) > 10
    for text in logged(*_LEVELS):
        assert any(fits(message, text) for message in messages()), text
    for message in messages():
        assert any(fits(message, text) for text in logged("info", *_LEVELS)), message


def test_what_clients_are_told_is_explained() -> None:
    """Each sentence with which a 503 begins leads on."""
    shown = {row[0] for row in table(OPERATIONS, "When something is wrong")}
    for refused in REFUSALS.values():
        if refused.status == 503:
            sentence = refused.detail.partition(". ")[0]
            assert f'503 "{sentence}."' in shown
    assert {"500", "429"} <= {one[:3] for one in shown}
    assert "`mongodb`, `keys`, `audit` or `restore`" in DOCUMENTS[OPERATIONS]
