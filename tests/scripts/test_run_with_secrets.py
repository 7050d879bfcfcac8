"""`run_with_secrets.sh`, run as a process."""

import json
import os
import resource
import shutil
import signal
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.waiting import wait_until
from tests.scripts.conftest import Asking
from tests.scripts.runs import SCRIPTS, answering, recording_path, run

pytestmark = pytest.mark.process

_SCRIPT = "run_with_secrets.sh"
_UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
_VALUE = b"first \\x41 $(id) ' \" line\nsecond\xff\n\n"
_LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME")
#: The names that are refused: bash ignores what is assigned to them, or computes with it.
_OF_BASH = {
    *("BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_CMDS", "BASH_COMMAND"),
    *("BASH_LINENO", "BASH_MONOSECONDS", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_TRAPSIG", "BASH_VERSINFO"),
    *("DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO"),
    *("OPTIND", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_"),
}
_SHOW = ("--", "bash", "-c", 'printf %s "$A"')
Done = subprocess.CompletedProcess[bytes]


def _store(asking: Asking, value: bytes, name: str) -> str:
    arguments = ("--plain", "--name", name, "-")
    stored = run("create_secret.sh", *arguments, url=asking.url, stdin=value, VAULT_TOKEN=asking.token)
    assert stored.returncode == 0, stored.stderr
    return str(json.loads(stored.stdout)["secret_id"])


def _run(asking: Asking, *arguments: str, **environment: str) -> Done:
    return run(_SCRIPT, *arguments, url=asking.url, **{"VAULT_TOKEN": asking.token, **environment})


def _items(*items: object) -> Callable[[bytes], tuple[int, bytes]]:
    return lambda _: (200, json.dumps({"secrets": items}).encode())


def _item(value: bytes) -> dict[str, object]:
    return {"secret_id": _UNKNOWN_ID, "name": None, "version": 1, "secret": b64encode(value).decode()}


@pytest.mark.parametrize("key", ["", "k"], ids=["own", "service"])
def test_settings_of_the_service_stay_here(key: str) -> None:
    """The command gets no master key, nor the database of a service whose master key is here."""
    with answering(_items(_item(b"v"))) as url:
        arguments = (_SCRIPT, f"A={_UNKNOWN_ID}", "--", "env")
        done = run(*arguments, url=url, MASTER_KEY_FILE=key, MONGO_URI="mongodb://m")
    assert b"A=v\n" in done.stdout
    assert (b"MONGO_URI" in done.stdout) == (not key)
    assert b"MASTER_KEY_FILE=k" not in done.stdout


def test_the_command_has_the_exact_values(asking: Asking) -> None:
    """Secrets given by name and by ID reach the command byte for byte; standard input is the command's."""
    name = 'run/é "exact", \\{[:'
    _store(asking, _VALUE, name)
    identifier = _store(asking, b"by ID", "run/id")
    command = (f"A={name}", f"B={identifier}", "--", "bash", "-c", 'printf %s "$A" "$B"; cat')
    done = run(_SCRIPT, *command, url=asking.url, stdin=b"input", VAULT_TOKEN=asking.token)
    assert (done.returncode, done.stdout, done.stderr) == (0, _VALUE + b"by ID" + b"input", b"")


def test_any_variable_can_be_named() -> None:
    """No variable of the script hides one of the command, and none of its own reaches the command."""
    names = [*("reply", "names", "items", "value", "escaped", "secrets", "i", "count", "IFS", "LC_ALL")]
    with answering(_items(*(_item(b"C") for _ in names))) as url:
        pairs = [f"{name}=some/name" for name in names]
        done = run(_SCRIPT, *pairs, "--", "env", url=url, parts="kept", text="kept")
    lines = {
        line for line in done.stdout.decode().splitlines() if not line.startswith(("PATH=", "_=", "SHLVL="))
    }
    received = {line for line in lines if not line.startswith(("PWD=", "OLDPWD=", "VAULT_URL="))}
    assert received == {*(f"{name}=C" for name in names), "parts=kept", "text=kept"}, done.stderr


def test_no_name_changes_a_value() -> None:
    """Each name that bash knows is refused or gets its value, and no warning shows the value."""
    known = subprocess.run(
        ["bash", "-c", "compgen -v"], env={}, capture_output=True, text=True, check=True
    ).stdout.split()
    # The lookup of `env` needs PATH.
    names = sorted(
        {*known, *_LOCALE, "BASH_ARGV0", "BASH_COMPAT", "BASH_XTRACEFD", "TZ"} - {*_OF_BASH, "PATH"}
    )
    value = "a[$(echo planted >&2)]"
    with answering(_items(*(_item(value.encode()) for _ in names))) as url:
        done = run(_SCRIPT, *(f"{name}=some/name" for name in names), "--", "env", url=url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {f"{name}={value}" for name in names} <= set(done.stdout.decode().splitlines())


def test_it_is_one_request_with_the_references_in_order() -> None:
    """All references are in one request: IDs in either case as IDs, everything else as names."""
    asked = []

    def answer(body: bytes) -> tuple[int, bytes]:
        asked.append(json.loads(body))
        return 200, json.dumps({"secrets": [_item(b"a"), _item(b"b"), _item(b"c")]}).encode()

    upper = "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA"
    with answering(answer) as url:
        references = ('A=odd"\\name', f"B={upper}", "C=a=b")
        done = run(_SCRIPT, *references, "--", "bash", "-c", "echo $A$B$C", url=url)
    assert done.stdout == b"abc\n"
    assert asked == [{"secrets": [{"name": 'odd"\\name'}, {"secret_id": upper}, {"name": "a=b"}]}]


def test_signals_and_exit_code_are_the_command_s(asking: Asking) -> None:
    """The command takes the place of the script: its exit code is the script's, and signals reach it."""
    _store(asking, b"value", "run/exit")
    assert _run(asking, "A=run/exit", "--", "bash", "-c", "exit 7").returncode == 7
    with subprocess.Popen(
        [SCRIPTS / _SCRIPT, "A=run/exit", "--", "sleep", "600"],
        env={"PATH": os.environ["PATH"], "VAULT_URL": asking.url, "VAULT_TOKEN": asking.token},
    ) as process:
        command = Path("/proc", str(process.pid), "cmdline")
        wait_until(lambda: command.read_bytes() == b"sleep\x00600\x00")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("options", "seen"), [([], b""), (["--keep-token"], b"token")], ids=["removed", "kept"]
)
def test_the_token_is_removed(options: list[str], seen: bytes) -> None:
    """The command has `VAULT_TOKEN` only with `--keep-token`."""
    with answering(_items(_item(b"value"))) as url:
        command = ("--", "bash", "-c", 'printf %s "${VAULT_TOKEN-}"')
        done = run(_SCRIPT, *options, "A=name", *command, url=url, VAULT_TOKEN="token")
    assert done.stdout == seen


def test_no_value_is_in_an_argument_or_a_file(asking: Asking, tmp_path: Path) -> None:
    """The value and the token are in no command line, and the script can write no file at all."""
    value = b"0123456789" * 500
    _store(asking, value, "run/hidden")
    recording = tmp_path / "arguments"
    path = recording_path(tmp_path, recording)
    done = _run(asking, "A=run/hidden", "--", "bash", "-c", "cat /proc/[0-9]*/cmdline", PATH=path)
    seen = recording.read_bytes() + done.stdout
    assert b"run_with_secrets.sh" in recording.read_bytes()
    assert value not in seen
    assert b64encode(value) not in seen
    assert asking.token.encode() not in seen

    def forbid_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = run(_SCRIPT, "A=run/hidden", *_SHOW, url=asking.url, before=forbid_files, VAULT_TOKEN=asking.token)
    assert done.stdout == value


def test_every_problem_is_named_by_its_variable(asking: Asking) -> None:
    """If secrets cannot be fetched, each is named by its variable alone, and the command does not run."""
    _store(asking, b"value", "run/there")
    references = ("A=run/there", "B=run/missing", f"C={_UNKNOWN_ID}")
    done = _run(asking, *references, "--", "echo", "it runs")
    assert (done.returncode, done.stdout) == (3, b"")
    problem = "the service refused with status 404: Secret not found"
    assert done.stderr.decode().splitlines() == [f"{_SCRIPT}: B: {problem}", f"{_SCRIPT}: C: {problem}"]


def test_a_reference_that_is_neither_name_nor_id_is_named_by_its_variable(asking: Asking) -> None:
    """The service refuses such a batch as a whole; the hint has the variable, and not the reference."""
    done = _run(asking, "A=run/there", "B=hidden//", "C=.any/name of é", "--", "echo", "it runs")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"{_SCRIPT}: the service refused with status 422: Request body failed validation. "
        "Hint: for B, give the name of a secret, such as billing/db-password, or its ID\n"
    )


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (404, 3), (429, 1), (500, 1), (503, 5)])
def test_the_exit_code_tells_refusals_apart(status: int, code: int) -> None:
    """The exit code is the same for a refusal of the whole request and for its first failing item."""
    problem = {"type": "/problems/x", "title": "T", "status": status, "detail": 'of "it" \\', "code": "x"}
    with answering(_items(_item(b"value"), {"problem": problem}, {"problem": {"status": 418}})) as url:
        done = run(_SCRIPT, "A=a", "B=b", "C=c", "--", "true", url=url)
    assert done.returncode == code
    assert f'B: the service refused with status {status}: of \\"it\\" \\\\\n' in done.stderr.decode()
    with answering(lambda _: (status, b"{}")) as url:
        assert run(_SCRIPT, "A=a", "--", "true", url=url).returncode == code


