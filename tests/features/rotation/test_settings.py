"""The settings of rotation."""

import pytest

from vault.common.config.settings import Settings
from vault.common.errors import SettingsError
from vault.features.rotation.settings import RotationSettings

KEY = {"MASTER_KEY": "exactly-thirty-two-characters-ok"}


def test_each_setting_has_its_documented_default() -> None:
    """A look every 15 seconds, 10 seconds for a step, and no programs."""
    assert Settings.from_mapping(KEY).of(RotationSettings) == RotationSettings(
        rotation_check_seconds=15, rotation_step_seconds=10, rotation_commands=()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROTATION_CHECK_SECONDS", "0"),
        ("ROTATION_STEP_SECONDS", "31"),
        ("ROTATION_COMMANDS", "hunter2-program"),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(name: str, value: str) -> None:
    """The error has the name of the setting; its value may be anything."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({**KEY, name: value})
    assert f"{name}: " in str(caught.value)
    assert "hunter2" not in str(caught.value)
