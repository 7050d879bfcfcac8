"""Documents stay short: a limit in words for each page, and for all."""

from tests.docs.documents import DOCUMENTS

_WORDS = {document: len(text.split()) for document, text in DOCUMENTS.items()}
_DECISIONS = {document: words for document, words in _WORDS.items() if document.startswith("docs/decisions/")}
_PAGES = {
    document: words
    for document, words in _WORDS.items()
    if document.startswith("docs/") and document not in _DECISIONS
}


def test_no_document_is_too_long() -> None:
    """A page has at most 2,000 words, README 1,200, all pages together 50,000, and the decisions 10,000."""
    assert {page: words for page, words in _PAGES.items() if words > 2_000} == {}
    assert _WORDS["README.md"] <= 1_200
    assert sum(_PAGES.values()) <= 50_000
    assert sum(_DECISIONS.values()) <= 10_000
