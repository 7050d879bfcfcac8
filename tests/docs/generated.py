"""Parts of documents that are generated from the code."""

import os

from tests.docs.documents import ROOT


def require_generated(document: str, name: str, text: str) -> None:
    """Require *text* between the markers *name* of *document*; `DOCUMENTS=write` writes it there."""
    path = ROOT / document
    marker = "      # {}: {}\n" if document.endswith(".yml") else "<!-- {}: {} -->\n"
    begin, end = marker.format(name, "begin"), marker.format(name, "end")
    present = path.read_text()
    before, rest = present.split(begin)
    expected = before + begin + text + end + rest.split(end)[1]
    if os.environ.get("DOCUMENTS") == "write":
        path.write_text(expected)
    else:
        assert present == expected, f"{document} is outdated: run this test with DOCUMENTS=write"
