"""Values in replies: in every form, cut at every place."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.broker.service import VALUE, Rule
from tests.clients.broker.world import World, new_world, written
from vault.clients.broker.scrubber import MARK, RepetitiveValueError, Scrubber, Sought, without

VALUES = [
    VALUE,
    "12345678",
    'a/b+c d"e\\f%g&h?>~',
    "pässwörd-𝄞-xyz",
    "%%%%2F%2f%25",
    "\\\\\\\\u0061\\/",
    "aaaaaaaa",
    "abababababab",
    "+++///===-__",
    '{"key":"value"}',
]


def _forms(value: str) -> dict[str, bytes]:
    """Return what encoders make of *value*."""
    content = value.encode()
    found = {
        "as it is": content,
        "for a path": quote(value).encode(),
        "for a query": quote_plus(value).encode(),
        "all escaped": "".join(f"%{byte:02X}" for byte in content).encode(),
        "all escaped in lower case": "".join(f"%{byte:02x}" for byte in content).encode(),
        "in JSON": json.dumps(value)[1:-1].encode(),
        "in JSON as UTF-8": json.dumps(value, ensure_ascii=False)[1:-1].encode(),
        "in JSON of PHP": json.dumps(value)[1:-1].replace("/", "\\/").encode(),
        "in JSON, all escaped": "".join(
            f"\\u{int.from_bytes(pair):04x}" for pair in _pairs(value.encode("utf-16-be"))
        ).encode(),
    }
    for before in range(3):
        for after in range(3):
            around = b"\x00user:"[-before:] if before else b"", b"\xff\xfe"[:after]
            encoded = around[0] + content + around[1]
            name = f"in base64 after {before} and before {after}"
            found[name] = b64encode(encoded)
            found[f"{name}, for URLs"] = urlsafe_b64encode(encoded)
            found[f"{name}, escaped for URLs"] = quote(b64encode(encoded), safe="").encode()
            found[f"{name}, in JSON of PHP"] = b64encode(encoded).replace(b"/", b"\\/")
    return found


def _pairs(content: bytes) -> list[bytes]:
    return [content[at : at + 2] for at in range(0, len(content), 2)]


def _scrubbed(value: str, *parts: bytes) -> bytes:
    scrubber = Scrubber(Sought(value))
    return b"".join([*map(scrubber.feed, parts), scrubber.finish()])


@pytest.mark.parametrize("value", VALUES)
def test_every_form_is_found_at_every_cut(value: str) -> None:
    """Whatever encoder wrote the value, and wherever the stream is cut, nothing of it is left."""
    whole = written(value)
    for name, form in _forms(value).items():
        text = b"before " + form + b" after"
        for cut in range(len(text) + 1):
            found = _scrubbed(value, text[:cut], text[cut:])
            assert found.startswith(b"before "), (name, cut)
            assert found.endswith(b" after"), (name, cut)
            assert MARK in found, (name, cut)
            assert not any(one in found for one in whole), (name, cut, found)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_small_parts_are_no_way_through(value: str, size: int) -> None:
    """A stream in parts of any size, with the value many times, has nothing of it left."""
    text = b"|".join([form * 3 for form in _forms(value).values()])
    found = _scrubbed(value, *(text[at : at + size] for at in range(0, len(text), size)))
    assert not any(one in found for one in written(value))


def test_escapes_are_mixed() -> None:
    """Each character can be written in its own way."""
    assert _scrubbed("abcd/efgh", b"<%61b\\u0063d\\/%65%66gh>") == b"<[secret]>"


def test_beginnings_are_let_go() -> None:
    """What turns out to be something else comes through as it was."""
    for text in (VALUE[:-1].encode() + b"X", VALUE.encode()[1:], b"sk_live_" * 5, b"%73%6b\\u005f", b"\\%"):
        assert _scrubbed(VALUE, *(bytes([byte]) for byte in text)) == text


def test_only_what_can_become_a_value_is_held_back() -> None:
    """Events pass at once, unless their end is a beginning of the value."""
    scrubber = Scrubber(Sought(VALUE))
    for event in (b'data: {"token": "the"}\n\n', b"data: {}\n\n", b": ping\n\n", b"\n"):
        assert scrubber.feed(event) == event
    assert scrubber.feed(b"data: sk_li") == b"data: "
    assert scrubber.feed(b"ke\n\n") == b"sk_like\n\n"
    assert scrubber.feed(b"x" + VALUE.encode()[:9]) == b"x"
    assert scrubber.feed(VALUE.encode()[9:] + b"\n") == MARK + b"\n"
    assert scrubber.feed(b"s") == b""
    assert scrubber.finish() == b"s"


def test_overlapping_values_are_removed_together() -> None:
    """Where the value overlaps itself, all of it goes."""
    assert b"a" not in _scrubbed("aaaaaaaa", b"a" * 100)
    assert _scrubbed("abcabcabc", b"-abcabcabcabc-").strip(b"-").replace(MARK, b"") == b""


def test_a_value_that_repeats_itself_is_given_up() -> None:
    """A long value of one character could stall the broker: such a reply is refused."""
    with pytest.raises(RepetitiveValueError):
        without(Sought("a" * 5_000), b"a" * 2_000)


@given(
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x1_0FFF, exclude_categories=["Cs", "Cc"]),
        min_size=8,
        max_size=40,
    ),
    st.binary(max_size=60),
    st.integers(1, 9),
)
def test_any_text_is_found(value: str, around: bytes, size: int) -> None:
    """Any text of a header is found in any surroundings; the surroundings pass."""
    text = around + value.encode() + around
    found = _scrubbed(value, *(text[at : at + size] for at in range(0, len(text), size)))
    assert value.encode() not in found
    assert MARK in found


@given(st.binary(max_size=400), st.integers(1, 50))
def test_what_has_no_value_passes(text: bytes, size: int) -> None:
    """Other bytes come through as they were."""
    assert (
        _scrubbed("sk_live_4eC39HqLyjW", *(text[at : at + size] for at in range(0, len(text), size))) == text
    )


@pytest.mark.parametrize(
    "name",
    [
        "as it is",
        "for a query",
        "all escaped",
        "in JSON, all escaped",
        "in base64 after 0 and before 0",
        "in base64 after 1 and before 2",
        "in base64 after 2 and before 1, for URLs",
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_split_reply_has_no_value(world: World, name: str, is_chunked: bool) -> None:
    """A host that sends the value back, cut at any place, in packets or chunks, gets none of it through."""
    form = _forms(VALUE)[name]
    text = b"data: " + form + b"\n\n"
    cuts = iter(range(1, len(text)))

    def reply(_: object) -> list[bytes]:
        cut = next(cuts)
        parts = [text[:cut], text[cut:]]
        if is_chunked:
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"]
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text), *parts]

    world.host.reply = reply
    with world.tunnel() as client:
        for _ in range(1, len(text)):
            client.send(world.request())
            body = client.reply().body
            assert body.startswith(b"data: ")
            assert MARK in body
            assert form not in body


def test_a_password_of_basic_is_removed(world: World) -> None:
    """With basic authentication, the host sees the value in base64, and the client in no form."""
    [rule] = world.service.rules
    world.service.rules = [Rule(rule.name, rule.hosts, format="Basic {}")]
    encoded = b64encode(f"deploy:{VALUE}".encode()).decode()
    world.service.lie = {"value": f"Basic {encoded}"}
    world.host.reply = lambda request: [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.head) + request.head
    ]
    reply = world.ask(world.request())
    assert world.host.arrived[0].values("authorization") == [f"Basic {encoded}"]
    assert b"[secret]" in reply.body
    assert encoded[-20:].encode() not in reply.body


def test_the_capture_of_replies_finds_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every test of the broker asserts at its end fails if a value comes back, also in two chunks."""
    monkeypatch.setattr(Scrubber, "feed", lambda _, data: data)
    middle = len(VALUE) // 2
    parts = [
        b"%x\r\n%s\r\n" % (len(part), part) for part in (VALUE[:middle].encode(), VALUE[middle:].encode())
    ]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with new_world() as world:
        world.host.reply = lambda _: [head, *parts, b"0\r\n\r\n"]
        assert world.ask(world.request()).status == 200
        with pytest.raises(AssertionError):
            world.assert_kept()
        world.received.clear()
