"""The shell scripts for clients, run as processes."""

import json
import os
import resource
import signal
import subprocess
from base64 import b64decode, b64encode
from email.message import Message
from pathlib import Path

import pytest

from tests.scripts.conftest import Asking
from tests.scripts.runs import SCRIPTS, answering, path_with_curl, recording_path, run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.process

_CREATE, _FETCH, _RUN = "create_secret.sh", "fetch_secret.sh", "run_with_secrets.sh"
_NOWHERE = "http://127.0.0.1:1"
_UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
_BYTES = b"\0" + bytes(range(256)) + "é€ $(id) ' \" \\x41".encode() + b"\n\n"
_NAME = "scripts/a b é\\\"'$(id)`"
_SHOW = ("--", "bash", "-c", 'printf %s "$A"')


def _reply(value: bytes) -> bytes:
    return json.dumps({"secret": b64encode(value).decode()}).encode()


def test_created_secret_is_fetched(asking: Asking) -> None:
    """A secret with a name, a lifetime and a read limit is fetched by its ID and name, and then used up."""
    access = {"url": asking.url, "VAULT_TOKEN": asking.token}
    created = run(_CREATE, "--name", _NAME, "aGVsbG8=", "--ttl=030d", "--max-reads", "3", **access)
    assert (created.returncode, created.stderr) == (0, b"")
    identifier = json.loads(created.stdout)["secret_id"]
    printed = (0, b'{"secret":"aGVsbG8="}\n', b"")
    fetched = run(_FETCH, identifier, **access)
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == printed
    assert run(_FETCH, "-", stdin=identifier.encode() + b"\n", **access).stdout == printed[1]
    assert run(_FETCH, f"--name={_NAME}", "--raw", **access).stdout == b"hello"
    used = run(_FETCH, "--name", _NAME, **access)
    assert (used.returncode, used.stdout) == (3, b"")
    assert used.stderr == b"fetch_secret.sh: the service refused with status 404: Secret not found\n"


def test_every_byte_is_kept(recorder: str) -> None:
    """With `--plain`, each byte of standard input is stored; with `--raw`, each byte is printed."""
    stored = run(_CREATE, "--plain", "-", url=recorder, stdin=_BYTES).stdout
    assert b64decode(json.loads(stored)["secret"], validate=True) == _BYTES
    with answering(lambda _: (200, _reply(_BYTES))) as url:
        done = run(_FETCH, "--raw", _UNKNOWN_ID, url=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, _BYTES, b"")


@pytest.mark.parametrize(("text", "number"), [("45", 45), ("90m", 5_400), ("12h", 43_200), ("1w", 604_800)])
def test_a_lifetime_has_a_unit(recorder: str, text: str, number: int) -> None:
    """The lifetime is sent in seconds."""
    sent = run(_CREATE, "YQ==", "--ttl", text, url=recorder).stdout
    assert json.loads(sent) == {"secret": "YQ==", "ttl_seconds": number}


@pytest.mark.promise(2)
def test_neither_secret_nor_token_is_an_argument_of_a_child(recorder: str, tmp_path: Path) -> None:
    """The token, and a secret from standard input, are in no command line."""
    recording = tmp_path / "arguments"
    path = recording_path(tmp_path, recording)
    # The usual examples are in the command lines of other tests' processes.
    value = b64encode(os.urandom(12))
    done = run(_CREATE, "-", url=recorder, stdin=value, PATH=path, VAULT_TOKEN="smt_hidden")
    assert json.loads(done.stdout) == {"secret": value.decode()}
    seen = recording.read_bytes()
    assert b"--header" in seen
    assert value not in seen
    assert b"smt_hidden" not in seen


@pytest.mark.promise(2)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("script", [_CREATE, _FETCH])
def test_no_proxy_gets_the_token_in_the_clear(recorder: str, script: str, variable: str) -> None:
    """Over plain HTTP, a proxy of the environment, which would see token and value, is not used."""
    with answering(lambda _: (418, b"a proxy")) as proxy:
        done = run(script, "YQ==", url=recorder, VAULT_TOKEN="smt_hidden", **{variable: proxy})
    assert b"YQ==" in done.stdout


