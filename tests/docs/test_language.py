"""Documents, docstrings and comments use the standard terms, see `BANNED`."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

#: Globs of files with text for people.
_FILES = (
    *("*.md", "docs/**/*.md", "*.yml", "loadtest/**/*.yml", "tests/**/*.yml"),
    *("deploy/**/*.yml", "deploy/**/*.json", "wsgi.py", "vault/**/*.py", "tests/**/*.py"),
    *("loadtest/**/*.py", "scripts/*", ".ci/*", "Dockerfile", "*.cfg", "*.toml"),
)
#: Folders of installed packages.
_INSTALLED = {".venv", "node_modules"}

#: Patterns of banned phrases, in lower case, with their replacements. A space also matches a line break.
BANNED = {
    r"who(?:m)?ever": "anyone who, clients, the caller",
    r"nobody": "no one; name the clients, workers or callers",
    r"somebody": "someone; name the role: an attacker, an operator, another request",
    r"anybody": "anyone",
    r"everybody": "everyone; all clients",
    r"anew": "again",
    r"tells? apart": "distinguish",
    r"tell(?:s|ing)? of": "report, say, warn",
    r"(?:is|are|was|were) at it": "retries, is in progress",
    r"for good(?! reason)": "permanently, permanent",
    r"read up(?! to)": "has reached its read limit",
    r"(?:is|are) all one|are one(?=[.,;:)])|one and the same": "the same, share",
    r"(?:is|are|was|were) well(?= |[.,;:)])(?! known)": "healthy, correct",
    r"as it comes": "by default",
    r"that (?:is|are|was|were) there": "existing, present",
    r"what (?:is|was) there|what there is": "the existing data, the contents",
    r"such a one": "repeat the noun",
    r"of (?:ours|yours|theirs)": "our own, your own, their own",
    r"(?:hung|hangs?) up": "closed, disconnected",
    r"(?:made|makes)[- ]up(?! for| of)": "generated, invented, forged",
    r"under way": "in progress",
    r"at the (?:most|least)(?=[.,;:)])": "at most, at least, before the number",
    r"again and again": "repeatedly",
    r"(?:a|one|each|every|first|next|last|second) try(?! block)": "attempt",
    r"giv(?:e|es|en|ing) out|gave out": "release, return, issue",
    r"lets? in": "admit, accept, authorize",
    r"not good": "invalid",
    r"com(?:e|es|ing) to (?:an|its|their) end|came to (?:an|its|their) end": "end, complete",
    r"in passing": "unnoticed, as a side effect",
    r"tak(?:e|es|en) for granted": "assume, require",
    r"closing line feed": "trailing newline",
    r"(?:is|are) none(?=[.,;:)])": "is unset, is not one",
    r"beside": "next to, with, in addition to",
    r"upon": "on",
    r"mend(?:s|ed|ing)?": "fix",
    r"for so long": "for that time",
    r"of before": "earlier",
    r"in vain": "without success",
    r"lest": "so that … not",
    r"shall": "must, or the present tense",
    r"(?:there|where|here)(?:by|of|in|with|upon)": "with this, of it, in it",
    r"half way": "halfway",
    r"told": "receives, sees, the reply says",
    r"patience": "timeout",
    r"rest(?:s|ing)(?= (?:for|until|after))": "is paused, is backing off",
    r"the same goes for": "so do, so is; repeat the sentence",
}

#: First words of a docstring that make it a clause, not an instruction or a noun phrase.
_OPENING = re.compile(r"\W*(What|How|Which|Whether|Who|Whose|Where|Let|Whatever|Whoever)\b")
_SUSPECT = re.compile(f'"""{_OPENING.pattern}')

_GAP = r"(?:\s|#:?(?=\s))+"
_PATTERNS = [pattern.replace(" ", _GAP) for pattern in BANNED]
_PHRASES = {
    re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])"): replacement
    for pattern, replacement in zip(_PATTERNS, BANNED.values(), strict=True)
}
#: Finds at least what the phrases find. Fast: most files contain none of them.
_ANY = re.compile(rf"\b(?:{'|'.join(_PATTERNS)})\b")
_FENCED = r"^( *)```.*?^\1```$"
_QUOTED = re.compile(rf"{_FENCED}|(`+)[^`]+\2|<[^>\s]+>|\]\([^)\s]+\)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#.*")


