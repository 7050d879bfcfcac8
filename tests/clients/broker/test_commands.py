"""The commands `broker`, `broker run` and `broker env`: options, start and end."""

import json
import signal
import socket
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.clients.broker import service as services
from tests.clients.broker.service import BROKER_TOKEN, SESSION, Rule, StubService
from tests.support.commands import run_command, start_command
from vault.cli import commands
from vault.clients.broker.authority import CertificateAuthority
from vault.clients.broker.environment import bundled
from vault.clients.dev.mongod import free_port
from vault.common.observability import logs

URL = "http://127.0.0.1:1"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Return a file with the broker's token; beside it, `session` has one of a session."""
    (tmp_path / "session").write_text(f"{SESSION}\n")
    path = tmp_path / "token"
    path.write_text(f"{BROKER_TOKEN}\n")
    return path


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the logging of this process as it is."""
    monkeypatch.setattr(logs, "configure", lambda _: None)


def run(*arguments: object) -> Result:
    """Run the command in this process, with options that end it immediately."""
    return CliRunner().invoke(commands, ["broker", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "Set --url and --token-file"),
        (["--url", URL], "Set --url and --token-file"),
        (["--listen", "3128"], "must be ADDRESS:PORT"),
        (["--listen", "0.0.0.0:3128"], "Add --tls-cert and --tls-key, or --plain"),
        (["--tls-cert", "a"], "Set both --tls-cert and --tls-key"),
        (["--tls-key", "a"], "Set both --tls-cert and --tls-key"),
        (["--allow", "a b"], "must be HOST or HOST:PORT"),
        (["--allow", "https://a"], "must be HOST or HOST:PORT"),
        (["--allow-network", "10.0.0.1/8"], "must be a network"),
        (["run"], "Missing argument"),
        (["run", "true"], "--session-token-file"),
        (["env"], "--session-token-file"),
    ],
)
def test_an_invalid_option_is_a_usage_error(options: list[str], reason: str) -> None:
    """What the broker cannot work with ends it at once, and says why."""
    done = run(*options)
    assert done.exit_code == 2
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--token-file", "missing"], "the token file cannot be read"),
        (["--ca-cert", "token"], "--ca-cert does not name a file with certificates"),
        (["--upstream-ca", "token"], "--upstream-ca does not name a file with certificates"),
        (["--upstream-ca", "missing"], "--upstream-ca does not name a file with certificates"),
        (["--tls-cert", "token", "--tls-key", "token"], "must name a matching certificate and key"),
        (["--listen", "192.0.2.1:9", "--plain", "--allow", "pypi.org"], "cannot listen"),
    ],
)
def test_an_unusable_file_is_an_error(
    token: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], reason: str
) -> None:
    """A file or an address that cannot be used ends the broker at its start."""
    monkeypatch.chdir(token.parent)
    done = run("--url", "https://127.0.0.1:1", "--token-file", token, *options)
    assert (done.exit_code, reason in done.stderr) == (1, True), done.stderr


def test_the_environment_is_for_a_shell(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`broker env` prints what a program needs, and writes the bundle of authorities that it names."""
    folder = token.parent
    monkeypatch.chdir(folder)
    authority = CertificateAuthority()
    (folder / "ca.pem").write_bytes(authority.pem)
    options = ("--session-token-file", "session", "--ca", "ca.pem", "--bundle", "bundle.pem")
    done = run("env", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
    assert lines["HTTPS_PROXY"] == f"http://session:{SESSION}@127.0.0.1:3128"
    assert lines["https_proxy"] == lines["http_proxy"] == lines["HTTP_PROXY"] == lines["HTTPS_PROXY"]
    assert (lines["NO_PROXY"], lines["NODE_USE_ENV_PROXY"]) == ("''", "1")
    assert lines["NODE_EXTRA_CA_CERTS"] == str(folder / "ca.pem")
    bundle = folder / "bundle.pem"
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
    assert {lines[name] for name in names} == {str(bundle)}
    assert authority.pem in bundle.read_bytes()
    assert len(ssl.create_default_context(cafile=str(bundle)).get_ca_certs()) >= 1
    again = run("env", *options, "--proxy", "https://broker:1", "--json")
    assert json.loads(again.stdout)["HTTP_PROXY"] == f"https://session:{SESSION}@broker:1"


@pytest.mark.parametrize("has_file", [False, True])
def test_the_bundle_has_the_systems_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_file: bool
) -> None:
    """Programs that trust the bundle alone trust the system's authorities, too."""
    one, two = CertificateAuthority().pem, CertificateAuthority().pem
    (tmp_path / "abcd.0").write_bytes(one)
    (tmp_path / "abcd.1").write_bytes(two.rstrip(b"\n"))
    (tmp_path / "README").write_bytes(b"no certificate")
    (tmp_path / "file").write_bytes(two)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / ("file" if has_file else "missing")))
    assert bundled(b"own\n") == (two if has_file else one + two) + b"own\n"
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    assert bundled(b"own\n") == (two if has_file else b"") + b"own\n"


