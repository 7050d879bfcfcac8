"""Valid settings in the environment, and the messages for invalid ones."""

import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.support.features import tables
from vault.cli import commands
from vault.common import feature
from vault.common.config.settings import Settings, declared, mongo_uri
from vault.common.errors import SettingsError

KEY = bytes(range(200, 232))
KEY_TEXT = b64encode(KEY).decode()
RAW_KEY = "exactly-thirty-two-characters-ok"


def load(**environment: str) -> Settings:
    return Settings.from_mapping({"MASTER_KEY": KEY_TEXT, **environment})


def message(**environment: str) -> str:
    """Return the message for these settings, with each invalid one in its own line."""
    with pytest.raises(SettingsError) as caught:
        load(**environment)
    return str(caught.value).replace("invalid settings: ", "invalid settings:\n  ")


def test_only_the_master_key_is_required() -> None:
    """With only a master key, every setting has its documented default."""
    settings = load()
    assert settings == Settings(
        master_key=KEY,
        master_key_fallbacks=(),
        mongo_uri="mongodb://localhost:27017",
        audit_enabled=True,
        audit_ttl_days=0,
        audit_sink=None,
        audit_sink_required=True,
        max_secret_bytes=65_536,
        max_versions=10,
        delete_recovery_days=0,
        token_max_days=0,
        auth_enabled=False,
        rate_limit=None,
        failed_auth_limit="30/minute",
        rate_limit_storage_uri="memory://",
        bind="0.0.0.0:8000",
        metrics_bind=None,
        web_concurrency=2,
        max_connections=1_000,
        max_connections_per_address=500,
        request_timeout_seconds=10,
        features_off=(),
        tls_cert=None,
        tls_key=None,
        tls_client_ca=None,
        trusted_proxies=(),
        allowed_networks=(),
        allowed_hosts=(),
        cors_origins=(),
        log_level="info",
        tracing=False,
        features={kind: kind() for kind in feature.settings()},
    )


def test_an_address_gets_half_of_all_connections() -> None:
    """Unless it is set, the limit for an address follows the one for all addresses."""
    assert load(MAX_CONNECTIONS="11").max_connections_per_address == 5
    assert load(MAX_CONNECTIONS="11", MAX_CONNECTIONS_PER_ADDRESS="200").max_connections_per_address == 200


def test_a_missing_master_key_names_the_command_for_one() -> None:
    """The error for a missing key has a command that creates one, and its output works."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({})
    command = re.search(r"MASTER_KEY: is required: .* new one .* `secret-manager (.*)`", str(caught.value))
    assert command is not None
    made = CliRunner().invoke(commands, command[1].split())
    assert len(Settings.from_mapping({"MASTER_KEY": made.output.strip()}).master_key) == 32


@pytest.mark.parametrize(
    "key", ["short", b64encode(bytes(31)).decode(), "é" * 32, KEY_TEXT + "\n", " " + KEY_TEXT, "=" * 44]
)
def test_any_other_key_is_refused(key: str) -> None:
    """A key that is neither base64 of 32 bytes nor 32 characters stops the start, and is not shown."""
    text = message(MASTER_KEY=key)
    assert "MASTER_KEY: must be the base64 of 32 bytes" in text
    assert key not in text


def test_every_invalid_setting_is_named_at_once() -> None:
    """One start names every invalid setting, none with its value."""
    wrong = {
        "MASTER_KEY": "hunter2-key",
        "MASTER_KEY_FALLBACKS": "hunter2-fallback",
        "MONGO_URI": "mongodb://user:hunter2@password@host",
        "AUDIT_ENABLED": "hunter2-perhaps",
        "AUDIT_TTL_DAYS": "-1",
        "AUDIT_SINK": "syslog://user:hunter2@host",
        "AUDIT_SINK_REQUIRED": "hunter2-perhaps",
        "MAX_SECRET_BYTES": "hunter2-many",
        "AUTH_ENABLED": "hunter2-perhaps",
        "RATE_LIMIT": "hunter2/minute",
        "FAILED_AUTH_LIMIT": "hunter2",
        "RATE_LIMIT_STORAGE_URI": "redis://:hunter2@host",
        "BIND": "hunter2-where",
        "METRICS_BIND": "hunter2-where",
        "WEB_CONCURRENCY": "0",
        "MAX_CONNECTIONS": "9",
        "MAX_CONNECTIONS_PER_ADDRESS": "0",
        "TLS_CERT": "/hunter2.crt",
        "TLS_KEY": "/hunter2.key",
        "TRUSTED_PROXIES": "hunter2-everyone",
        "ALLOWED_NETWORKS": "hunter2-everywhere",
        "CORS_ORIGINS": "hunter2.example",
        "LOG_LEVEL": "hunter2-loud",
        **{name: value for some in tables("INVALID_SETTINGS") for name, value in some.items()},
    }
    text = message(**wrong)
    assert re.findall(r"^  ([A-Z_]+): \S", text, re.MULTILINE) == sorted(wrong)
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "names a file that does not exist."),
        (b"\xff\xfe", "does not name a readable text file."),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A missing file differs from one that is not text, in an error of the setting that names it."""
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert f"LOG_LEVEL: LOG_LEVEL_FILE {reason}" in message(LOG_LEVEL_FILE=str(file))


