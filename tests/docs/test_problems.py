"""docs/problems.md lists the kinds of refusals."""

from collections.abc import Iterator
from itertools import groupby

from tests.docs.generated import require_generated
from vault.api.document.refusal_pages import PARAGRAPHS
from vault.api.http.refusals import REFUSALS

#: No client receives this code: the client has closed its connection.
_UNSEEN = "client_disconnected"


def kinds() -> Iterator[str]:
    """Yield the lines of the list: each code below its status, with the first sentence of its page."""
    codes = sorted(REFUSALS.keys() - {_UNSEEN}, key=lambda code: (REFUSALS[code].status, code))
    for status, group in groupby(codes, key=lambda code: REFUSALS[code].status):
        yield f"## {status}\n\n"
        for code in group:
            first, _, _ = PARAGRAPHS[code].partition(". ")
            yield f"- `{code}`: {first.removesuffix('.')}.\n"
        yield "\n"


def test_the_document_lists_every_kind() -> None:
    """docs/problems.md has the code and meaning of every refusal, by its status."""
    require_generated("docs/problems.md", "problems", "".join(kinds()))
