"""The project's documents, and their parts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

#: Every document by its path in the checkout.
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$")


class Block(NamedTuple):
    """A fenced block, and the heading above it."""

    document: str
    heading: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0]


def blocks(document: str, language: str = "") -> Iterator[Block]:
    """Yield the blocks of *document*, in one *language* or in all."""
    text = DOCUMENTS[document]
    for fence in _FENCE.finditer(text):
        if language in ("", fence[2]):
            above = headings(text[: fence.start()])
            indented = fence[3].splitlines(keepends=True)
            content = "".join(line.removeprefix(fence[1]) for line in indented)
            yield Block(document, above[-1] if above else "", fence[2], content)


def sections(language: str) -> dict[tuple[str, str], list[Block]]:
    """Return all blocks in *language*, of every document, by document and heading."""
    found: dict[tuple[str, str], list[Block]] = {}
    for document in DOCUMENTS:
        for block in blocks(document, language):
            found.setdefault((document, block.heading), []).append(block)
    return found


def prose(text: str) -> str:
    """Return *text* without fenced blocks."""
    return _FENCE.sub("", text)


def headings(text: str) -> list[str]:
    """Return the headings of *text*, in order."""
    found = (_HEADING.match(line) for line in prose(text).splitlines())
    return [heading[2] for heading in found if heading]


def anchors(document: str) -> set[str]:
    """Return the possible link targets in *document*."""
    found: set[str] = set()
    for heading in headings(DOCUMENTS[document]):
        # An anchor has the text of a link, and only letters, digits, hyphens and underscores.
        text = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(anchor if anchor not in found else f"{anchor}-1")
    return found


def table(document: str, heading: str) -> list[list[str]]:
    """Return the cells of all tables below *heading*, without the header rows."""
    text = prose(DOCUMENTS[document])
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start, (document, heading)
    section = re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    rows: list[list[str]] = []
    for part in re.findall(r"(?:^\|.+\|\n)+", section + "\n", re.MULTILINE):
        for row in part.splitlines()[2:]:
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]])
    return rows
