"""The package stays small enough to be read: docs/decisions/0023-the-line-budget.md."""

import io
import token
from pathlib import Path
from tokenize import generate_tokens

import vault

MODULES = sorted(Path(vault.__file__).parent.rglob("*.py"))

#: Lines of a module, with all that is in it.
MOST_LINES = 200

#: Lines of code of the whole package. Who needs more looks for what can go, and then says why in the record.
MOST_CODE = 7_500

_NO_CODE = {token.COMMENT, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Return how many lines of *source* have code: not blank, no comment, no string that stands alone."""
    lines: set[int] = set()
    before = token.NEWLINE
    for kind, _, (first, _), (last, _), _ in generate_tokens(io.StringIO(source).readline):
        if kind == token.STRING and before in (token.NEWLINE, token.INDENT, token.DEDENT):
            continue
        if kind not in _NO_CODE:
            lines.update(range(first, last + 1))
        if kind not in (token.COMMENT, token.NL):
            before = kind
    return len(lines)


def test_a_module_is_one_noun() -> None:
    """A module can be read at a glance: what grows beyond the limit is two."""
    lines = {str(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_the_package_keeps_its_budget() -> None:
    """The whole of it does not grow unnoticed."""
    assert sum(lines_of_code(module.read_text()) for module in MODULES) <= MOST_CODE


def test_what_is_counted_is_code() -> None:
    """Docstrings, comments and blank lines cost nothing; a text that is used costs each of its lines."""
    source = '"""Doc."""\n\n# Why.\n\ndef f():\n    """Doc.\n\n    More."""\n    return """a\n    b"""\n'
    assert lines_of_code(source) == 3
