"""The shell scripts, run as processes."""

import json
import os
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.access import tokens
from tests.service import Service
from tests.system import needs

_SCRIPTS = Path(__file__).parents[2] / "scripts"
_UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
_STRANGE = ['"', "\\", '","a":"', "\\u0041", "a\nb\n", "\x01\t\x1f\x7f", "é&%$`~!*", "$(id)", "-d"]

#: Replaces every Python: records the arguments of pip, and fails at those in the file `broken`.
_PYTHON = """#!/bin/bash
[[ -s "$STATE/broken" && "$*" == *"$(<"$STATE/broken")"* ]] && exit 1
case "$*" in
    --version) cat "$STATE/version" ;;
    "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip "*) printf '%s\\n' "$*" >>"$STATE/pip" ;;
esac
"""


def _run(script: str, *arguments: str, url: str = "", stdin: bytes = b"", **environment: str):
    return subprocess.run(
        [_SCRIPTS / script, *arguments],
        env={"PATH": os.environ["PATH"], "VAULT_URL": url, **environment},
        input=stdin,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def recorder():
    """Return the URL of a server that answers 200 and repeats the request body."""

    class Repeat(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Repeat) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def service_url(shared_service):
    """Return the base URL of a running service."""
    return shared_service.url


@pytest.mark.parametrize("slash", ["", "/"])
def test_created_secret_is_fetched(service_url, slash):
    """`create_secret.sh` prints the ID, and `fetch_secret.sh` with that ID the secret."""
    created = _run("create_secret.sh", "aGVsbG8=", url=service_url + slash)
    assert (created.returncode, created.stderr) == (0, b"")
    assert re.fullmatch(rb'\{"secret_id":"[0-9a-f-]{36}"\}\n', created.stdout)
    identifier = json.loads(created.stdout)["secret_id"]
    fetched = _run("fetch_secret.sh", identifier, url=service_url + slash)
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, b'{"secret":"aGVsbG8="}\n', b"")


def test_values_can_come_from_standard_input(service_url):
    """With `-`, both scripts read their value from standard input, outside the process list."""
    created = _run("create_secret.sh", "-", url=service_url, stdin=b"aGVsbG8=\n")
    identifier = json.loads(created.stdout)["secret_id"].encode()
    assert (
        _run("fetch_secret.sh", "-", url=service_url, stdin=identifier).stdout == b'{"secret":"aGVsbG8="}\n'
    )


@pytest.mark.parametrize(
    ("script", "argument", "detail"),
    [
        ("create_secret.sh", "not base64", b"invalid base64"),
        ("fetch_secret.sh", _UNKNOWN_ID, b"Secret not found"),
        ("fetch_secret.sh", "no-id", b"422"),
    ],
)
def test_refusal_is_printed_on_standard_error(service_url, script, argument, detail):
    """A refusal makes the script fail with the service's reason, and nothing on stdout."""
    refused = _run(script, argument, url=service_url)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.startswith(script.encode() + b": the service refused with status 4")
    assert detail in refused.stderr


@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh"])
def test_unreachable_service_is_reported(script):
    """If no service answers, the scripts fail and name the address."""
    failed = _run(script, "aGVsbG8=", url="http://127.0.0.1:1")
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert b"no answer from http://127.0.0.1:1" in failed.stderr


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh"])
def test_wrong_arguments_show_the_usage(script, arguments):
    """Without exactly one argument the scripts fail and print their usage."""
    failed = _run(script, *arguments)
    assert (failed.returncode, failed.stdout) == (2, b"")
    assert failed.stderr.startswith(b"usage: " + script.encode())


@pytest.mark.parametrize("value", _STRANGE)
@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh"])
def test_any_value_reaches_the_service_unchanged(recorder, script, value):
    """No character of a value escapes from the JSON string; each arrives unchanged."""
    field = {"create_secret.sh": "secret", "fetch_secret.sh": "secret_id"}[script]
    assert json.loads(_run(script, value, url=recorder).stdout) == {field: value}
    from_input = _run(script, "-", url=recorder, stdin=value.encode() + b"\n")
    assert json.loads(from_input.stdout) == {field: value}


def test_value_with_a_nul_is_refused(recorder):
    """A NUL byte, which bash cannot hold, is refused instead of dropped."""
    failed = _run("create_secret.sh", "-", url=recorder, stdin=b"aGVs\0bG8=")
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert b"NUL" in failed.stderr