@pytest.mark.parametrize("script", [_CREATE, _FETCH])
def test_credentials_are_headers(script: str) -> None:
    """The token and the role of a JWT are headers; a create also has an idempotency key."""
    sent: list[Message] = []
    with answering(lambda _: (200, b"{}"), headers=sent) as url:
        run(script, "YQ==", url=url, VAULT_TOKEN="a.b.c", VAULT_ROLE="team/main")
        run(script, "YQ==", url=url)
    assert [found["Authorization"] for found in sent] == ["Bearer a.b.c", None]
    assert [found["X-Role"] for found in sent] == ["team/main", None]
    keys = [found["Idempotency-Key"] for found in sent]
    assert len(set(keys)) == (2 if script == _CREATE else 1)


def test_the_authority_of_the_service_is_trusted(recorder: str, tmp_path: Path) -> None:
    """With `VAULT_CACERT`, curl trusts that file; without it, the system's certificates."""
    recording = tmp_path / "arguments"
    path = path_with_curl(tmp_path, f'printf "%s\\n" "$@" >{recording}')
    for script in (_CREATE, _FETCH):
        run(script, "YQ==", url=recorder, PATH=path, VAULT_CACERT="a b.pem")
        assert "--cacert\na b.pem\n" in recording.read_text()
        run(script, "YQ==", url=recorder, PATH=path)
        assert "--cacert" not in recording.read_text()


@pytest.mark.parametrize("script", [_CREATE, _FETCH])
@pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 4), (403, 4), (409, 1), (422, 1)])
def test_a_refusal_has_an_exit_code_and_its_reason(script: str, status: int, code: int) -> None:
    """The reason of the service is on standard error, without control characters."""
    body = b'{"title": "T", "detail": "No\x1b]0; that"}'
    with answering(lambda _: (status, body)) as url:
        done = run(script, "YQ==", url=url)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr == f"{script}: the service refused with status {status}: No]0; that\n".encode()


@pytest.mark.parametrize("script", [_CREATE, _FETCH])
def test_an_unavailable_service_is_asked_again(script: str) -> None:
    """After a 503, curl asks again; without any reply, the exit code is 5."""
    answers = [(503, b"<html>\nbusy\n"), (200, b'{"secret":"YQ=="}\n')]
    with answering(lambda _: answers.pop(0)) as url:
        done = run(script, "YQ==", url=url)
    assert (done.returncode, done.stdout) == (0, b'{"secret":"YQ=="}\n')
    failed = run(script, "YQ==", url=_NOWHERE)
    assert (failed.returncode, failed.stdout) == (5, b"")
    assert f"{script}: no answer from {_NOWHERE}\n" in failed.stderr.decode()


@pytest.mark.parametrize("reply", [b"", b"{}", b'{"secret":"a[$(id)]"}', b'{"secret":5}'])
def test_a_strange_reply_prints_nothing(reply: bytes) -> None:
    """With `--raw`, a reply without a secret is a failure."""
    with answering(lambda _: (200, reply)) as url:
        done = run(_FETCH, "--raw", _UNKNOWN_ID, url=url)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (_CREATE, []),
        (_CREATE, ["YQ==", "YQ=="]),
        (_CREATE, ["--plain", "-secret"]),
        (_CREATE, ["YQ==", "--name"]),
        (_CREATE, ["YQ==", "--ttl", "1.5h"]),
        (_FETCH, ["--unknown"]),
        (_FETCH, ["--name"]),
        (_FETCH, ["--name", "a", _UNKNOWN_ID]),
        (_RUN, ["A=a", "--"]),
        (_RUN, ["--", "true"]),
        (_RUN, ["A=", "--", "true"]),
        (_RUN, ["-x", "A=a", "--", "true"]),
        *((_RUN, [f"{name}=a", "--", "true"]) for name in ("UID", "BASH_COMMAND", "RANDOM", "SHLVL", "A-B")),
    ],
    ids=lambda case: case if isinstance(case, str) else " ".join(case) or "nothing",
)
def test_wrong_arguments_send_nothing(script: str, arguments: list[str]) -> None:
    """Wrong arguments are one line, which repeats no value, and exit code 2."""
    done = run(script, *arguments, url=_NOWHERE)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"-secret" not in done.stderr


def test_a_value_that_is_not_base64_is_not_sent() -> None:
    """The script says how to store other bytes."""
    for value in (b"hello world", b""):
        done = run(_CREATE, "-", url=_NOWHERE, stdin=value)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Hint: --plain" in done.stderr