def test_the_proxy_can_have_tls(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate and its key, the proxy speaks TLS."""
    folder, port, own = token.parent, free_port(), CertificateAuthority()
    key = own._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "cert").write_bytes(own._leaf("localhost"))
    (folder / "key").write_bytes(key)
    trust = ssl.create_default_context(cadata=own.pem.decode())
    versions = []

    def connect() -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            versions.append(connection.version())

    monkeypatch.setattr("vault.clients.broker.commands.wait_until_stopped", connect)
    monkeypatch.chdir(folder)
    options = ("--listen", f"127.0.0.1:{port}", "--tls-cert", "cert", "--tls-key", "key")
    done = run("--url", URL, "--token-file", token, *options)
    assert (done.exit_code, versions) == (0, ["TLSv1.3"]), done.output


def test_the_usage_is_of_the_command_itself() -> None:
    """The help of the command shows it without a subcommand."""
    assert (
        "Usage: secret-manager broker [OPTIONS] [COMMAND]\n"
        in CliRunner().invoke(commands, ["broker", "--help"], prog_name="secret-manager").stdout
    )


@pytest.mark.process
def test_the_broker_serves_until_it_is_stopped(token: Path) -> None:
    """It writes its authority, logs its address, and ends at SIGTERM with 0."""
    folder, port = token.parent, free_port()
    options = ("--token-file", token, "--listen", f"127.0.0.1:{port}", "--ca-out", "ca.pem")
    command = start_command(
        "broker", "--url", URL, *options, environment={"HOME": str(folder)}, folder=folder
    )
    with command:
        assert command.stdout
        line = json.loads(command.stdout.readline())
        assert (line["message"], line["address"]) == ("serving", f"127.0.0.1:{port}")
        assert ssl.create_default_context(cafile=str(folder / "ca.pem")).get_ca_certs()
        assert (folder / "ca.pem").stat().st_mode & 0o777 == 0o644
        command.send_signal(signal.SIGTERM)
        out, err = command.communicate()
    assert (command.returncode, out, err) == (0, "", "")


_PROGRAM = """
import json, os, sys, urllib.request
hidden = sorted(name for name in os.environ if name.startswith(("SECRET_MANAGER", "VAULT")))
try:
    with urllib.request.urlopen(sys.argv[1]) as reply:
        print(json.dumps([reply.status, reply.read().decode(), hidden]))
except OSError as error:
    print(json.dumps([str(error), "", hidden]))
sys.exit(7)
"""


@pytest.mark.process
def test_a_program_gets_a_broker_of_its_own(token: Path) -> None:
    """`broker run` starts a program whose requests go through the broker; its exit code is the program's."""
    folder = token.parent
    with services.running(StubService(rules=[Rule("a", ("localhost:1",))])) as service:
        environment = {
            "HOME": str(folder),
            "SECRET_MANAGER_URL": service.url,
            "SECRET_MANAGER_TOKEN_FILE": str(token),
            "SECRET_MANAGER_SESSION_FILE": str(folder / "session"),
            "VAULT_TOKEN": "smt_mine",
        }
        words = ("run", "--", "python3", "-c", _PROGRAM)
        for url, answer in (
            ("https://other.example/", "403"),
            ("https://localhost:1/", "502"),
        ):
            done = run_command("broker", *words, url, environment=environment, folder=folder)
            assert done.returncode == 7, done.stderr
            found = json.loads(done.stdout)
            assert answer in str(found[0]) or "403" in str(found[0]), done
            assert found[2] == ["SECRET_MANAGER_URL"]
    assert {body["session"] for _, body in service.asked} == {SESSION}


def test_a_program_that_does_not_exist_is_an_error(token: Path) -> None:
    """Without the program, nothing starts."""
    done = run(
        *("run", "--url", URL, "--token-file", token, "--session-token-file", token.parent / "session"),
        *("--", "no-such-program"),
    )
    assert done.exit_code == 1
    assert "there is no program no-such-program" in done.stderr