def test_an_unavailable_service_has_its_code() -> None:
    """If no service answers, the exit code is 5."""
    done = run(_SCRIPT, "A=a", "--", "true", url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"no answer from http://127.0.0.1:1" in done.stderr


def test_a_refusal_of_an_item_is_one_short_printable_line() -> None:
    """A text of the service cannot change the terminal, fill it, or show the token on it."""
    problem = {"status": 404, "detail": "\x1b]0;smt_hidden\x07\u202e" + "x" * 5_000}
    text = json.dumps({"secrets": [{"problem": problem}]}, ensure_ascii=False)
    raw = text.replace("\\u001b", "\x1b").replace("\\u0007", "\x07").encode()
    with answering(lambda _: (200, raw)) as url:
        done = run(_SCRIPT, "A=a", "--", "true", url=url, VAULT_TOKEN="smt_hidden")
    assert done.returncode == 3
    line = done.stderr.decode()
    assert line.startswith(f"{_SCRIPT}: A: the service refused with status 404:  ]0;**********    xxx")
    assert line[:-1].isprintable()
    assert len(line) < 500


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"secrets": []}', "the service sent 0 secrets instead of 1"),
        (b'{"secrets": [{"secret": "YQ=="}, {"secret": "YQ=="}]}', "2 secrets instead of 1"),
        (b'{"secrets": [{"secret": "a[$(echo planted >&2)]"}]}', "the service sent invalid base64"),
        (b'{"secrets": [{"secret": "YQ="}]}', "the service sent invalid base64"),
        (b'{"secrets": [{"secret": null}]}', "A: the service refused with status unknown"),
        (b'{"secrets": [{"note": "a \\", secret: ", "x": 1}]}', "A: the service refused with status unknown"),
    ],
    ids=["none", "too many", "arithmetic", "padding", "null", "no secret"],
)
def test_a_strange_reply_runs_nothing(body: bytes, message: str) -> None:
    """A reply that is not the expected one is refused, and nothing in it is run."""
    with answering(lambda _: (200, body)) as url:
        done = run(_SCRIPT, "A=a", "--", "echo", "it runs", url=url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr.decode()
    assert b"planted\n" not in done.stderr


@pytest.mark.parametrize("blank", [b"", b" \n\t"])
def test_the_layout_and_order_of_the_reply_do_not_matter(blank: bytes) -> None:
    """Blanks, further fields and another order of fields change nothing."""
    members = [b'"name"', b":", b'"a\\\\"', b",", b'"secret"', b":", b'"dmFsdWU="', b",", b'"labels"', b":"]
    tokens = [b"{", b'"secrets"', b":", b"[", b"{", *members, b"{", b'"secret"', b":", b'"bm8="', b"}"]
    with answering(lambda _: (200, blank.join([*tokens, b"}", b"]", b"}"]))) as url:
        assert run(_SCRIPT, "A=a", *_SHOW, url=url).stdout == b"value"


def test_a_value_with_a_nul_byte_is_refused() -> None:
    """A value with a NUL byte, which no variable can hold, is refused and not shown."""
    with answering(_items(_item(b"a\0b"))) as url:
        done = run(_SCRIPT, "A=a", "--", "true", url=url)
    assert done.returncode == 1
    assert b"the value of A contains a NUL byte" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_variable_has_the_largest_size_of_linux() -> None:
    """A value of the largest size of a variable on Linux arrives complete; a larger one is refused."""
    with answering(_items(_item(b"a" * 131_069))) as url:
        done = run(_SCRIPT, "A=a", "--", "bash", "-c", "echo ${#A}", url=url)
    assert done.stdout == b"131069\n", done.stderr
    with answering(_items(_item(b"a" * 131_070))) as url:
        done = run(_SCRIPT, "A=a", "--", "true", url=url)
    assert done.returncode == 1
    assert b"the value of A is too large for an environment variable" in done.stderr
    assert len(done.stderr) < 200


def test_an_unknown_command_fetches_nothing() -> None:
    """A command that does not exist is reported before anything is fetched, with the exit code of shells."""
    done = run(_SCRIPT, "A=a", "--", "no-such-command", url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (127, b"")
    assert done.stderr == b"run_with_secrets.sh: command not found: no-such-command\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected NAME=REF... -- COMMAND"),
        (["A=a", "--"], "expected NAME=REF... -- COMMAND"),
        (["--", "true"], "expected NAME=REF... -- COMMAND"),
        (["A=a", "true"], "expected NAME=REF before --"),
        (["A=", "--", "true"], "expected NAME=REF before --"),
        (["1A=a", "--", "true"], "expected NAME=REF before --"),
        (["Ä=a", "--", "true"], "expected NAME=REF before --"),
        (["-x", "A=a", "--", "true"], "unknown option"),
        (["A=a", "A=b", "--", "true"], "A is given twice"),
        *(
            ([f"{name}=a", "--", "true"], f"{name} has a meaning of its own in bash: choose another name")
            for name in ("UID", "BASH_COMMAND", "_")
        ),
        ([*(f"A{number}=a" for number in range(101)), "--", "true"], "at most 100 secrets"),
    ],
    ids=lambda case: case if isinstance(case, str) else " ".join(case)[:20] or "nothing",
)
def test_wrong_arguments_are_usage_errors(arguments: list[str], message: str) -> None:
    """Wrong arguments send nothing: one line says what is wrong, and the exit code is 2."""
    done = run(_SCRIPT, *arguments, url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"{_SCRIPT}: {message}. Hint: {_SCRIPT} --help\n"


def test_bash_and_curl_are_enough(asking: Asking, tmp_path: Path) -> None:
    """The three scripts need no other program than bash and curl."""
    for tool in ("bash", "curl"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    options = {"url": asking.url, "VAULT_TOKEN": asking.token, "PATH": str(tmp_path)}
    value = bytes(range(256))
    created = run("create_secret.sh", "--plain", "--name", "run/alone", "-", stdin=value, **options)
    assert created.returncode == 0, created.stderr
    assert run("fetch_secret.sh", "--raw", "--name", "run/alone", **options).stdout == value
    created = run("create_secret.sh", "--name", "run/text", "dmFsdWU=", **options)
    assert created.returncode == 0, created.stderr
    assert run(_SCRIPT, "A=run/text", *_SHOW, **options).stdout == b"value"
    assert run(_SCRIPT, "--help", **options).returncode == 0
