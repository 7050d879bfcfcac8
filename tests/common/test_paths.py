"""Names; paths: whole names, and prefixes that end in a slash."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.common.paths import ALL_PATHS, Paths, is_path, name_flaw, path_flaw, prefix_flaw

LIMITED = Paths.of(["billing/", "shared/db"])


@pytest.mark.parametrize("text", ["billing/", "shared/db", "a", "_a/b.c/", "a" * 512, "ä b/é/"])
def test_names_and_prefixes_are_paths(text: str) -> None:
    """A path is a secret's name, or a prefix of names with its slash."""
    assert is_path(text)


@pytest.mark.parametrize(
    "text", ["", "/", "/a", "a//", "a//b", "../a", "a*", "a\n", "a/\n", "a /", "a" * 513]
)
def test_other_texts_are_not_paths(text: str) -> None:
    """No other text is a path: no empty part, no wildcard, no trailing newline."""
    assert not is_path(text)


#: Names without a space.
_NAMES = """
a .a ..a a.. ... a/.b -a ~ + a@b:c+d=e a= =a @a a?b a#b a%2fb %2e%2e a&b;c,d it's a"b a\\b a|<>^` $(a)${b}
[a]{b}! é 日本/語 עברית हिन्दी 😀 🇩🇪 ﬁ x\u0301 \u0301x
"""


@pytest.mark.parametrize("name", [*_NAMES.split(), "a b", "a  b", "a" * 512, "é" * 256, "😀" * 128])
def test_any_visible_text_between_slashes_is_a_name(name: str) -> None:
    """Every visible character in the normal form NFC can be in a name, and a plain space inside a part."""
    assert not name_flaw(name)
    assert is_path(f"{name[:100]}/")
    assert not prefix_flaw(name[:3])


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ("512 bytes", ["a" * 513, "é" * 257, "😀" * 129, "a" * 5_000_000]),
        ("NFC", ["e\u0301", "\u212b", "\u1100\u1161", "=\u0338"]),
        (
            "visible",
            ["a\tb", "a\n", "\x00", "\x7f", "\x80", "\xad", "a\xa0b", "a\u3000b", "\u200b", "\u200d"],
        ),
        ("visible", ["\u202e", "\u2028", "\u2066", "\ufeff", "\ue000", "\u0378", "\ud800", "\U0010ffff"]),
        ("visible", ["❤\ufe0f", "\u3164", "\u115f", "\u034f", "\u180b", "\u2800", "\ufffd", "\U000e0100"]),
        ("*", ["*", "a*", "a/*/b"]),
        (
            "a part that is empty",
            ["", "/", "a/", "/a", "a//b", ".", "..", "a/.", "./a", "a/../b", "../a", "a/.."],
        ),
        ("begins or ends with a space", [" ", " a", "a ", "a/ b", "a /b", "a/ ", "a/ /b"]),
    ],
)
def test_every_other_text_breaks_a_named_rule(rule: str, texts: list[str]) -> None:
    """A text that is not a name is refused with the rule that it breaks, which does not have the text."""
    for text in texts:
        assert rule in name_flaw(text)
        assert path_flaw(f"{text}/x")


@given(st.text(max_size=20))
def test_the_rules_for_characters(text: str) -> None:
    """No name has control, private, unassigned or surrogate characters, and no space but U+0020."""
    if not name_flaw(text):
        assert not {unicodedata.category(one)[0] for one in text.replace(" ", "")} & set("CZ")
        assert unicodedata.normalize("NFC", text) == text
        assert text == "/".join(part.strip() for part in text.split("/"))


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"], include_characters="/ "), max_size=20))
def test_the_beginning_of_a_name_is_a_prefix(text: str) -> None:
    """A name may be cut anywhere: what is left is the beginning of names, and its folders are paths."""
    if not name_flaw(text):
        assert not any(prefix_flaw(text[:end]) for end in range(len(text)))
        folders = [text[: end + 1] for end, one in enumerate(text) if one == "/"]
        assert all(map(is_path, folders))


def test_names_within() -> None:
    """A name is within if it is a path itself, or begins with one that ends in a slash.

    Without paths every secret is within, also one without a name.
    """
    assert all(map(LIMITED.include, ("billing/db", "billing/eu/db", "shared/db")))
    others = (None, "billing", "billing-eu/db", "shared/db/old", "shared/db2", "other")
    assert not any(map(LIMITED.include, others))
    assert all(map(ALL_PATHS.include, others))
    assert not ALL_PATHS


def test_covered_paths_are_left_out() -> None:
    """A path below another one adds nothing."""
    paths = Paths.of(["a/b/", "a/", "a/c", "a", "b/c", "b/c"])
    assert paths.texts == ("a", "a/", "b/c")
    assert paths == Paths.of(["a", "a/", "b/c"])


@pytest.mark.parametrize(
    ("paths", "covered"),
    [
        ([], True),
        (["billing/"], True),
        (["billing/eu/", "billing/db", "shared/db"], True),
        (["shared/"], False),
        (["shared/db/"], False),
        (["billing"], False),
        (["billing/", "other"], False),
    ],
)
def test_cover(paths: list[str], covered: bool) -> None:
    """Paths cover others if each of those is within; none cover what has no limit."""
    assert LIMITED.cover(Paths.of(paths)) is (covered and bool(paths))
    assert ALL_PATHS.cover(Paths.of(paths))


@pytest.mark.parametrize(
    ("paths", "both"),
    [
        (["billing/eu/", "billing/db", "other/"], ["billing/eu/", "billing/db"]),
        (["billing/", "shared/"], ["billing/", "shared/db"]),
        (["shared/db"], ["shared/db"]),
        (["billing", "other/"], None),
        ([], ["billing/", "shared/db"]),
    ],
)
def test_meet(paths: list[str], both: list[str] | None) -> None:
    """What is within two paths is within those where they meet; no limit meets another at that."""
    other = Paths.of(paths)
    expected = None if both is None else Paths.of(both)
    assert LIMITED.meet(other) == other.meet(LIMITED) == expected
