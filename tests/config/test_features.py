"""Settings that features bring, and the setting that switches features off."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from marshmallow import ValidationError, fields, validate

from vault.common import feature
from vault.config.fields import declared_in, setting
from vault.config.settings import Settings, declared, single
from vault.config.summary import summary
from vault.core.errors import SettingsError

KEY = {"MASTER_KEY": "exactly-thirty-two-characters-ok"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PigeonSettings:
    """Settings of a feature, with a rule."""

    pigeon_count: int = setting(
        fields.Integer(load_default=2, validate=validate.Range(0, 9)),
        "pigeons, 0 to 9",
        topic="Pigeons",
        is_protective=True,
    )
    pigeon_password: str | None = setting(
        fields.String(load_default=None), "what they say", is_secret=True, is_decisive=True
    )

    @staticmethod
    def check(raw: Mapping[str, str]) -> None:
        """Refuse a password for none."""
        if raw.get("PIGEON_COUNT") == "0" and "PIGEON_PASSWORD" in raw:
            raise ValidationError({"PIGEON_PASSWORD": ["needs pigeons."]})


@pytest.fixture(autouse=True)
def _features(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two features; one has settings."""
    pigeons = feature.Feature(name="pigeons", settings="tests.config.test_features:PigeonSettings")
    monkeypatch.setattr(feature, "features", lambda: (pigeons, feature.Feature(name="parrots")))


def load(**environment: str) -> Settings:
    return Settings.from_mapping({**KEY, **environment})


def message(**environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**environment)
    return str(caught.value)


def test_a_feature_reads_its_settings_by_their_class() -> None:
    """They have their defaults, or the values of the environment; no representation has a secret one."""
    assert load().of(PigeonSettings) == PigeonSettings()
    settings = load(PIGEON_COUNT="3", PIGEON_PASSWORD="hunter2")
    assert settings.of(PigeonSettings) == PigeonSettings(pigeon_count=3, pigeon_password="hunter2")
    assert "hunter2" not in repr(settings) + repr(settings.features)


def test_the_log_has_the_settings_of_features() -> None:
    """The summary has each by its name, a secret one without its value."""
    shown = summary(load(PIGEON_PASSWORD="hunter2"))
    assert (shown["PIGEON_COUNT"], shown["PIGEON_PASSWORD"]) == (2, "set")
    assert "FEATURES" not in shown


def test_the_settings_of_features_are_validated_with_the_others() -> None:
    """One message has all errors: of a form, of a rule, and of a name that is almost that of a setting."""
    assert message(PIGEON_COUNT="10").startswith("invalid settings: PIGEON_COUNT: ")
    found = message(PIGEON_COUNT="0", PIGEON_PASSWORD="hunter2", JWT_ISSUER="hunter2").splitlines()
    assert found[1:] == [
        "  JWT_ISSUER: requires JWT_JWKS_URL or JWT_PUBLIC_KEY.",
        "  PIGEON_PASSWORD: needs pigeons.",
    ]
    assert "PIGEON_COUNTS: has no effect. Did you mean PIGEON_COUNT?" in message(PIGEON_COUNTS="1")


def test_the_settings_of_features_can_be_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env`, files of values, warnings about those, and single settings are as for those of the core."""
    monkeypatch.chdir(tmp_path)
    Path("password").write_text("hunter2\n")
    Path("password").chmod(0o644)
    Path(".env").write_text("PIGEON_PASSWORD_FILE=password\nPIGEON_COUNT=4\n")
    monkeypatch.setattr(os, "environ", dict(KEY))
    settings = Settings.from_environment()
    assert settings.of(PigeonSettings) == PigeonSettings(pigeon_count=4, pigeon_password="hunter2")
    assert settings.dotenv == ("PIGEON_COUNT", "PIGEON_PASSWORD")
    assert settings.decisive_dotenv
    assert "PIGEON_PASSWORD_FILE" in settings.mistakes[0]
    assert single("PIGEON_COUNT") == 4


def test_features_are_off_by_name() -> None:
    """Only names of features can be off. The error has those, and does not quote the value."""
    assert load(FEATURES_OFF="parrots, pigeons").features_off == ("parrots", "pigeons")
    expected = "FEATURES_OFF: must be names of features, separated by commas. All are: pigeons, parrots."
    for wrong in ("hunter2", "parrots,hunter2", "parrots,"):
        assert message(FEATURES_OFF=wrong) == f"invalid settings: {expected}"
    assert "FEATURE_OFF: has no effect. Did you mean FEATURES_OFF?" in message(FEATURE_OFF="parrots")


def test_no_two_settings_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """No feature's setting has the name of another."""
    monkeypatch.undo()
    kinds = [Settings, *feature.settings()]
    assert sum(len(declared_in(kind)) for kind in kinds) == len(declared())
