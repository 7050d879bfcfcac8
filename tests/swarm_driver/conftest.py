"""Shared fixtures of the driver's tests."""

import pytest
from prometheus_client import values


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure as in the driver's process: elsewhere in these tests, values are in files that all share."""
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
