"""The summary of its settings that a service logs at the start."""

import json
from base64 import b64encode
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_gunicorn_conf import log_lines
from tests.support.issuer import public_pem
from tests.support.service import Service
from vault import __version__
from vault.config.settings import Settings
from vault.config.summary import summary

KEY = b64encode(bytes(range(32))).decode()
HUNTER = "hunter2"


def shown(**environment: str) -> dict[str, object]:
    return summary(Settings.from_mapping({"MASTER_KEY": KEY, **environment}))


def test_every_setting_is_logged_as_json() -> None:
    """Each setting has its name and value: null if unset, `set` if secret."""
    told = shown(ALLOWED_NETWORKS="10.0.0.0/8, ::1/128", AUDIT_TTL_DAYS="0", AUTH_ENABLED="false")
    assert list(told) == [field.name.upper() for field in fields(Settings)]
    assert json.loads(json.dumps(told)) == told
    assert (told["MASTER_KEY"], told["MASTER_KEY_FALLBACKS"]) == ("set", None)
    assert (told["AUDIT_TTL_DAYS"], told["AUTH_ENABLED"], told["RATE_LIMIT"]) == (0, False, None)
    assert told["ALLOWED_NETWORKS"] == ["10.0.0.0/8", "::1/128"]
    assert told["RATE_LIMIT_STORAGE_URI"] == "memory://"


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
    told = shown(MONGO_URI=uri, RATE_LIMIT_STORAGE_URI=uri)
    assert (told["MONGO_URI"], told["RATE_LIMIT_STORAGE_URI"]) == (expected, expected)


@pytest.mark.promise(2)
def test_no_secret_is_logged() -> None:
    """The summary contains no key, and no password or token of an address."""
    key = b64encode(HUNTER.ljust(32, "!").encode()).decode()
    for source in (
        {"JWT_JWKS_URL": f"https://{HUNTER}:{HUNTER}@keys.example:8443/jwks?token={HUNTER}#{HUNTER}"},
        {"JWT_PUBLIC_KEY": public_pem()},
    ):
        jwt = {**source, "JWT_ISSUER": "issuer", "JWT_AUDIENCE": "audience"}
        told = shown(**jwt, MASTER_KEY_FALLBACKS=key)
        text = json.dumps(told)
        assert HUNTER not in text
        assert key not in text
        assert KEY not in text
        if "JWT_JWKS_URL" in source:
            assert told["JWT_JWKS_URL"] == "https://keys.example:8443/jwks"
        else:
            assert told["JWT_PUBLIC_KEY"] == "set"


@pytest.mark.process
def test_a_starting_service_logs_its_settings_once(environment: dict[str, str], tmp_path: Path) -> None:
    """The log of a service begins with its version and settings, once for all workers."""
    with Service({**environment, "AUDIT_TTL_DAYS": "7"}, measured=True, folder=tmp_path) as service:
        assert service.stop() == 0
    [line] = [line for line in log_lines(service) if line["message"] == "starting"]
    assert (line["level"], line["version"], line["settings"]["AUDIT_TTL_DAYS"]) == ("info", __version__, 7)
    assert line == log_lines(service)[0]


def warnings_of(service: Service) -> list[dict[str, Any]]:
    """Return the warnings that *service* logs at the start, and its line about a `.env`."""
    with service:
        service.wait_until_started()
        assert service.stop() == 0
    # A slow MongoDB and one without redundancy are warnings, too, as is each 503 to a probe of a slow start.
    others = ("vault.api.http.request_log", "vault.documents.guard", "vault.services")
    lines = [line for line in log_lines(service) if line["logger"] not in others]
    return [line for line in lines if line["level"] == "warning" or line["message"] == "settings from .env"]


@pytest.mark.promise("processes")
@pytest.mark.process
@pytest.mark.parametrize(
    ("content", "level"),
    [("TRUSTED_PROXIES=10.0.0.0/8\nLOG_LEVEL=info\n", "warning"), ("REQUEST_TIMEOUT_SECONDS=9\n", "info")],
)
def test_a_starting_service_names_its_dotenv_file(
    environment: dict[str, str], tmp_path: Path, content: str, level: str
) -> None:
    """The settings in `.env` are logged by name, as a warning if they concern access or the trail."""
    (tmp_path / ".env").write_text(content)
    service = Service({**environment, "AUTH_ENABLED": "true"}, measured=True, folder=tmp_path)
    [line] = warnings_of(service)
    assert (line["message"], line["level"]) == ("settings from .env", level)
    assert line["file"] == str(tmp_path / ".env")
    assert line["names"] == sorted((name.split("=")[0] for name in content.split()), reverse=True)


@pytest.mark.promise("processes")
@pytest.mark.process
@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("0.0.0.0", "is not a loopback address: anyone"),  # noqa: S104 - that is warned of
        ("127.0.0.1", "on this machine"),
    ],
)
def test_a_service_without_authentication_warns_at_every_start(
    environment: dict[str, str], tmp_path: Path, host: str, words: str
) -> None:
    """Each start without required authentication logs who can read secrets."""
    service = Service(environment, measured=True, folder=tmp_path)
    service._environment["BIND"] = f"{host}:{service.port}"
    [line] = warnings_of(service)
    assert line["message"].startswith("AUTH_ENABLED is off")
    assert words in line["message"]


@pytest.mark.promise("processes")
@pytest.mark.process
def test_a_service_with_a_weak_key_warns_at_every_start(environment: dict[str, str], tmp_path: Path) -> None:
    """Each start with a guessable key logs a warning, without any part of the key."""
    weak = "00112233445566778899aabbccddeeff"
    service = Service(
        {**environment, "MASTER_KEY": weak, "AUTH_ENABLED": "true"}, measured=True, folder=tmp_path
    )
    [line] = warnings_of(service)
    assert line["message"].startswith("weak master key: MASTER_KEY is 32 hexadecimal digits")
    assert weak[:8] not in service.log.read_text()