def test_a_file_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the service's user cannot read differs from a missing one."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError

    # Root can read every file.
    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(Path, "read_text", denied)
    reason = "MASTER_KEY_FILE names a file that the service's user cannot read"
    with pytest.raises(SettingsError, match=reason):
        Settings.from_mapping({"MASTER_KEY_FILE": str(tmp_path)})


@pytest.mark.parametrize("name", ["MASTER_KEY", "MASTER_KEY_FALLBACKS", "MONGO_URI"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    """An empty file, such as of a failed command, is distinguished from a wrong value."""
    file = tmp_path / "file"
    for content in ("", "\n"):
        file.write_text(content)
        with pytest.raises(SettingsError, match=f"{name}: {name}_FILE names an empty file."):
            Settings.from_mapping({f"{name}_FILE": str(file)})


def test_a_wrong_value_in_a_dotenv_file_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message for a wrong value says that it is in `.env`, and only then."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AUDIT_TTL_DAYS=hunter2\nMONGO_URI=hunter2\n")
    monkeypatch.setattr(os, "environ", {"MASTER_KEY": KEY_TEXT, "LOG_LEVEL": "loud"})
    place = f" It is set in {tmp_path / '.env'}."
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment()
    days, level, uri = str(refused.value).splitlines()[1:]
    assert (days.endswith(place), level.endswith(place), uri.endswith(place)) == (True, False, True)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsError, match=re.escape(place)):
        mongo_uri()
    (tmp_path / ".env").write_text("MONGO_URI_FILE=/nowhere/hunter2\n")
    with pytest.raises(SettingsError, match=re.escape(place)):
        mongo_uri()


def test_an_empty_value_counts_as_unset() -> None:
    """An empty variable, as deployments set optional ones, gives the default; `INFO` equals `info`."""
    assert load(AUDIT_TTL_DAYS="", MASTER_KEY_FALLBACKS="", LOG_LEVEL_FILE="", LOG_LEVEL="INFO") == load()


def test_a_dotenv_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in the working folder's `.env` apply unless the environment sets them."""
    (tmp_path / ".env").write_text(f"MASTER_KEY={KEY_TEXT}\nAUDIT_TTL_DAYS=7\nLOG_LEVEL=debug\n")
    level = tmp_path / "level"
    level.write_text("error")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"AUDIT_TTL_DAYS": "9", "LOG_LEVEL_FILE": str(level)})
    settings = Settings.from_environment()
    assert (settings.master_key, settings.audit_ttl_days, settings.log_level) == (KEY, 9, "error")


def test_an_unreadable_dotenv_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable `.env` stops the start with a message, not a traceback."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"\.env: is not a readable text file"):
        Settings.from_environment()


