"""The summary of its settings that a service logs at the start."""

import json
from base64 import b64encode
from dataclasses import fields
from pathlib import Path

import pytest

from tests.server.test_gunicorn_conf import log_lines
from tests.support.service import Service
from vault import __version__
from vault.app import _warn
from vault.common import feature
from vault.common.config.fields import declared_in, raw_in
from vault.common.config.settings import Settings
from vault.common.config.summary import summary

KEY = b64encode(bytes(range(32))).decode()
HUNTER = "hunter2"
WEAK = "00112233445566778899aabbccddeeff"


def shown(**environment: str) -> dict[str, object]:
    return summary(Settings.from_mapping({"MASTER_KEY": KEY, **environment}))


def test_every_setting_is_logged_as_json() -> None:
    """Each setting has its name and value: null if unset, `set` if secret."""
    result = shown(ALLOWED_NETWORKS="10.0.0.0/8, ::1/128", AUDIT_TTL_DAYS="0", AUTH_ENABLED="false")
    names = [
        name
        for kind in (Settings, *feature.settings())
        for name in (*declared_in(kind), *map(str.upper, raw_in(kind)))
    ]
    others = [name for name in (field.name.upper() for field in fields(Settings)) if name not in names]
    others.remove("FEATURES")
    assert list(result) == [*names, *others]
    assert json.loads(json.dumps(result)) == result
    assert (result["MASTER_KEY"], result["MASTER_KEY_FALLBACKS"]) == ("set", None)
    assert (result["AUDIT_TTL_DAYS"], result["AUTH_ENABLED"], result["RATE_LIMIT"]) == (0, False, None)
    assert result["ALLOWED_NETWORKS"] == ["10.0.0.0/8", "::1/128"]
    assert result["RATE_LIMIT_STORAGE_URI"] == "memory://"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://a", "mongodb://a:27017/"),
        ("mongodb://a:1,b:2/vault?replicaSet=rs0", "mongodb://a:1,b:2/vault"),
        (f"mongodb://{HUNTER}:{HUNTER}@a,b:7/x?authSource={HUNTER}", "mongodb://a:27017,b:7/x"),
        (f"mongodb://{HUNTER}:{HUNTER}%40%2F@[::1]:5", "mongodb://[::1]:5/"),
        (f"mongodb://a/?authMechanism=PLAIN&appName={HUNTER}", "mongodb://a:27017/"),
        (f"mongodb+srv://{HUNTER}:{HUNTER}@cluster.example.com/x", "mongodb+srv://cluster.example.com/x"),
    ],
)
def test_a_connection_string_shows_hosts_and_database(uri: str, expected: str) -> None:
    """MongoDB's hosts and database are logged; user, password and options are not."""
    result = shown(MONGO_URI=uri, RATE_LIMIT_STORAGE_URI=uri)
    assert (result["MONGO_URI"], result["RATE_LIMIT_STORAGE_URI"]) == (expected, expected)


@pytest.mark.promise(2)
def test_no_secret_is_logged() -> None:
    """The summary contains no key, and no password or token of an address."""
    key = b64encode(HUNTER.ljust(32, "!").encode()).decode()
    text = json.dumps(shown(MASTER_KEY_FALLBACKS=key))
    assert key not in text
    assert KEY not in text


@pytest.mark.promise("processes")
@pytest.mark.process
def test_a_start_is_logged_once(environment: dict[str, str], tmp_path: Path) -> None:
    """The log of a service begins with its version and settings, and its warnings, once for all workers.

    It names the settings in `.env`, says who can read secrets without required authentication, and has no
    part of a guessable key.
    """
    (tmp_path / ".env").write_text("TRUSTED_PROXIES=10.0.0.0/8\nLOG_LEVEL=info\n")
    service = Service(
        {**environment, "MASTER_KEY": WEAK, "AUDIT_TTL_DAYS": "7"}, measured=True, folder=tmp_path
    )
    service._environment["BIND"] = f"0.0.0.0:{service.port}"
    with service:
        service.wait_until_started()
        assert service.stop() == 0
    lines = log_lines(service)
    [first] = [line for line in lines if line["message"] == "starting"]
    assert (first["level"], first["version"], first["settings"]["AUDIT_TTL_DAYS"]) == ("info", __version__, 7)
    assert first == lines[0]
    # A slow MongoDB and one without redundancy are warnings, too, as is each 503 to a probe of a slow start.
    others = ("vault.toolkit.http.request_log", "vault.core.documents.guard", "vault.core.services")
    dotenv, access, key = (
        line for line in lines if line["level"] == "warning" and line["logger"] not in others
    )
    assert (dotenv["message"], dotenv["names"]) == ("settings from .env", ["TRUSTED_PROXIES", "LOG_LEVEL"])
    assert dotenv["file"] == str(tmp_path / ".env")
    assert "is not a loopback address: anyone" in access["message"]
    assert key["message"].startswith("weak master key: MASTER_KEY is 32 hexadecimal digits")
    assert WEAK[:8] not in service.log.read_text()


@pytest.mark.promise("processes")
def test_a_private_service_has_other_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Without a setting that decides on access, `.env` is no warning; on loopback, this machine can read."""
    dotenv = {"REQUEST_TIMEOUT_SECONDS": "9"}
    with caplog.at_level("INFO"):
        _warn(Settings.from_mapping({"MASTER_KEY": KEY, "BIND": "127.0.0.1:1"}, dotenv=dotenv))
    result = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert result == [
        ("INFO", "settings from .env"),
        ("WARNING", "AUTH_ENABLED is off: anyone on this machine who knows an ID can read that secret"),
    ]


@pytest.mark.promise("processes")
def test_a_service_that_requires_credentials_has_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said about access where every request needs a credential."""
    _warn(Settings.from_mapping({"MASTER_KEY": KEY, "BIND": "127.0.0.1:1", "AUTH_ENABLED": "true"}))
    assert not caplog.records