def test_secret_is_no_childs_argument(recorder, tmp_path):
    """The secret goes to curl over standard input, because its arguments are in the process list."""
    arguments = tmp_path / "arguments"
    wrapper = tmp_path / "curl"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >{arguments}\nexec {shutil.which("curl")} "$@"\n')
    wrapper.chmod(0o755)
    run = _run("create_secret.sh", "c2VjcmV0", url=recorder, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert json.loads(run.stdout) == {"secret": "c2VjcmV0"}
    assert recorder in arguments.read_text()
    assert "c2VjcmV0" not in arguments.read_text()


@pytest.fixture
def checkout(tmp_path):
    """Return a function that runs install.sh in a checkout where each Python is a stand-in."""
    state, tools, folder = tmp_path / "state", tmp_path / "tools", tmp_path / "checkout"
    for made in (state, tools, folder / "requirements"):
        made.mkdir(parents=True)
    (state / "version").write_text("Python 3.11.0\n")
    for tool in ("bash", "cat", "cp", "dirname", "mkdir", "rm", "sha256sum"):
        (tools / tool).symlink_to(shutil.which(tool))
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (tools / name).write_text(_PYTHON)
        (tools / name).chmod(0o755)
    for name in ("requirements/dev.txt", "requirements/test.txt", "setup.cfg", "pyproject.toml"):
        (folder / name).touch()
    shutil.copytree(_SCRIPTS, folder / "scripts")

    def install(lock, *, broken="", version=""):
        (state / "broken").write_text(broken)
        (state / "pip").write_text("")
        if version:
            (state / "version").write_text(version)
        run = subprocess.run(
            [folder / "scripts" / "install.sh", lock],
            env={"PATH": str(tools), "STATE": str(state)},
            capture_output=True,
            text=True,
            check=False,
        )
        run.pip = (state / "pip").read_text().splitlines()
        return run

    install.folder = folder
    return install


def test_install_uses_the_lock_file_with_its_hashes(checkout):
    """The first run creates .venv and installs exactly the lock file's packages, then this package."""
    run = checkout("dev")
    assert (run.returncode, run.stderr.count("\n")) == (0, 1)
    locked, package = run.pip
    assert "--require-hashes --requirement requirements/dev.txt" in locked
    assert "--no-deps --no-build-isolation --editable ." in package


@pytest.mark.parametrize(("first", "then"), [("dev", "dev"), ("test", "test"), ("test", "dev")])
def test_a_complete_install_is_skipped(checkout, first, then):
    """A second run does nothing; an installation for the tests also suffices for a trial."""
    checkout(first)
    run = checkout(then)
    assert (run.returncode, run.stderr, run.pip) == (0, "", [])


def test_tests_need_more_than_a_trial(checkout):
    """An installation for a trial does not suffice for the tests."""
    checkout("dev")
    assert "requirements/test.txt" in checkout("test").pip[0]


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "setup.cfg"])
def test_a_change_is_installed(checkout, changed):
    """A changed lock file or setup.cfg is installed at the next run."""
    checkout("dev")
    (checkout.folder / changed).write_text("# changed\n")
    assert checkout("dev").pip


def test_another_python_is_installed_for_again(checkout):
    """A .venv whose Python has changed is updated."""
    checkout("dev")
    assert checkout("dev", version="Python 3.13.0\n").pip


def test_an_interrupted_install_is_repeated(checkout):
    """An installation that failed halfway is repeated."""
    assert checkout("dev", broken="--editable").returncode == 1
    assert len(checkout("dev").pip) == 2


def test_an_incomplete_venv_is_replaced(checkout):
    """A .venv without a working pip is replaced."""
    checkout("dev")
    (checkout.folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert len(checkout("dev").pip) == 2


def test_old_python_is_one_clear_line(checkout):
    """Without a recent Python, the script says so in one line."""
    run = checkout("dev", broken="sys.version_info")
    assert run.returncode == 1
    assert run.stderr.splitlines()[1:] == ["install.sh: Python 3.11 or newer not found: install it"]


@pytest.mark.parametrize("broken", ["ensurepip", "-m venv"])
def test_missing_venv_module_is_one_clear_line(checkout, broken):
    """If Python cannot create virtual environments, the script names the package to install."""
    run = checkout("dev", broken=broken)
    assert run.returncode == 1
    assert "apt install python3-venv" in run.stderr.splitlines()[-1]


def test_scripts_are_clean():
    """The linter shellcheck finds nothing in any script."""
    needs("shellcheck")
    scripts = sorted(f"scripts/{script.name}" for script in _SCRIPTS.glob("*.sh"))
    run = subprocess.run(
        ["shellcheck", *scripts], cwd=_SCRIPTS.parent, capture_output=True, text=True, check=False
    )
    assert run.stdout == ""


@pytest.fixture
def asking(environment, tmp_path):
    """Return the URL of a service that requires a credential, and a valid token."""
    settings = environment | {"AUTH_ENABLED": "true"}
    token = tokens(settings, tmp_path, "create", "--name", "ci", "--role", "writer")
    with Service(settings, folder=tmp_path) as service:
        yield service.url, token


def test_a_token_is_sent(asking):
    """With a valid `VAULT_TOKEN` both scripts are authorized; without it, or with another, they are not."""
    url, token = asking
    created = _run("create_secret.sh", "aGVsbG8=", url=url, VAULT_TOKEN=token)
    assert (created.returncode, created.stderr) == (0, b"")
    identifier = json.loads(created.stdout)["secret_id"]
    fetched = _run("fetch_secret.sh", identifier, url=url, VAULT_TOKEN=token)
    assert fetched.stdout == b'{"secret":"aGVsbG8="}\n'
    for wrong in ("", token[:-1]):
        refused = _run("fetch_secret.sh", identifier, url=url, VAULT_TOKEN=wrong)
        assert (refused.returncode, refused.stdout) == (1, b"")
        assert b"the service refused with status 401" in refused.stderr


@pytest.mark.parametrize("token", ["a\nX-Other: b", "a\r", "a b", "\t"])
def test_a_token_is_one_header(recorder, token):
    """A token that would add another header is refused before anything is sent, and not shown."""
    failed = _run("create_secret.sh", "aGVsbG8=", url=recorder, VAULT_TOKEN=token)
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert failed.stderr == b"create_secret.sh: VAULT_TOKEN contains whitespace or control characters\n"


def test_a_token_is_no_childs_argument(recorder, tmp_path):
    """The token goes to curl through a pipe, because its arguments are in the process list."""
    arguments = tmp_path / "arguments"
    wrapper = tmp_path / "curl"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >{arguments}\nexec {shutil.which("curl")} "$@"\n')
    wrapper.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    run = _run("create_secret.sh", "c2VjcmV0", url=recorder, PATH=path, VAULT_TOKEN="smt_hidden")
    assert run.returncode == 0
    assert "--header" in arguments.read_text()
    assert "smt_hidden" not in arguments.read_text()
