"""Cursors of lists."""

from hypothesis import given
from hypothesis import strategies as st

from vault.secrets import queries


@given(st.from_regex(queries.CURSOR_PATTERN, fullmatch=True))
def test_every_text_of_the_documented_form_is_a_position(cursor: str) -> None:
    """The document's pattern accepts only cursors that the service accepts, and each has one form."""
    assert queries._cursor(*queries._position(cursor)) == cursor
