"""The comparison with OpenBao."""

from pathlib import Path

import pytest

from tests.features.rotation.qa.compare import compare, table

pytestmark = pytest.mark.process


def test_only_a_single_user_fails_logins(tmp_path: Path) -> None:
    """OpenBao's static role fails logins until applications fetch again, and two users fail none."""
    records = compare(tmp_path, 20)
    print(f"\n{table(records)}")  # noqa: T201 - the figures
    ours, theirs = records.values()
    assert len(ours.passwords) > 2
    assert ours.failed == 0 < theirs.failed