def test_trusted_proxies_are_networks() -> None:
    """Trusted proxies are networks; a single address is a network of one."""
    networks = load(TRUSTED_PROXIES="10.0.0.0/8, fd00::/8,192.0.2.1").trusted_proxies
    assert [str(network) for network in networks] == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]


@pytest.mark.promise(2)
def test_no_representation_shows_a_secret_setting() -> None:
    """The `repr` of settings, as in debuggers and logs, contains no key or password."""
    uri = "mongodb://user:hunter2@host"
    shown = repr(load(MONGO_URI=uri, RATE_LIMIT_STORAGE_URI=uri, MASTER_KEY_FALLBACKS=RAW_KEY))
    for secret in ("hunter2", RAW_KEY, repr(KEY)[2:-1]):
        assert secret not in shown


setting_names = st.sampled_from(sorted(declared()))
_LOOKALIKES = ("mongodb://", "mongodb://host/?", "http://[", "::1/128", "1/day", ":0", ".", "/", "0", "true")
setting_values = st.text(max_size=60) | st.sampled_from([RAW_KEY, *_LOOKALIKES])


@pytest.mark.promise(2)
@given(
    plain=st.dictionaries(setting_names, setting_values),
    files=st.dictionaries(setting_names, setting_values, max_size=2),
)
def test_any_refusal_names_the_setting_and_quotes_nothing(
    plain: dict[str, str], files: dict[str, str]
) -> None:
    """Any value, or file name, of any setting gives settings or an error that names it."""
    environment = {"MASTER_KEY": RAW_KEY, **plain, **{f"{name}_FILE": value for name, value in files.items()}}
    try:
        Settings.from_mapping(environment)
    except SettingsError as error:
        heading, *lines = str(error).replace("invalid settings: ", "invalid settings:\n").splitlines()
        assert heading == "invalid settings:"
        assert {line.split(":")[0].strip() for line in lines} <= declared().keys()
        for value in environment.values():
            # Hypothesis takes shorter texts from the source, such as parts of the messages.
            assert len(value) <= 20 or value not in str(error)


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def test_hosts_are_names_and_addresses() -> None:
    """Hosts are lower-case names and addresses; other texts, such as URLs, ports and `*`, are refused."""
    hosts = load(ALLOWED_HOSTS="Vault.Example.com, 10.0.0.1,[::1]").allowed_hosts
    assert hosts == ("vault.example.com", "10.0.0.1", "[::1]")
    for text in ("localhost:80", "http://a", "*", "a,", "::1", "[::1", "[x]", "[0:0::1]", "a b", "-a"):
        assert "ALLOWED_HOSTS: must be host names or addresses" in message(ALLOWED_HOSTS=text)


_RAW_IN_LIST = "MASTER_KEY_FALLBACKS: each must be the base64 of 32 bytes"


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (
            {"AUDIT_SINK": "syslog://host", "AUDIT_ENABLED": "false"},
            "AUDIT_SINK: requires AUDIT_ENABLED=true.",
        ),
        ({"MASTER_KEY_FILE": "/any"}, "MASTER_KEY: set either MASTER_KEY or MASTER_KEY_FILE, not both."),
        ({"MAX_VERSIONS": "240"}, "MAX_VERSIONS: times (MAX_SECRET_BYTES + 256) must be at most 15728640."),
        (
            {"MAX_VERSIONS": "15", "MAX_SECRET_BYTES": "1048576"},
            "MAX_VERSIONS: times (MAX_SECRET_BYTES + 256)",
        ),
        ({"MASTER_KEY_FALLBACKS": f"{KEY_TEXT},a key, and a comma, 32 letters!!"}, _RAW_IN_LIST),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_contradiction_is_explained(environment: dict[str, str], text: str) -> None:
    """Settings that contradict each other, and a raw key that a list would split, are refused."""
    found = message(**environment)
    assert f"  {text}" in found
    assert "32 letters" not in found


