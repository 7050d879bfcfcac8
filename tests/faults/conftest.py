"""What the tests of the check share."""

import pytest

from tests.faults.told import Told


@pytest.fixture
def told() -> Told:
    """Return the history of one secret that was created."""
    told = Told()
    told.create()
    return told
