"""Shared fixtures of the tests of the check."""

import pytest

from tests.faults.told import Told


@pytest.fixture
def told() -> Told:
    """Return the history of one created secret."""
    told = Told()
    told.create()
    return told
