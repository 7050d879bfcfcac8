"""The settings of custody."""

import os
from pathlib import Path

import pytest

from vault.common.config.settings import Settings
from vault.common.config.summary import summary
from vault.common.errors import SettingsError
from vault.features.custody.settings import CustodySettings, custody_settings, keyring_path
from vault.features.custody.wiring import with_keys

KEY = "exactly-thirty-two-characters-ok"


def message(**environment: str) -> str:
    """Return the message for these settings, with each invalid one in its own line."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(environment)
    return str(caught.value).replace("invalid settings: ", "invalid settings:\n  ")


def test_a_keyring_file_takes_the_place_of_both_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a keyring file, the settings have no key, and the secrets of its providers."""
    monkeypatch.chdir(tmp_path)
    Path("pin").write_text("1234\n")
    settings = Settings.from_mapping({"MASTER_KEYRING_FILE": "keyring.json", "PKCS11_PIN_FILE": "pin"})
    assert (settings.master_key, settings.weak_keys) == (b"", ())
    assert settings.of(CustodySettings).custody == {"PKCS11_PIN": "1234"}
    assert "1234" not in repr(settings) + repr(settings.features)
    assert (summary(settings)["MASTER_KEY"], summary(settings)["CUSTODY"]) == (None, ["PKCS11_PIN"])
    text = message(
        MASTER_KEY=KEY, MASTER_KEY_FALLBACKS=KEY, MASTER_KEYRING_FILE="f", TRANSIT_TOKEN_FILE="none"
    )
    for name in ("MASTER_KEY", "MASTER_KEY_FALLBACKS"):
        assert f"  {name}: cannot be set together with MASTER_KEYRING_FILE." in text
    assert "  TRANSIT_TOKEN: TRANSIT_TOKEN_FILE " in text
    for name in os.environ:
        if name.startswith(("MASTER", "PKCS11", "TRANSIT", "AWS")):
            monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match="MASTER_KEYRING_FILE: is required"):
        keyring_path()
    monkeypatch.setenv("MASTER_KEYRING_FILE", "keyring.json")
    monkeypatch.setenv("TRANSIT_TOKEN", "token")
    assert keyring_path() == Path("keyring.json")
    assert custody_settings() == {"TRANSIT_TOKEN": "token"}
    monkeypatch.setenv("TRANSIT_TOKEN_FILE", "pin")
    with pytest.raises(SettingsError, match="set either TRANSIT_TOKEN or TRANSIT_TOKEN_FILE"):
        custody_settings()


def test_all_users_may_not_read_a_pin(tmp_path: Path) -> None:
    """The files of a PIN and of a token are warned of as that of a key is."""
    pin = tmp_path / "pin"
    pin.write_text("1234")
    pin.chmod(0o644)
    found = Settings.from_mapping({"MASTER_KEYRING_FILE": "keyring.json", "PKCS11_PIN_FILE": str(pin)})
    assert "the file that PKCS11_PIN_FILE names" in found.mistakes[0]


def test_a_keyring_file_needs_the_feature() -> None:
    """With custody off, nothing would record that the file was opened, so the file is refused."""
    off = {"FEATURES_OFF": "custody"}
    expected = "MASTER_KEYRING_FILE: needs custody, which is in FEATURES_OFF."
    assert expected in message(MASTER_KEYRING_FILE="keyring.json", **off)
    assert Settings.from_mapping({"MASTER_KEY": KEY, **off}).master_key


def test_the_keys_of_the_settings_are_taken_without_a_file() -> None:
    """A command about the keyring file leaves the settings as they are if they name none."""
    settings = Settings.from_mapping({"MASTER_KEY": KEY})
    assert with_keys(settings) is settings