def test_the_largest_numbers_of_versions_fit() -> None:
    """As many versions as fit into one MongoDB document are accepted."""
    for versions, size in (("14", "1048576"), ("1000", "15472"), ("239", "65536")):
        assert load(MAX_VERSIONS=versions, MAX_SECRET_BYTES=size).max_versions == int(versions)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TLS_CERT": "/a"}, "TLS_KEY"),
        ({"TLS_KEY": "/a"}, "TLS_CERT"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_inconsistent_settings_are_refused(environment: dict[str, str], name: str) -> None:
    """TLS needs a certificate and its key."""
    assert re.findall(r"^  ([A-Z_]+): \S", message(**environment), re.MULTILINE) == [name]


@pytest.mark.promise("processes")
@pytest.mark.parametrize(
    "raw",
    [
        "a key, and a comma, 32 letters!!",
        " a key of 32 characters, spaces ",
        "," * 3 + "ordinary raw key, 32 bytes!!!",
    ],
    ids=["comma", "edge spaces", "leading commas"],
)
def test_every_raw_key_can_become_a_fallback(raw: str, tmp_path: Path) -> None:
    """Any key of 32 characters can be a fallback: alone unchanged, in a list as base64."""
    assert len(raw) == 32
    assert load(MASTER_KEY=raw).master_key == raw.encode()
    assert load(MASTER_KEY_FALLBACKS=raw).master_key_fallbacks == (raw.encode(),)
    file = tmp_path / "key"
    # One trailing newline is stripped.
    file.write_text(raw + "\n")
    assert load(MASTER_KEY_FALLBACKS_FILE=str(file)).master_key_fallbacks == (raw.encode(),)
    file.write_text(raw[:-1] + "\n\n")
    assert Settings.from_mapping({"MASTER_KEY_FILE": str(file)}).master_key == (raw[:-1] + "\n").encode()
    several = f"{KEY_TEXT}, {b64encode(raw.encode()).decode()}"
    assert load(MASTER_KEY_FALLBACKS=several).master_key_fallbacks == (KEY, raw.encode())


TRIVIAL = [
    "x" * 32,
    "ab" * 16,
    "0123" * 8,
    b64encode(bytes(32)).decode(),
    b64encode(b"\1\2\3\4" * 8).decode(),
]


@pytest.mark.promise("processes")
@pytest.mark.parametrize("key", TRIVIAL)
def test_a_trivial_key_encrypts_nothing_and_can_be_rotated_away(key: str) -> None:
    """A guessable key is refused as MASTER_KEY, with a remedy, and accepted as a fallback."""
    text = message(MASTER_KEY=key)
    assert "MASTER_KEY: is too easy to guess" in text
    assert "secret-manager keys generate" in text
    assert "MASTER_KEY_FALLBACKS" in text
    assert key not in text
    fallback = load(MASTER_KEY_FALLBACKS=key)
    assert len(fallback.master_key_fallbacks) == 1
    assert "anyone can guess it" in fallback.weak_keys[0]


@pytest.mark.promise("processes")
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("00112233445566778899aabbccddeeff", "128 bits"),
        (b64encode(b"00112233445566778899AABBCCDDEEFF").decode(), "128 bits"),
        (b64encode(bytes(range(24))).decode(), "192 bits"),
        (b64encode(bytes(range(22))).decode(), "192 bits"),
    ],
)
def test_a_weak_key_gets_a_warning(key: str, words: str) -> None:
    """A key with less entropy than its length works, with a warning that has only the setting's name."""
    [primary] = load(MASTER_KEY=key).weak_keys
    assert primary.startswith("MASTER_KEY is ")
    assert words in primary
    [fallback] = load(MASTER_KEY_FALLBACKS=key).weak_keys
    assert fallback.startswith("a key of MASTER_KEY_FALLBACKS is ")
    assert key not in primary + fallback


@given(st.binary(min_size=32, max_size=32))
def test_no_other_key_is_called_weak(key: bytes) -> None:
    """Keys of other forms cause no warning."""
    if len(set(key)) > 4 and not key.isascii():
        assert load(MASTER_KEY=b64encode(key).decode()).weak_keys == ()


def dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch, content: str, **environment: str) -> Path:
    """Create a `.env` in *folder* and go there, with *environment* and a master key."""
    file = folder / ".env"
    file.write_text(content)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "environ", {"MASTER_KEY": KEY_TEXT, **environment})
    return file


def test_the_settings_of_a_dotenv_file_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings list the ones from `.env`, without overridden and unset ones."""
    content = "AUDIT_ENABLED=false\nBIND=127.0.0.1:1\nLOG_LEVEL_FILE=level\nRATE_LIMIT=\nOTHER=1\n"
    dotenv(tmp_path, monkeypatch, content, BIND="127.0.0.1:2")
    (tmp_path / "level").write_text("debug")
    settings = Settings.from_environment()
    assert settings.dotenv == ("AUDIT_ENABLED", "LOG_LEVEL")
    assert settings.decisive_dotenv
    assert not load().dotenv
    assert not load().decisive_dotenv


@pytest.mark.promise("processes")
def test_a_world_writable_dotenv_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` that any user of the machine could have written stops the start, with the remedy."""
    file = dotenv(tmp_path, monkeypatch, "BIND=127.0.0.1:1\n")
    file.chmod(0o666)
    with pytest.raises(SettingsError, match=r"\.env: is writable by everyone.*chmod o-w"):
        Settings.from_environment()
    with pytest.raises(SettingsError, match=r"\.env: is writable by everyone"):
        mongo_uri()
    file.chmod(0o664)
    assert Settings.from_environment().bind == "127.0.0.1:1"


