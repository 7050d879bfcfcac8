"""`config check`: every mistake in the settings at once, before a service has them."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Done, invoke
from tests.support.features import rows
from tests.system.test_tls import make

KEY = b64encode(bytes(range(200, 232))).decode()
#: Settings of a service about which nothing is to say.
GOOD = {"MASTER_KEY": KEY, "AUTH_ENABLED": "true"}

Check = Callable[..., Done]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Return a function that checks settings, in a folder of its own."""

    def run(*arguments: str, **environment: str) -> Done:
        return invoke("config", "check", *arguments, environment=environment, folder=tmp_path)

    return run


def found(done: Done, result: str) -> list[str]:
    """Return the texts with this result, each with its setting."""
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return [text for kind, text in lines if kind == result]


def test_good_settings_have_one_line(check: Check) -> None:
    """With settings about which nothing is to say, the exit code is 0."""
    done = check(**GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ok       the service would start with these settings\n"


#: What operators do before a deployment: the settings besides the good ones, and what the check says.
WRONG: list[tuple[dict[str, str], str]] = [
    # The key.
    ({"MASTER_KEY": ""}, "MASTER_KEY: is required"),
    ({"MASTER_KEY": "changeme"}, "MASTER_KEY: must be the base64 of 32 bytes"),
    ({"MASTER_KEY": "0123456789abcdef" * 4}, "MASTER_KEY: must be the base64 of 32 bytes"),
    ({"MASTER_KEY": "x" * 32}, "MASTER_KEY: is too easy to guess"),
    ({"MASTER_KEY_FILE": "/dev/null"}, "MASTER_KEY: set either MASTER_KEY or MASTER_KEY_FILE, not both."),
    ({"MASTER_KEY": "", "MASTER_KEY_FILE": "no"}, "MASTER_KEY: MASTER_KEY_FILE names a file that does not"),
    ({"MASTER_KEY": "", "MASTER_KEY_FILE": "/dev/null"}, "MASTER_KEY: MASTER_KEY_FILE names an empty file."),
    ({"MASTER_KEY_FALLBACKS": f"{KEY};{KEY}"}, "MASTER_KEY_FALLBACKS: each must be the base64 of 32 bytes"),
    # MongoDB.
    ({"MONGO_URI": "mongo:27017"}, "MONGO_URI: must be mongodb://…"),
    ({"MONGO_URI": "mongodb://u:p@ss@db"}, "MONGO_URI: must have user and password percent-encoded"),
    ({"MONGO_URI": "mongodb://u:p:ss/@db"}, "MONGO_URI: must have user and password percent-encoded"),
    ({"MONGO_URI": "mongodb://db/?retryWrite=true"}, "MONGO_URI: must be mongodb://…, without an option"),
    ({"MONGO_URI": "mongodb://db/?tls=true&tlsCAFile=/"}, "MONGO_URI: names a file that cannot be used."),
    ({"MONGO_URI": "mongodb://db/?maxStalenessSeconds=90"}, "MONGO_URI: must not set maxstalenessseconds"),
    (
        {"MONGO_URI": "mongodb://db/?tls=true&tlsCAFile=ca.pem"},
        "MONGO_URI: names a file that does not exist.",
    ),
    # Names.
    ({"AUTH_ENABLED": "", "AUTH_ENABLE": "true"}, "AUTH_ENABLE: has no effect. Did you mean AUTH_ENABLED?"),
    ({"ALLOWED_NETWORK": "10.0.0.0/8"}, "ALLOWED_NETWORK: has no effect. Did you mean ALLOWED_NETWORKS?"),
    ({"FEATURES_OFF": "rotations"}, "FEATURES_OFF: must be names of features"),
    # Values.
    ({"AUTH_ENABLED": "required"}, "AUTH_ENABLED: Not a valid boolean."),
    ({"AUDIT_TTL_DAYS": "90d"}, "AUDIT_TTL_DAYS: Not a valid integer."),
    ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY: Must be greater than or equal to 1"),
    ({"LOG_LEVEL": "verbose"}, "LOG_LEVEL: Must be one of: debug, info, warning, error."),
    ({"RATE_LIMIT": "100"}, "RATE_LIMIT: must be limits such as 100/minute"),
    ({"RATE_LIMIT_STORAGE_URI": "redis://cache"}, "RATE_LIMIT_STORAGE_URI: must be memory:// or the"),
    ({"BIND": "8000"}, "BIND: must be ADDRESS:PORT"),
    ({"TRUSTED_PROXIES": "proxy.internal"}, "TRUSTED_PROXIES: must be networks such as 10.0.0.0/8"),
    ({"ALLOWED_HOSTS": "https://vault.example"}, "ALLOWED_HOSTS: must be host names or addresses"),
    ({"CORS_ORIGINS": "app.example.com"}, "CORS_ORIGINS: must be origins such as"),
    ({"AUDIT_SINK": "/var/log/audit"}, "AUDIT_SINK: must be file:///PATH"),
    ({"AUDIT_SINK": "file:///nowhere/audit"}, "AUDIT_SINK: names a file in a folder that does not exist."),
    ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER: must be otlp or none."),
    # Contradictions.
    ({"MAX_VERSIONS": "1000"}, "MAX_VERSIONS: times (MAX_SECRET_BYTES + 256) must be at most"),
    ({"METRICS_BIND": "127.0.0.1:8000"}, "METRICS_BIND: must have a different port from BIND."),
    ({"AUDIT_SINK": "syslog://log", "AUDIT_ENABLED": "no"}, "AUDIT_SINK: requires AUDIT_ENABLED=true."),
    ({"TLS_CERT": "tls.crt"}, "TLS_KEY: is required, because TLS_CERT is set."),
]

WARNING: list[tuple[dict[str, str], str]] = [
    ({"AUTH_ENABLED": ""}, "AUTH_ENABLED is off, and 0.0.0.0:8000 is not a loopback address: anyone"),
    ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS is *: any web page can call the service"),
    ({"MONGO_URL": "mongodb://db"}, "MONGO_URL has no effect; did you mean MONGO_URI?"),
    ({"TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, "TRUSTED_PROXIES has every address: each client can"),
    ({"MASTER_KEY_FALLBACKS": KEY}, "MASTER_KEY is also in MASTER_KEY_FALLBACKS: a rotation needs a new"),
    ({"MASTER_KEY": "0123456789abcdef" * 2}, "weak master key: MASTER_KEY is 32 hexadecimal digits"),
]


@pytest.mark.parametrize(
    ("mistake", "said"), [*WRONG, *rows("WRONG_SETTINGS")], ids=lambda one: str(one)[:60]
)
def test_a_wrong_setting_is_found(check: Check, mistake: dict[str, str], said: str) -> None:
    """A setting with which the service would not start is named with the reason, and the exit code is 1."""
    done = check(**(GOOD | mistake))
    assert done.returncode == 1, done.stdout
    assert any(text.startswith(said) for text in found(done, "wrong")), done.stdout


@pytest.mark.parametrize(
    ("mistake", "said"), [*WARNING, *rows("DOUBTFUL_SETTINGS")], ids=lambda one: str(one)[:60]
)
def test_a_doubtful_setting_is_found(check: Check, mistake: dict[str, str], said: str) -> None:
    """A setting with which the service starts, and which looks like a mistake, gives the exit code 3."""
    done = check(**(GOOD | mistake))
    assert done.returncode == 3, done.stdout
    assert found(done, "warning")[0].startswith(said), done.stdout


def test_all_mistakes_are_found_at_once(check: Check) -> None:
    """Wrong values, contradictions, names and warnings are in one output, none with a value."""
    done = check(
        MASTER_KEY="hunter2",
        AUTH_ENABLE="hunter2",
        AUDIT_SINK="syslog://log",
        AUDIT_ENABLED="false",
        METRICS_BIND="127.0.0.1:8000",
        MAX_VERSIONS="hunter2",
        CORS_ORIGIN="hunter2",
    )
    assert done.returncode == 1
    wrong = [text.partition(":")[0] for text in found(done, "wrong")]
    assert wrong == ["AUDIT_SINK", "AUTH_ENABLE", "MASTER_KEY", "MAX_VERSIONS", "METRICS_BIND"]
    assert found(done, "warning") == ["CORS_ORIGIN has no effect; did you mean CORS_ORIGINS?"]
    assert "hunter2" not in done.stdout + done.stderr


def test_certificates_are_read(check: Check, tmp_path: Path) -> None:
    """The key of another certificate is wrong; an early expiry, or a key that all can read, is a warning."""
    pair, other = make(tmp_path, "a"), make(tmp_path, "b")
    done = check(**GOOD, TLS_CERT=str(pair.certificate), TLS_KEY=str(other.key))
    assert found(done, "wrong") == ["TLS_KEY: is not the key of the certificate in TLS_CERT."]
    pair.key.chmod(0o644)
    done = check(**GOOD, TLS_CERT=str(pair.certificate), TLS_KEY=str(pair.key))
    assert done.returncode == 3
    for_all, soon = found(done, "warning")
    assert for_all.startswith("all users of this machine can read the file that TLS_KEY names")
    assert soon.startswith("a certificate in TLS_CERT expires on ")


def test_health_checks_need_a_certificate_of_the_clients_authority(check: Check, tmp_path: Path) -> None:
    """A certificate of the service that its own authority for clients refuses is a warning."""
    authority, other = make(tmp_path, "authority"), make(tmp_path, "other")
    pair = make(tmp_path, "server", authority)
    tls = {"TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    said = "TLS_CLIENT_CA does not accept TLS_CERT, with which `secret-manager ready` asks: "
    for one, count in ((authority, 0), (other, 1)):
        warnings = found(check(**GOOD, **tls, TLS_CLIENT_CA=str(one.certificate)), "warning")
        assert sum(text.startswith(said) and len(text) > len(said) for text in warnings) == count


def test_json_has_an_object_for_each_finding(check: Check) -> None:
    """With `--json`, each finding is an object with its result, text and setting."""
    done = check("--json", **(GOOD | {"LOG_LEVEL": "loud", "MONGO_URL": "x"}))
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "result": "wrong",
            "text": "Must be one of: debug, info, warning, error.",
            "setting": "LOG_LEVEL",
        },
        {
            "result": "warning",
            "text": "MONGO_URL has no effect; did you mean MONGO_URI?",
            "setting": "",
        },
    ]


def test_a_dotenv_file_is_checked_as_the_service_reads_it(check: Check, tmp_path: Path) -> None:
    """Settings of `.env` count, a wrong one names the file, and a file that all may change is wrong."""
    file = tmp_path / ".env"
    file.write_text("LOG_LEVEL=loud\n")
    [wrong] = found(check(**GOOD), "wrong")
    assert wrong.endswith(f"It is set in {file}.")
    file.chmod(0o666)
    done = check(**GOOD)
    assert found(done, "wrong")[0].startswith(".env: is writable by everyone.")
    assert found(done, "ok") == []
    file.chmod(0o600)
    file.write_text("LOG_LEVEL=info\nBIND\nLOG_LEVEL=debug\n")
    done = check(**GOOD)
    assert (done.returncode, found(done, "warning")) == (
        3,
        [".env: line 2 is not of the form NAME=value", ".env: LOG_LEVEL is set 2 times"],
    )


def test_a_file_of_variables_is_checked_instead(check: Check, tmp_path: Path) -> None:
    """`--env-file` takes the place of `.env`; the environment precedes it, unless it is empty."""
    (tmp_path / ".env").write_text("LOG_LEVEL=loud\n")
    (tmp_path / "service.env").write_text(f"MASTER_KEY={KEY}\nAUTH_ENABLED=true\nAUDIT_TTL_DAYS=90d\n")
    done = check("--env-file", "service.env")
    assert found(done, "wrong") == ["AUDIT_TTL_DAYS: Not a valid integer."]
    assert check("--env-file", "service.env", AUDIT_TTL_DAYS="90", MASTER_KEY="").returncode == 0
    assert check("--env-file", "none.env").returncode == 2


def test_a_line_that_sets_nothing_is_wrong(check: Check, tmp_path: Path) -> None:
    """In a file of variables, each line that is not of the form NAME=value, or sets one again, is named."""
    (tmp_path / "service.env").write_text(
        "AUTH_ENABLED true\n\n# AUTH\nLOG_LEVEL\nBIND=127.0.0.1:1\nBIND=x:1\n"
    )
    done = check("--env-file", "service.env", **GOOD)
    assert found(done, "wrong") == [
        "line 1 is not of the form NAME=value",
        "line 4 is not of the form NAME=value",
        "BIND is set 2 times",
    ]
    assert found(done, "ok") == []


def test_files_can_be_elsewhere(check: Check) -> None:
    """With `--no-files`, a file that is not here is no mistake; everything else is checked."""
    elsewhere = {
        "MASTER_KEY": "",
        "MASTER_KEY_FILE": "/run/secrets/key",
        "MONGO_URI_FILE": "/run/secrets/uri",
        "TLS_CERT": "/run/secrets/cert",
        "TLS_KEY": "/run/secrets/tls_key",
        "AUDIT_SINK": "file:///nowhere/audit.jsonl",
    }
    assert len(found(check(**(GOOD | elsewhere)), "wrong")) == 5
    assert check("--no-files", **(GOOD | elsewhere)).returncode == 0
    done = check("--no-files", **(GOOD | elsewhere), CORS_ORIGINS="*", LOG_LEVEL="loud")
    assert found(done, "wrong") == ["LOG_LEVEL: Must be one of: debug, info, warning, error."]
    assert check("--no-files", MASTER_KEY="").returncode == 1
    assert check("--no-files", "--online", **GOOD).returncode == 2


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"RATE_LIMIT_STORAGE_URI_FILE": "/run/secrets/uri", "AUDIT_WITNESS_CA": "/run/secrets/ca"},
        *rows("SETTINGS_ELSEWHERE"),
    ],
    ids=lambda elsewhere: next(iter(elsewhere)),
)
def test_a_setting_in_a_file_elsewhere_is_not_missing(check: Check, elsewhere: dict[str, str]) -> None:
    """What other settings need can be in a file that is not here, such as a Docker secret."""
    done = check("--no-files", **(GOOD | elsewhere))
    assert (done.returncode, found(done, "wrong")) == (0, []), done.stdout
    missing = found(check(**(GOOD | elsewhere)), "wrong")
    assert missing
    assert all("names a file that does not exist." in text for text in missing)