def files() -> dict[str, Path]:
    """Return all files of the project with text for people."""
    found = {path.relative_to(ROOT).as_posix(): path for glob in _FILES for path in sorted(ROOT.glob(glob))}
    return {name: path for name, path in found.items() if path.is_file() and not _INSTALLED & {*path.parts}}


def blank(text: str) -> str:
    """Replace everything in *text* except white space, so that it keeps its lines and contains no phrase."""
    return re.sub(r"\S", "\0", text)


def docstrings_and_comments(source: str, *, messages: bool) -> Iterator[tuple[tokenize.TokenInfo, bool]]:
    """Yield each docstring and comment of *source*, with a flag for docstrings; *messages* adds strings."""
    starts_line = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token, False
        elif token.type == tokenize.STRING and starts_line:
            yield token, True
        elif messages and tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE"):
            yield token, False
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            starts_line = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def python_text(source: str, *, messages: bool) -> tuple[str, list[tuple[int, str]]]:
    """Return *source* with its code blanked, and the line and first word of each wrong docstring opening."""
    lines = source.splitlines(keepends=True)
    shown = [blank(line) for line in lines]
    openings = []
    for token, is_docstring in docstrings_and_comments(source, messages=messages):
        (first, left), (last, right) = token.start, token.end
        for number in range(first, last + 1):
            start, end = left if number == first else 0, right if number == last else len(lines[number - 1])
            line = shown[number - 1]
            shown[number - 1] = line[:start] + lines[number - 1][start:end] + line[end:]
        if is_docstring and (opening := _OPENING.match(token.string)):
            openings.append((first, opening[1]))
    return "".join(shown), openings


def comments(source: str) -> str:
    """Return *source* with everything blanked except its comments."""
    lines = ((line, _COMMENT.search(line)) for line in source.split("\n"))
    return "\n".join(blank(line[: at.start()]) + at[0] if at else blank(line) for line, at in lines)


def findings(name: str, source: str) -> Iterator[str]:
    """Yield one line for each violation in the file *name* with this *source*."""
    text = source
    if name.endswith(".py"):
        if not _ANY.search(source.lower()) and not _SUSPECT.search(source):
            return
        text, openings = python_text(source, messages=name.startswith("vault/"))
        for line, opening in openings:
            yield f"{name}:{line}: docstring opens with “{opening}” → an imperative verb or a noun phrase"
    elif not name.endswith((".md", ".yml", ".json")):
        text = comments(source)
    if not _ANY.search(text.lower()):
        return
    text = _QUOTED.sub(lambda quoted: blank(quoted[0]), text).lower()
    for phrase, replacement in _PHRASES.items():
        for found in phrase.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{name}:{line}: “{' '.join(found[0].split())}” → {replacement}"


def test_no_file_has_a_banned_phrase() -> None:
    """Every document, docstring and comment uses the standard terms, and every docstring opens well."""
    found = [line for name, path in files().items() for line in findings(name, path.read_text("utf-8"))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("docs/a.md", "Fine.\n\nWhoever reads `nobody`.\n\n```\nanew\n```\n", ["docs/a.md:3: “whoever”"]),
        ("docs/a.md", "It is kept for\ngood. For good reason.\n", ["docs/a.md:1: “for good”"]),
        (
            "vault/a.py",
            '"""Return it."""\n\nnobody = 1  # Set\n# for\n# good.\n',
            ["vault/a.py:4: “for # good”"],
        ),
        ("vault/a.py", '"""Return."""\nraise E("Nobody serves.")\n', ["vault/a.py:2: “nobody”"]),
        ("tests/a.py", '"""Return."""\nraise E("Nobody serves.")\n', []),
        ("tests/a.py", '"""Whether it works."""\n', ["tests/a.py:1: docstring opens with “Whether”"]),
        ("tests/a.py", '"""Let it run."""\n', ["tests/a.py:1: docstring opens with “Let”"]),
        ("scripts/a.sh", "chown nobody file  # Done anew\n", ["scripts/a.sh:1: “anew”"]),
    ],
)
def test_a_violation_is_found(name: str, source: str, expected: list[str]) -> None:
    """The check finds banned phrases and openings in prose, and ignores code."""
    assert [found.partition(" →")[0] for found in findings(name, source)] == expected
