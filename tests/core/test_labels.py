"""The form of labels."""

import pytest

from vault.core.labels import are_labels


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"team": "billing", "a.b/c-d_1": "", "_": "x" * 128, "k" * 63: "ü ="},
        {f"key-{number}": "x" for number in range(16)},
    ],
)
def test_valid_labels(labels: dict[str, str]) -> None:
    """Up to 16 keys of 63 characters, with one line of 128 characters each."""
    assert are_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"-a": "x"},
        {"a b": "x"},
        {"a\n": "x"},
        {"k" * 64: "x"},
        {"a": "x" * 129},
        {"a": "two\nlines"},
        {"a": "\u202e"},
        {f"key-{number}": "x" for number in range(17)},
    ],
)
def test_invalid_labels(labels: dict[str, str]) -> None:
    """Anything else is not a label."""
    assert not are_labels(labels)
