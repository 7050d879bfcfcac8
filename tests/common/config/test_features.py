"""Settings that features bring, and the setting that switches features off."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from marshmallow import ValidationError, fields, validate

from vault.common import feature
from vault.common.config.fields import declared_in, raw, setting
from vault.common.config.settings import Settings, declared, single
from vault.common.config.summary import summary
from vault.common.errors import SettingsError
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, Principal
from vault.service.commands.context import opened_attempts

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

    pigeon_loft: str | None = setting(fields.String(load_default=None), "where the key is")
    #: What other programs call theirs.
    birds: Mapping[str, str] = raw(("DOVE_NAME", "DOVE_PIN"), secret=("DOVE_PIN",))

    @staticmethod
    def check(raw: Mapping[str, str]) -> None:
        """Refuse a password for none."""
        if raw.get("PIGEON_COUNT") == "0" and "PIGEON_PASSWORD" in raw:
            raise ValidationError({"PIGEON_PASSWORD": ["needs pigeons."]})


def with_keys(settings: Settings) -> Settings:
    """Return *settings* with the key in the loft."""
    assert settings.of(PigeonSettings).pigeon_loft
    return replace(settings, master_key=bytes(range(32)), keyring_file_digest="hash")


def attempts(principal: Principal, *, accepts: bool) -> list[Attempt]:
    """Return an attempt that records the opening."""
    return [Attempt(action=Action.KEY_OPENED, principal=principal, details={"accepts": accepts})]


@pytest.fixture(autouse=True)
def _features(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two features; one has settings."""
    pigeons = feature.Feature(
        name="pigeons",
        settings=f"{__name__}:PigeonSettings",
        opener=feature.Opener("PIGEON_LOFT", f"{__name__}:with_keys", f"{__name__}:attempts"),
    )
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
    found = message(PIGEON_COUNT="0", PIGEON_PASSWORD="hunter2", TLS_KEY="hunter2").splitlines()
    assert found[1:] == [
        "  PIGEON_PASSWORD: needs pigeons.",
        "  TLS_CERT: is required, because TLS_KEY is set.",
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


def test_settings_of_other_programs_are_taken_as_they_are(tmp_path: Path) -> None:
    """A feature has those that are set, in either form; the log has their names, and nothing a value."""
    pin = tmp_path / "pin"
    pin.write_text("hunter2\n")
    pin.chmod(0o644)
    settings = load(DOVE_PIN_FILE=str(pin))
    assert settings.of(PigeonSettings).birds == {"DOVE_PIN": "hunter2"}
    assert (summary(settings)["BIRDS"], summary(load())["BIRDS"]) == (["DOVE_PIN"], [])
    assert "hunter2" not in repr(settings.features)
    assert "DOVE_PIN_FILE" in settings.mistakes[0]
    assert "DOVE_PIN: DOVE_PIN_FILE names" in message(DOVE_PIN_FILE="missing")
    assert load(DOVE_NAMES="b").mistakes == ("DOVE_NAMES has no effect; did you mean DOVE_NAME?",)


def test_a_feature_opens_the_keys() -> None:
    """Its setting takes the place of both keys, which it returns when they are asked for, with a record."""
    settings = Settings.from_mapping({"PIGEON_LOFT": "roof"})
    assert (settings.master_key, opened_attempts(settings)) == (b"", [])
    opened = settings.with_keys()
    assert opened.master_key == bytes(range(32))
    [attempt] = opened_attempts(opened, accepts=True)
    assert (attempt.principal, attempt.details) == (OPERATOR, {"accepts": True})
    text = message(PIGEON_LOFT="roof", MASTER_KEY_FALLBACKS=KEY["MASTER_KEY"])
    for name in ("MASTER_KEY", "MASTER_KEY_FALLBACKS"):
        assert f"  {name}: cannot be set together with PIGEON_LOFT." in text
    assert load().with_keys() == load()


def test_at_most_one_feature_opens_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no order of several."""
    monkeypatch.undo()
    assert len(feature.openers()) <= 1


def test_no_two_settings_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """No feature's setting has the name of another."""
    monkeypatch.undo()
    kinds = [Settings, *feature.settings()]
    assert sum(len(declared_in(kind)) for kind in kinds) == len(declared())