def test_the_command_has_the_exact_values(asking: Asking, tmp_path: Path) -> None:
    """Each byte reaches the command, but no command line or file; standard input is the command's."""
    access = {"url": asking.url, "VAULT_TOKEN": asking.token}
    value = _BYTES.replace(b"\0", b"") * 9
    named = run(_CREATE, "--plain", "--name", _NAME + "=b", "-", stdin=value, **access)
    assert named.returncode == 0, named.stderr
    identifier = json.loads(run(_CREATE, "aGVsbG8=", **access).stdout)["secret_id"]
    recording = tmp_path / "arguments"
    path = recording_path(tmp_path, recording)
    show = ("--", "bash", "-c", 'printf %s "$A" "$B"; cat; cat /proc/$$/cmdline')

    def forbid_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    command = (_RUN, f"A={_NAME}=b", f"B={identifier}", *show)
    done = run(*command, stdin=b"input", before=forbid_files, **access)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(value + b"hello" + b"input")
    assert value not in done.stdout[len(value) :]
    run(*command, PATH=path, **access)
    assert b"run_with_secrets.sh" in recording.read_bytes()
    assert value not in recording.read_bytes()
    assert asking.token.encode() not in recording.read_bytes()


def test_no_name_of_a_variable_changes_its_value() -> None:
    """A variable of the script, or one that bash knows, gets its value, and no warning shows it."""
    names = ["name", "value", "fail", "url", "IFS", "LC_ALL", "PS4", "HOME", "TZ"]
    value = "a[$(echo planted >&2)]"
    with answering(lambda _: (200, _reply(value.encode()))) as url:
        done = run(_RUN, *(f"{name}=some/name" for name in names), "--", "env", url=url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {f"{name}={value}" for name in names} <= set(done.stdout.decode().splitlines())


def test_the_command_takes_the_place_of_the_script() -> None:
    """Its exit code is the script's, and signals reach it."""
    with answering(lambda _: (200, _reply(b"value"))) as url:
        assert run(_RUN, "A=a", "--", "bash", "-c", "exit 7", url=url).returncode == 7
        with subprocess.Popen(
            [SCRIPTS / _RUN, "A=a", "--", "sleep", "600"],
            env={"PATH": os.environ["PATH"], "VAULT_URL": url},
        ) as process:
            command = Path("/proc", str(process.pid), "cmdline")
            wait_until(lambda: command.read_bytes() == b"sleep\x00600\x00")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == -signal.SIGTERM


def test_the_command_has_no_credentials() -> None:
    """It has `VAULT_TOKEN` only with `--keep-token`, and no master key, nor the database of its service."""
    secrets = {"VAULT_TOKEN": "token", "MASTER_KEY_FILE": "k", "MONGO_URI": "mongodb://m"}
    with answering(lambda _: (200, _reply(b"value"))) as url:
        removed = run(_RUN, "A=a", "--", "env", url=url, **secrets).stdout
        kept = run(_RUN, "--keep-token", "A=a", "--", "env", url=url, **secrets).stdout
    assert not {name for name in secrets if f"{name}=".encode() in removed}
    assert b"VAULT_TOKEN=token\n" in kept


def test_without_a_secret_nothing_runs(asking: Asking) -> None:
    """If one cannot be fetched, its variable is named, and the exit code is that of the fetch."""
    access = {"url": asking.url, "VAULT_TOKEN": asking.token}
    run(_CREATE, "--name", "run/there", "YQ==", **access)
    done = run(_RUN, "A=run/there", "B=run/missing", "--", "echo", "it runs", **access)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.endswith(b"run_with_secrets.sh: B was not fetched\n")


def test_a_value_with_a_nul_byte_is_refused() -> None:
    """A value with a NUL byte, which no variable can hold, is refused and not shown."""
    with answering(lambda _: (200, _reply(b"a\0b"))) as url:
        done = run(_RUN, "A=a", *_SHOW, url=url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"run_with_secrets.sh: the value of A contains a NUL byte\n"


def test_an_unknown_command_fetches_nothing() -> None:
    """A command that does not exist is reported before anything is fetched, with the exit code of shells."""
    done = run(_RUN, "A=a", "--", "no-such-command", url=_NOWHERE)
    assert (done.returncode, done.stdout) == (127, b"")
    assert done.stderr == b"run_with_secrets.sh: command not found: no-such-command\n"
