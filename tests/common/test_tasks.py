"""The tasks of features: when they start and end, and their warnings."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.access import services
from vault.app import CLOSE, create_app
from vault.common import feature
from vault.common.config.settings import Settings
from vault.common.errors import KeyMissingError
from vault.common.feature import Feature
from vault.core.keys.guard import KeyringGuard
from vault.core.parts import Parts


class Lamp:
    """The task of an invented feature."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.warnings = ["the lamp flickers"]

    def start(self) -> None:
        """Note it."""
        self.calls.append("start")

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")


_lamps: list[Lamp] = []


def tasks(_parts: Parts) -> Iterator[Lamp]:
    """Yield the task."""
    _lamps.append(Lamp())
    yield _lamps[-1]


def test_a_task_starts_once_the_keys_are_claimed_and_ends_with_the_application(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that fails starts none; `ready` shows their warnings; all end, started or not."""
    monkeypatch.setattr(feature, "features", lambda: (Feature(name="lamp", tasks=f"{__name__}:tasks"),))

    def fail(_: Any) -> None:
        raise KeyMissingError("no key")

    for can_start in (True, False):
        app = create_app(Settings.from_mapping(environment))
        found = services(app)
        with monkeypatch.context() as patch:
            patch.setattr(KeyringGuard, "require", fail)
            found.startup.attempt()
        assert _lamps[-1].calls == []
        if can_start:
            found.startup.attempt()
            assert found.health.readiness().warnings[-1] == "the lamp flickers"
        app.extensions[CLOSE]()
    assert [lamp.calls for lamp in _lamps] == [["start", "close"], ["close"]]
