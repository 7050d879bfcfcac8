"""A storm of changes, in short: `python -m tests.features.webhooks.qa.storm` runs the long form."""

from pathlib import Path

import pytest

from tests.features.webhooks.qa.storm import storm


@pytest.mark.process
@pytest.mark.long
def test_every_event_survives_a_storm(mongo_uri: str, tmp_path: Path) -> None:
    """With a receiver that fails, hangs and disappears, and a killed sender, every event arrives in order."""
    outcome = storm(mongo_uri, tmp_path, changes=200, kills=1)
    assert outcome.wrong == []
    assert (outcome.changes, outcome.kills) == (200, 1)
