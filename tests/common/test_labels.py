"""The form of labels."""

import pytest

from vault.common.labels import are_labels


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"team": "billing", "a.b/c-d_1": "", "_": "x" * 512, "k" * 128: "ü =", "é" * 64: "é" * 256},
        {"-a": "x", "a b": "x", "*?$where:{}": "x", "日本": "😀" * 128, "a": " \xa0 "},
        {f"key-{number}": "x" for number in range(64)},
    ],
)
def test_valid_labels(labels: dict[str, str]) -> None:
    """Up to 64 keys of 128 bytes of visible characters, with one line of 512 bytes each."""
    assert are_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {" a": "x"},
        {"a ": "x"},
        {"a=b": "x"},
        {"a\n": "x"},
        {"e\u0301": "x"},
        {"\u200b": "x"},
        {"\ud800": "x"},
        {"k" * 129: "x"},
        {"é" * 65: "x"},
        {"a": "x" * 513},
        {"a": "é" * 257},
        {"a": "\ud800"},
        {"a": "two\nlines"},
        {"a": "\u202e"},
        {f"key-{number}": "x" for number in range(65)},
    ],
)
def test_invalid_labels(labels: dict[str, str]) -> None:
    """Anything else is not a label."""
    assert not are_labels(labels)