@pytest.mark.promise("processes")
def test_a_dotenv_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` of another user, except root, is refused."""
    file = dotenv(tmp_path, monkeypatch, "BIND=127.0.0.1:1\n")
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert Settings.from_environment().bind == "127.0.0.1:1"
        os.chown(file, 1, 1)
        monkeypatch.setattr(os, "geteuid", lambda: 2)
    with pytest.raises(SettingsError, match=r"\.env: belongs to another user.*chown"):
        Settings.from_environment()
    # Nor does a FIFO, and no one waits for what its owner writes.
    file.unlink()
    os.mkfifo(file)
    if owner == 0:
        os.chown(file, 1, 1)
    with pytest.raises(SettingsError, match=r"\.env: belongs to another user"):
        Settings.from_environment()


@pytest.mark.promise("processes")
def test_a_dotenv_link_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if root has the file: `/proc` has one with the arguments that anyone gives a setuid program."""
    link = dotenv(tmp_path, monkeypatch, "")
    file = link.rename(tmp_path / "arguments")
    file.write_text("BIND=127.0.0.1:1\n")
    link.symlink_to(file)
    assert Settings.from_environment().bind == "127.0.0.1:1"
    if os.geteuid() == 0:
        os.chown(link, 1, 1, follow_symlinks=False)
    else:
        mine = link.lstat()
        other = os.stat_result((*mine[:4], mine.st_uid + 1, *mine[5:]))
        monkeypatch.setattr(Path, "lstat", lambda _: other)
    with pytest.raises(SettingsError, match=r"\.env: belongs to another user"):
        Settings.from_environment()


def test_a_folder_named_dotenv_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment in `.env` is not a settings file."""
    dotenv(tmp_path, monkeypatch, "").unlink()
    (tmp_path / ".env").mkdir()
    assert Settings.from_environment().dotenv == ()


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.9.9.9:80", True),
        ("localhost:80", True),
        ("[::1]:80", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("vault.example:80", False),
    ],
)
def test_a_service_without_authentication_on_a_public_address_is_open(bind: str, loopback: bool) -> None:
    """A service is open if it accepts other machines' callers without a credential."""
    assert load(BIND=bind).is_open is not loopback
    assert not load(BIND=bind, AUTH_ENABLED="true").is_open


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_the_metrics_have_their_own_port(bind: str) -> None:
    """Metrics cannot use the public port, even on another address of the machine."""
    assert "METRICS_BIND: must have a different port from BIND." in message(METRICS_BIND=bind)
    assert load(METRICS_BIND="127.0.0.1:9464", BIND=bind).metrics_bind == "127.0.0.1:9464"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BIND", address) for address in ("[::1]:8000", "localhost:1", "0.0.0.0:65535")),
        # It is not resolved at the start.
        ("MONGO_URI", "mongodb+srv://cluster.invalid"),
        *(("RATE_LIMIT", limit) for limit in ("100/minute", "10 per second;1000/hour", "5/2minutes")),
        *(("RATE_LIMIT_STORAGE_URI", uri) for uri in ("mongodb+srv://limits.invalid/counts", "memory://")),
        *(("AUDIT_SINK", uri) for uri in ("file:///tmp/with%20space", "unix:///dev/log", "syslog://host")),
        *(("AUDIT_SINK", uri) for uri in ("syslog://192.0.2.1:5514/", "syslog+tcp://[::1]:514")),
    ],
    ids=lambda value: value[:40],
)
def test_a_usable_value_is_kept(name: str, value: str) -> None:
    """Each form of a value that works is accepted unchanged."""
    assert getattr(load(**{name: value}), name.lower()) == value


_URIS = (
    *("mongodb://host/name.collection", "mongodb://host/?tls=true&tlsCAFile=/missing", "host:27017"),
    *("mongodb://host/?fsync=true", "mongodb://host/?replicaset=rs0&foo=bar"),
    "mongodb+srv://host/?readPreference=secondary&readPreferenceTags=dc:ny",
)
_SINKS = (
    *("/audit.jsonl", "file://audit.jsonl", "file://host/tmp/audit.jsonl", "file:///missing/audit.jsonl"),
    *("file:///", "file:///tmp/a%00b", "file:audit.jsonl", "unix://", "syslog://", "syslog://host:port"),
    *("syslog://host:0", "syslog://host/path", "syslog://host?x=y", "syslog://[::1", "https://host"),
    "syslog+tcp://user@host",
)
_ORIGINS = (
    *("app.example.com", "https://", "https://app.example.com/", "null", ",", "https://App.example.com"),
    *("https://app.example.com:443", "http://app.example.com:80", "https://app.example.com:65536"),
    *("https://user@app.example.com", "https://*.example.com", "ftp://app.example.com", "https://a..b."),
    *("*, https://app.example.com", "https://[::1", "https://[0::1]", "https://b\u00fccher.example"),
)
_NUMBERS = {
    "MAX_VERSIONS": ("0", "1001", "many", "1.5"),
    "DELETE_RECOVERY_DAYS": ("-1", "3651", "0.5"),
    "TOKEN_MAX_DAYS": ("-1", "3651", "0.5"),
    "MAX_SECRET_BYTES": ("0", "1048577"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BIND", address) for address in ("127.0.0.1:0", "127.0.0.1:65536", "::1:8000", "unix:/tmp/a:80")),
        *(("MONGO_URI", uri) for uri in _URIS),
        *(("AUDIT_SINK", uri) for uri in _SINKS),
        *(("CORS_ORIGINS", origins) for origins in _ORIGINS),
        *((name, value) for name, values in _NUMBERS.items() for value in values),
    ],
)
def test_an_unusable_value_is_refused(name: str, value: str) -> None:
    """A value that would fail later, in the running service, or never match, is refused at the start."""
    assert f"  {name}: " in message(**{name: value})


def test_origins_are_as_browsers_send_them() -> None:
    """Origins have a scheme, a host and a port unless it is the default, or are `*`."""
    origins = (
        "https://app.example.com:8443",
        "http://localhost:3000",
        "http://[::1]:8080",
        "https://a_b-c.d",
    )
    assert load(CORS_ORIGINS=", ".join(origins)).cors_origins == origins
    assert load(CORS_ORIGINS="*").cors_origins == ("*",)
