"""Positions in the trail, and the cursors that encode them."""

import secrets
from base64 import urlsafe_b64encode

import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.common.errors import InvalidCursorError
from vault.core.trail.position import _MAX_STREAMS, CURSOR_PATTERN, Position
from vault.core.trail.streams import stream


def identifier(seconds: int, writer: int, seq: int = 0) -> ObjectId:
    return ObjectId(seconds.to_bytes(4, "big") + writer.to_bytes(5, "big") + seq.to_bytes(3, "big"))


def cursor(*identifiers: ObjectId) -> str:
    return urlsafe_b64encode(b"".join(one.binary for one in identifiers)).decode()


def test_a_cursor_is_read_back() -> None:
    """Encoding a position as a cursor and reading it back gives the same position."""
    position = Position()
    for seconds in range(9, 40):
        some = [identifier(seconds, secrets.randbelow(9)) for _ in range(5)]
        position = position.after(some, settled=identifier(seconds - 9, 0))
        assert Position.decode(position.encode()) == position


def test_a_position_never_goes_back() -> None:
    """Settled entries stay settled, and the newest returned entry of each stream is kept."""
    first = Position(identifier(50, 0)).after(
        [identifier(60, 1, 5), identifier(61, 2)], settled=identifier(40, 0)
    )
    assert first.settled == identifier(50, 0)
    second = first.after([identifier(55, 1, 4), identifier(55, 3)], settled=identifier(56, 0))
    assert second.reached == identifier(61, 2)
    assert [second.has(identifier(60, 1, seq)) for seq in (4, 5, 6)] == [True, True, False]
    assert not second.has(identifier(57, 3))
    third = second.after([], settled=identifier(70, 0))
    assert (third.returned, third.reached) == ({}, identifier(70, 0))


def test_a_cursor_has_a_maximum_size() -> None:
    """With more streams than fit into a cursor, the youngest are returned again and none is omitted."""
    identifiers = [identifier(100, number) for number in range(1_200)]
    after = Position().after(identifiers, settled=identifier(1, 0))
    assert len(after.returned) == _MAX_STREAMS
    assert len(after.encode()) == 16 * (_MAX_STREAMS + 1)
    assert Position.decode(after.encode()) == after
    assert after.reached == identifiers[_MAX_STREAMS - 1]


A, B, C = identifier(1, 7), identifier(2, 8), identifier(3, 9)


@pytest.mark.parametrize(
    "invalid",
    [
        "",
        "x",
        "{}",
        "6b05a36cf43fd516532765c",
        "6b05a36cf43fd516532765c5\n",
        "6b05a36cf43fd516532765cg",
        "\uff16" * 24,
        cursor(A),
        cursor(A, B)[:-1],
        cursor(A, B) + "\n",
        cursor(A, B) + "=",
        cursor(A, B)[:-1] + "+",
        cursor(A, *(identifier(5, number) for number in range(1_001))),
        "A" * 100_000,
    ],
    ids=lambda invalid: ascii(invalid[:40]),
)
def test_an_invalid_cursor_is_refused(invalid: str) -> None:
    """Text that is not a cursor is refused."""
    with pytest.raises(InvalidCursorError):
        Position.decode(invalid)


@pytest.mark.parametrize(
    "identifiers", [(B, A), (A, A), (A, C, B), (C, B, A), (A, B, identifier(3, 8))], ids=len
)
def test_identifiers_in_any_order_are_a_position(identifiers: tuple[ObjectId, ...]) -> None:
    """A forged cursor is read like a genuine one: in order, with the newest identifier of each stream."""
    position = Position.decode(cursor(*identifiers))
    assert position.settled == A
    assert list(position.returned.values()) == sorted(position.returned.values())
    assert position.reached == max(identifiers)
    assert Position.decode(position.encode()) == position


@settings(max_examples=25)
@given(st.from_regex(CURSOR_PATTERN, fullmatch=True))
def test_every_text_of_the_documented_form_is_a_position(text: str) -> None:
    """The document's pattern accepts only cursors that the service accepts."""
    assert Position.decode(text).reached >= Position.decode(text).settled


def test_an_older_cursor_is_the_identifier_of_an_entry() -> None:
    """A cursor of an older version, or without unsettled entries, is an entry's identifier."""
    made = stream.derive_entry_id(A.generation_time, stream.new_stream_id(), 4)
    assert Position.decode(str(made)) == Position(made)
    assert Position(made).encode() == str(made)
