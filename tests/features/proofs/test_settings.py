"""Valid settings of witnesses, and the messages for invalid ones."""

import json

import pytest

from tests.common.config.test_settings import load, message
from vault.common.config.summary import summary
from vault.features.proofs.settings import WitnessSettings

_TIME_STAMPS = {"AUDIT_WITNESSES": "tsa+https://a.example"}
_URLS = (
    *("tsa+http://a.example", "witness+http://a.example", "https://a.example", "tsa+", "tsa+ftp://a.example"),
    *("tsa+https://user@a.example", "tsa+https://a.example#b", "witness+https://a.example?b"),
    *(",", "tsa+https://", "tsa+https://[::1%lo]"),
)


def test_every_setting_has_its_documented_default() -> None:
    """Without settings, there are no witnesses."""
    assert load().of(WitnessSettings) == WitnessSettings(
        audit_witnesses=(), audit_witness_minutes=60, audit_witness_token=None, audit_witness_ca=None
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("AUDIT_WITNESSES", urls) for urls in _URLS),
        *(("AUDIT_WITNESS_CA", path) for path in ("/missing", "/dev/null")),
    ],
)
def test_an_unusable_value_is_refused(name: str, value: str) -> None:
    """A value that would fail later, in the running service, is refused at the start."""
    assert f"  {name}: " in message(**{name: value})


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (_TIME_STAMPS | {"AUDIT_ENABLED": "false"}, "AUDIT_WITNESSES: requires AUDIT_ENABLED=true."),
        (
            {"AUDIT_WITNESSES": "witness+https://a.example,witness+https://b.example"},
            "AUDIT_WITNESSES: must have at most one witness+https://….",
        ),
        (
            {"AUDIT_WITNESSES": "witness+https://a.example"},
            "AUDIT_WITNESS_TOKEN: is required with witness+https://….",
        ),
    ],
)
def test_a_contradiction_is_explained(environment: dict[str, str], text: str) -> None:
    """Settings that contradict each other are refused."""
    assert f"  {text}" in message(**environment)


def test_time_stamps_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness for time stamps is refused at the start if the optional package is not installed."""
    urls = ("witness+https://b.example", "tsa+http://[::1]:1/a?b")
    settings = {"AUDIT_WITNESSES": ", ".join(urls), "AUDIT_WITNESS_TOKEN": "t"}
    assert load(**settings).of(WitnessSettings).audit_witnesses == urls
    monkeypatch.setattr("vault.features.proofs.settings.find_spec", lambda _: None)
    text = "AUDIT_WITNESSES: requires the extra witness of the package for tsa+https://…."
    assert text in message(**settings)


def test_credentials_are_not_logged() -> None:
    """Neither the log nor the settings' `repr` has the token, or the query of a URL."""
    urls = "tsa+https://a.example/b?key=hunter2,witness+https://c.example"
    settings = load(AUDIT_WITNESSES=urls, AUDIT_WITNESS_TOKEN="hunter2")
    result = summary(settings)
    assert result["AUDIT_WITNESSES"] == ["tsa+https://a.example/b", "witness+https://c.example"]
    assert result["AUDIT_WITNESS_TOKEN"] == "set"
    assert "hunter2" not in json.dumps(result) + repr(settings.of(WitnessSettings))
