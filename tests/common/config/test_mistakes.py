"""Likely mistakes in valid settings: named in a warning, without a value."""

import os
from pathlib import Path

import pytest

from vault.app import _warn
from vault.common.config import mistakes
from vault.common.config.settings import Settings, declared
from vault.common.errors import SettingsError

KEY = "exactly-thirty-two-characters-ok"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTH_ENABLE", "AUTH_ENABLED"),
        ("AUTH-ENABLED", "AUTH_ENABLED"),
        ("auth_enabled", "AUTH_ENABLED"),
        ("bind", "BIND"),
        ("AUDIT_TTL", "AUDIT_TTL_DAYS"),
        ("MONGO_URL", "MONGO_URI"),
        ("MONGODB_URI", "MONGO_URI"),
        ("MONGO_URL_FILE", "MONGO_URI_FILE"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("MASTER_KEYS_FILE", "MASTER_KEY_FILE"),
        ("MASTER_KEYFILE", "MASTER_KEY_FILE"),
        ("MONGO_URIFILE", "MONGO_URI_FILE"),
        ("TLS_CERTS", "TLS_CERT"),
        ("TLS_KEYFILE", "TLS_KEY"),
        ("TLS_CERTIFICATE", "TLS_CERT"),
        ("ENABLE_AUTH", "AUTH_ENABLED"),
        ("AUTHENTICATION_ENABLED", "AUTH_ENABLED"),
        ("ENABLED_AUDIT", "AUDIT_ENABLED"),
    ],
)
def test_a_near_miss_is_named(name: str, meant: str) -> None:
    """A variable that is close to a setting is found with the setting."""
    given = {} if meant.startswith("MASTER") else {"MASTER_KEY": KEY}
    used = {"MASTER_KEY"} - ({"MASTER_KEY"} if not given else set())
    found = list(mistakes.near_misses([name, *given], declared(), used))
    assert found == [(name, meant)]


def test_a_near_miss_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The service warns of it at its start, except if the setting is set or the variable is empty."""
    dotenv = {"CORS_ORIGIN": "hunter2", "MONGO_URL": "hunter2", "LOG_LEVELS": ""}
    _warn(Settings.from_mapping({"MASTER_KEY": KEY, "MONGO_URI": "mongodb://host"}, dotenv=dotenv))
    said = [record.getMessage() for record in caplog.records if "check the settings" in record.getMessage()]
    assert said == ["check the settings: CORS_ORIGIN has no effect; did you mean CORS_ORIGINS?"]


@pytest.mark.parametrize("source", ["environment", "dotenv"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTH_ENABLE", "AUTH_ENABLED"),
        ("auth_enabled", "AUTH_ENABLED"),
        ("AUDIT_SINKS", "AUDIT_SINK"),
        ("AUDIT_ENABLE_FILE", "AUDIT_ENABLED_FILE"),
        ("TLS_CLIENT_CAS", "TLS_CLIENT_CA"),
        ("ALLOWED_NETWORK", "ALLOWED_NETWORKS"),
        ("RATE_LIMITS", "RATE_LIMIT"),
        ("TOKEN_MAX_DAY", "TOKEN_MAX_DAYS"),
        ("DELETE_RECOVERY", "DELETE_RECOVERY_DAYS"),
    ],
)
def test_a_near_miss_of_a_setting_that_protects_stops_the_start(name: str, meant: str, source: str) -> None:
    """The settings are refused, with both names and without the value, unless the setting itself is set."""
    given = {"environment": {"MASTER_KEY": KEY}, "dotenv": {}}
    given[source][name] = "hunter2"
    with pytest.raises(SettingsError) as refused:
        Settings.from_mapping(given["environment"], dotenv=given["dotenv"])
    assert f"{name}: has no effect. Did you mean {meant}?" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_near_miss_next_to_its_setting_is_no_mistake() -> None:
    """If the setting itself is set, another program may use the other variable."""
    Settings.from_mapping({"MASTER_KEY": KEY, "AUTH_ENABLED": "true", "AUTH_ENABLE": "true"})


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOST", "BINDIR", "LOG", "KEY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "VAULT_TOKEN"),
        *(
            "OTEL_SERVICE_NAME",
            "MONGO_PORT_27017_TCP",
            "MONGO_SERVICE_HOST",
            "GF_LOG_LEVEL",
            "TRUSTED",
            "TLS",
        ),
        *("SECRET_MANAGER_TOKEN_FILE", "PROMETHEUS_MULTIPROC_DIR", "JWT", "AUDIT", "_", "", "JWT_SECRET"),
        *(
            "MASTER_KEY_SECRET",
            "REQUESTS_CA_BUNDLE",
            "MAX_FILE_SIZE",
            "KUBERNETES_SERVICE_PORT",
            "SECRET_KEY",
        ),
        *declared(),
        *(f"{name}_FILE" for name in declared()),
    ],
)
def test_an_unrelated_variable_is_not_named(name: str) -> None:
    """Other programs' variables, and settings themselves, get no warning."""
    assert list(mistakes.near_misses([name], declared(), ())) == []


@pytest.mark.parametrize("name", ["MASTER_KEY_FILE", "MASTER_KEY_FALLBACKS_FILE", "TLS_KEY"])
def test_a_key_file_that_others_can_read_is_named(tmp_path: Path, name: str) -> None:
    """A file with a key that every user can read is a mistake; one for owner and group is not."""
    file = tmp_path / "key"
    file.write_text(KEY)
    for mode, found in (
        (0o604, [f"all users of this machine can read the file that {name} names; run `chmod o-r` on it"]),
        (0o640, []),
    ):
        file.chmod(mode)
        assert list(mistakes.exposed_files({name: str(file)})) == found


def test_a_key_from_elsewhere_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that Docker mounts, pipes, files in memory and files that are gone get no warning."""
    file = tmp_path / "mounted" / "key"
    file.parent.mkdir()
    file.write_text(KEY)
    file.chmod(0o444)
    os.mkfifo(tmp_path / "pipe", 0o644)
    monkeypatch.setattr(mistakes, "_CONTAINER_SECRETS", file.parent)
    files = {"A": str(file), "B": str(tmp_path / "pipe"), "C": str(tmp_path / "gone")}
    assert list(mistakes.exposed_files(files)) == []
    memory = os.memfd_create("key")
    assert list(mistakes.exposed_files({"D": f"/proc/self/fd/{memory}"})) == []
    os.close(memory)


def test_the_files_of_the_settings_are_checked(tmp_path: Path) -> None:
    """The files of the master keys are those of the settings in effect, from `.env` too."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    for environment, dotenv in (({"MASTER_KEY_FILE": str(file)}, {}), ({}, {"MASTER_KEY_FILE": str(file)})):
        [found] = Settings.from_mapping(environment, dotenv=dotenv).mistakes
        assert "MASTER_KEY_FILE" in found
    assert Settings.from_mapping({"MASTER_KEY": KEY}).mistakes == ()
