"""Rules about several settings."""

from collections.abc import Mapping
from typing import Any

import pytest

from vault.common.config import rules
from vault.common.config.settings import Settings
from vault.common.errors import SettingsError

KEY = {"MASTER_KEY": "exactly-thirty-two-characters-ok"}


@pytest.mark.parametrize(("name", "error"), [("AUDIT_TTL_DAYS", SettingsError), ("AUDIT_TTL_DAY", KeyError)])
def test_a_rule_about_an_invalid_setting_does_not_apply(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    """The message is about the setting itself. A rule about a setting that does not exist is a defect."""

    def rule(values: Mapping[str, Any]) -> None:
        assert values[name]

    monkeypatch.setattr(rules, "_VALUE_CHECKS", (rule,))
    with pytest.raises(error, match=name):
        Settings.from_mapping({**KEY, "AUDIT_TTL_DAYS": "many"})
