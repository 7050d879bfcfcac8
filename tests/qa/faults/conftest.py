"""Shared fixtures of the tests of the check."""

import pytest

from tests.qa.faults.example import Example


@pytest.fixture
def example() -> Example:
    """Return the history of one created secret."""
    example = Example()
    example.create()
    return example
