"""The shell scripts for clients, `create_secret.sh` and `fetch_secret.sh`, run as processes."""

import json
import os
import re
from base64 import b64decode, b64encode
from email.message import Message
from pathlib import Path

import pytest

from tests.scripts.conftest import Asking
from tests.scripts.runs import answering, path_with_curl, recording_path, run
from tests.support.service import Service
from tests.support.system import needs

pytestmark = pytest.mark.process

_UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
_STRANGE = ['"', "\\", '","a":"', "\\u0041", "\x01\t\x1f\x7f", "é&%$`~!*", "$(id)"]


@pytest.fixture
def service_url(shared_service: Service) -> str:
    """Return the base URL of a running service."""
    return shared_service.url


def test_created_secret_is_fetched(service_url: str) -> None:
    """`create_secret.sh` prints the ID, and `fetch_secret.sh` with that ID the secret."""
    created = run("create_secret.sh", "aGVsbG8=", url=service_url)
    assert (created.returncode, created.stderr) == (0, b"")
    assert re.fullmatch(rb'\{"secret_id":"[0-9a-f-]{36}"\}\n', created.stdout)
    identifier = json.loads(created.stdout)["secret_id"]
    fetched = run("fetch_secret.sh", identifier, url=f"{service_url}/")
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, b'{"secret":"aGVsbG8="}\n', b"")


def test_values_can_come_from_standard_input(service_url: str) -> None:
    """With `-`, both scripts read their value from standard input, outside the process list."""
    created = run("create_secret.sh", "-", url=service_url, stdin=b"aGVsbG8=\n")
    identifier = json.loads(created.stdout)["secret_id"].encode()
    assert run("fetch_secret.sh", "-", url=service_url, stdin=identifier).stdout == b'{"secret":"aGVsbG8="}\n'


@pytest.mark.parametrize(
    ("script", "argument", "detail"),
    [
        (
            "create_secret.sh",
            "not base64",
            b"with padding. Hint: for a value that is not in base64, use --plain\n",
        ),
        ("create_secret.sh", "hello", b"Hint: for a value that is not in base64, use --plain\n"),
        ("fetch_secret.sh", _UNKNOWN_ID, b"Secret not found"),
        (
            "fetch_secret.sh",
            "no-id",
            b"status 422: Request body failed validation. Hint: for a name, use --name",
        ),
    ],
)
def test_refusal_is_printed_on_standard_error(
    service_url: str, script: str, argument: str, detail: bytes
) -> None:
    """A refusal makes the script fail with the service's reason, and nothing on stdout."""
    refused = run(script, argument, url=service_url)
    assert (refused.returncode, refused.stdout) == (3 if argument == _UNKNOWN_ID else 1, b"")
    assert refused.stderr.startswith(script.encode() + b": the service refused with status 4")
    assert detail in refused.stderr


def test_another_refusal_has_no_hint_about_base64(asking: Asking) -> None:
    """The hint about base64 is not that of a refused credential, nor of any refusal with `--plain`."""
    refused = run("create_secret.sh", "hello", url=asking.url, VAULT_TOKEN=asking.token[:-1])
    assert refused.returncode == 4
    assert b"--plain" not in refused.stderr
    name = b"a\xffb".decode(errors="surrogateescape")
    options = ("--plain", "--name", name, "a")
    refused = run("create_secret.sh", *options, url=asking.url, VAULT_TOKEN=asking.token)
    assert refused.returncode == 1
    assert b"malformed JSON" in refused.stderr
    assert b"--plain" not in refused.stderr


def test_a_reason_is_the_detail_alone() -> None:
    """Only the detail of a problem is shown; if it contains a quote, the whole reply is shown."""
    for detail, shown in (("Not \\ this", b"404: Not"), ('A "quote"', b'404: {"title": "T", "detail"')):
        body = json.dumps({"title": "T", "detail": detail}).encode()
        with answering(lambda _, body=body: (404, body)) as url:
            assert shown in run("fetch_secret.sh", "an-id", url=url).stderr


def test_no_value_is_a_failure_before_the_request(recorder: str) -> None:
    """Without a value, nothing is sent."""
    for options in (["-"], ["--plain", "-"]):
        done = run("create_secret.sh", *options, url=recorder)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"there is no value" in done.stderr


def test_a_plain_argument_is_warned_of(recorder: str) -> None:
    """A plain value as an argument is stored, with a note that others can see it."""
    done = run("create_secret.sh", "--plain", "a", url=recorder)
    assert json.loads(done.stdout) == {"secret": "YQ=="}
    assert b"any local user can see arguments" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_refusal_is_one_short_printable_line(locale: str) -> None:
    """A text of the service cannot change the terminal, fill it, or show the token on it."""
    body = b"\x1b]0;gotcha\x07\xc2\x9b2J\xe2\x80\xae\n" + b"x" * 350 + b" smt_hidden" * 200
    with answering(lambda _: (502, body)) as url:
        done = run("fetch_secret.sh", "an-id", url=url, VAULT_TOKEN="smt_hidden", LC_ALL=locale)
    assert done.returncode == 5
    line = done.stderr.decode()
    assert line.startswith("fetch_secret.sh: the service refused with status 502:  ]0;gotcha   2J")
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "x ********** ********" in line
    assert "smt" not in line
    assert len(line) < 500


@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh"])
def test_unreachable_service_is_reported(script: str) -> None:
    """If no service answers, the scripts fail and name the address."""
    failed = run(script, "aGVsbG8=", url="http://127.0.0.1:1")
    assert (failed.returncode, failed.stdout) == (5, b"")
    assert b"no answer from http://127.0.0.1:1" in failed.stderr


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh"])
def test_wrong_arguments_show_the_usage(script: str, arguments: list[str]) -> None:
    """Without exactly one argument the scripts fail and print their usage."""
    failed = run(script, *arguments)
    assert (failed.returncode, failed.stdout) == (2, b"")
    assert failed.stderr.startswith(b"usage: " + script.encode())


@pytest.mark.parametrize("value", ["".join(_STRANGE), "a -d", "a\nb\n"])
@pytest.mark.parametrize(
    ("script", "field"), [("create_secret.sh", "secret"), ("fetch_secret.sh", "secret_id")]
)
def test_any_value_reaches_the_service_unchanged(recorder: str, script: str, field: str, value: str) -> None:
    """No character of a value escapes from the JSON string; each arrives unchanged."""
    assert json.loads(run(script, value, url=recorder).stdout) == {field: value}
    from_input = run(script, "-", url=recorder, stdin=value.encode() + b"\n")
    assert json.loads(from_input.stdout) == {field: value}


def test_value_with_a_nul_is_refused(recorder: str) -> None:
    """A NUL byte, which bash cannot hold, is refused instead of dropped."""
    failed = run("create_secret.sh", "-", url=recorder, stdin=b"aGVs\0bG8=")
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert b"NUL" in failed.stderr


@pytest.mark.parametrize("arguments", [["-"], ["--plain", "-"]], ids=" ".join)
def test_secret_is_no_argument(recorder: str, tmp_path: Path, arguments: list[str]) -> None:
    """While curl runs, a secret from standard input is in no command line, and neither is its base64."""
    recording = tmp_path / "arguments"
    path = recording_path(tmp_path, recording)
    # Processes of other tests have the values of these in their command lines.
    value = b64encode(os.urandom(12))
    done = run("create_secret.sh", *arguments, url=recorder, stdin=value, PATH=path)
    sent = json.loads(done.stdout)["secret"]
    seen = recording.read_bytes()
    assert b"create_secret.sh" in seen
    assert value not in seen
    assert sent.encode() not in seen


@pytest.mark.promise(2)
def test_neither_secret_nor_token_is_an_argument_of_a_child(recorder: str, tmp_path: Path) -> None:
    """A secret that is an argument of the script, and the token, go to curl through a pipe."""
    recording = tmp_path / "arguments"
    path = recording_path(tmp_path, recording)
    # The usual examples are in the command lines of other tests' processes.
    value = b64encode(os.urandom(12))
    done = run("create_secret.sh", value.decode(), url=recorder, PATH=path, VAULT_TOKEN="smt_hidden")
    assert json.loads(done.stdout) == {"secret": value.decode()}
    assert b"--header" in recording.read_bytes()
    assert b"smt_hidden" not in recording.read_bytes()
    lines = [line for line in recording.read_bytes().splitlines() if value in line]
    assert lines
    assert all(b"create_secret.sh" in line for line in lines)


_PLAIN = [b"a", b"ab", b"a\0\0", b"line\n\n", bytes(range(256)) + "é€".encode()]


@pytest.mark.parametrize("value", _PLAIN, ids=lambda value: repr(value)[:20])
def test_a_plain_value_is_stored_byte_for_byte(recorder: str, value: bytes) -> None:
    """With `--plain`, every byte of standard input is stored, including NULs and newlines at the end."""
    done = run("create_secret.sh", "--plain", "-", url=recorder, stdin=value)
    assert b64decode(json.loads(done.stdout)["secret"], validate=True) == value
    assert (b"note: the value ends with a newline" in done.stderr) == value.endswith(b"\n")


@pytest.mark.parametrize("value", _PLAIN, ids=lambda value: repr(value)[:20])
def test_a_raw_value_is_printed_byte_for_byte(value: bytes) -> None:
    """With `--raw`, exactly the bytes of the value are printed."""
    reply = json.dumps({"secret": b64encode(value).decode()}).encode()
    with answering(lambda _: (200, reply)) as url:
        done = run("fetch_secret.sh", "--raw", _UNKNOWN_ID, url=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, value, b"")


@pytest.mark.parametrize(
    "reply", [b"", b"{}", b'{"note":"secret"}', b'{"secret":"a[$(id)]"}', b'{"secret":5}']
)
def test_a_strange_reply_prints_nothing(reply: bytes) -> None:
    """With `--raw`, a reply without a secret is a failure."""
    with answering(lambda _: (200, reply)) as url:
        done = run("fetch_secret.sh", "--raw", _UNKNOWN_ID, url=url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"fetch_secret.sh: the service sent ")


@pytest.mark.parametrize(
    ("text", "number"),
    [("45", 45), ("45s", 45), ("90m", 5_400), ("12h", 43_200), ("030d", 2_592_000), ("1w", 604_800)],
)
def test_options_become_fields(recorder: str, text: str, number: int) -> None:
    """The options are sent as the API has them, before and after the value, with a space or `=`."""
    fields = {"secret": "YQ==", "name": 'a"b', "ttl_seconds": number, "max_reads": 8}
    options = ["--name", 'a"b', f"--ttl={text}", "YQ==", "--max-reads", "08"]
    assert json.loads(run("create_secret.sh", *options, url=recorder).stdout) == fields


@pytest.mark.parametrize("name", ["-a", "=a", "a b/é\\\"'$(id)`", "--ttl=1", "日本@x:+"])
def test_any_name_reaches_the_service_unchanged(recorder: str, name: str) -> None:
    """A name arrives as it is given, also with a hyphen first, or characters of shells and JSON."""
    created = run("create_secret.sh", f"--name={name}", "YQ==", url=recorder).stdout
    assert json.loads(created) == {"secret": "YQ==", "name": name}
    assert json.loads(run("fetch_secret.sh", f"--name={name}", url=recorder).stdout) == {"name": name}


def test_a_named_secret_is_fetched_by_name(asking: Asking) -> None:
    """A secret with a name, a lifetime and a read limit is fetched by its name, and then used up."""
    options = ["--plain", "--name", "scripts/named", "--expires-in", "12h", "--max-reads", "2"]
    token = {"url": asking.url, "VAULT_TOKEN": asking.token}
    created = run("create_secret.sh", *options, "my_password", **token)
    assert created.returncode == 0, created.stderr
    assert run("fetch_secret.sh", "--raw", "--name", "scripts/named", **token).stdout == b"my_password"
    assert json.loads(run("fetch_secret.sh", "--name=scripts/named", **token).stdout) == {
        "secret": "bXlfcGFzc3dvcmQ="
    }
    assert run("fetch_secret.sh", "--name", "scripts/named", **token).returncode == 3


@pytest.mark.parametrize("script", ["create_secret.sh", "fetch_secret.sh", "run_with_secrets.sh"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_printed(script: str, option: str) -> None:
    """With `--help` the scripts print their usage and send nothing; it fits a terminal of 120 columns."""
    done = run(script, option, "ignored", url="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: " + script.encode())
    assert max(map(len, done.stdout.splitlines())) < 120


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("create_secret.sh", ["--unknown", "YQ=="]),
        ("create_secret.sh", ["--plain", "-secret"]),
        ("create_secret.sh", ["--plain=a-secret"]),
        ("create_secret.sh", ["--name", "--", "YQ=="]),
        ("create_secret.sh", ["YQ==", "--name"]),
        ("create_secret.sh", ["--name=", "YQ=="]),
        *(("create_secret.sh", ["YQ==", "--ttl", text]) for text in ("0", "3651d", "1y", "1.5h")),
        *(("create_secret.sh", ["YQ==", "--max-reads", text]) for text in ("-1", "1e3", "9" * 10)),
        ("fetch_secret.sh", ["--unknown"]),
        ("fetch_secret.sh", ["--", "-id"]),
        ("fetch_secret.sh", ["--plain=an-id"]),
        ("fetch_secret.sh", ["--name"]),
    ],
    ids=lambda case: case if isinstance(case, str) else " ".join(case),
)
def test_a_wrong_option_sends_nothing(script: str, arguments: list[str]) -> None:
    """A wrong option, and an argument that begins with `-`, is one line that does not repeat it."""
    done = run(script, *arguments, url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.decode().endswith(f". Hint: {script} --help\n")
    assert b"-secret" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--name", "a", _UNKNOWN_ID], ["--raw"], ["--", "-", "-"]], ids=" ".join
)
def test_a_secret_is_fetched_by_one_reference(arguments: list[str]) -> None:
    """`fetch_secret.sh` takes either an ID or a name."""
    done = run("fetch_secret.sh", *arguments, url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: fetch_secret.sh")


@pytest.mark.parametrize("url", ["ht!tp://a", "gopher+x://a", "http://a b"])
def test_an_address_of_another_kind_is_a_usage_error(url: str) -> None:
    """A `VAULT_URL` that is not a URL of HTTP has the exit code of wrong usage."""
    assert run("fetch_secret.sh", _UNKNOWN_ID, url=url).returncode == 2


@pytest.mark.promise(2)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_no_proxy_gets_the_token_in_the_clear(recorder: str, variable: str) -> None:
    """Over plain HTTP, a proxy of the environment, which would see token and value, is not used."""
    with answering(lambda _: (418, b"a proxy")) as proxy:
        done = run("create_secret.sh", "YQ==", url=recorder, VAULT_TOKEN="smt_hidden", **{variable: proxy})
    assert json.loads(done.stdout) == {"secret": "YQ=="}


def test_the_authority_of_the_service_is_trusted(recorder: str, tmp_path: Path) -> None:
    """With `VAULT_CACERT`, curl trusts that file; without it, the system's certificates."""
    recording = tmp_path / "arguments"
    path = path_with_curl(tmp_path, f'printf "%s\\n" "$@" >{recording}')
    run("fetch_secret.sh", "an-id", url=recorder, PATH=path, VAULT_CACERT="a b.pem")
    assert "--cacert\na b.pem\n" in recording.read_text()
    run("fetch_secret.sh", "an-id", url=recorder, PATH=path)
    assert "--cacert" not in recording.read_text()


def test_a_missing_curl_is_named(tmp_path: Path) -> None:
    """Without curl, the scripts say what to install."""
    (tmp_path / "bash").symlink_to(needs("bash"))
    done = run("fetch_secret.sh", _UNKNOWN_ID, url="http://127.0.0.1:1", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.splitlines()[-1] == b"fetch_secret.sh: curl not found: install it"


def test_variables_of_the_caller_do_not_get_the_secret(recorder: str, tmp_path: Path) -> None:
    """The scripts put nothing into variables that child processes inherit."""
    recording = tmp_path / "environment"
    path = path_with_curl(tmp_path, f"env >{recording}")
    exported = dict.fromkeys(("value", "reply", "plain", "text"), "the caller's")
    run("create_secret.sh", "c2VjcmV0", url=recorder, PATH=path, **exported)
    assert "c2VjcmV0" not in recording.read_text()


def test_a_token_is_sent(asking: Asking) -> None:
    """With a valid `VAULT_TOKEN` both scripts are authorized; without it, or with another, they are not."""
    url, token = asking.url, asking.token
    created = run("create_secret.sh", "aGVsbG8=", url=url, VAULT_TOKEN=token)
    assert (created.returncode, created.stderr) == (0, b"")
    identifier = json.loads(created.stdout)["secret_id"]
    fetched = run("fetch_secret.sh", identifier, url=url, VAULT_TOKEN=token)
    assert fetched.stdout == b'{"secret":"aGVsbG8="}\n'
    for wrong in ("", token[:-1]):
        refused = run("fetch_secret.sh", identifier, url=url, VAULT_TOKEN=wrong)
        assert (refused.returncode, refused.stdout) == (4, b"")
        assert b"the service refused with status 401" in refused.stderr


@pytest.mark.parametrize("variable", ["VAULT_TOKEN", "VAULT_ROLE"])
@pytest.mark.parametrize("text", ["a\nX-Other: b", "a\r", "a b"])
def test_a_token_and_a_role_are_one_header(recorder: str, variable: str, text: str) -> None:
    """A token or a role that would add another header is refused before anything is sent, and not shown."""
    failed = run("create_secret.sh", "aGVsbG8=", url=recorder, **{variable: text})
    assert (failed.returncode, failed.stdout) == (1, b"")
    problem = f"create_secret.sh: {variable} contains whitespace or control characters\n"
    assert failed.stderr.decode() == problem


@pytest.mark.parametrize(
    ("role", "header"), [("team/api-main", "team/api-main"), ("", None)], ids=["a role", "none"]
)
def test_a_role_is_sent(role: str, header: str | None) -> None:
    """The scripts name the role in `VAULT_ROLE` for their JWT; without one, they name none."""
    sent: list[Message] = []
    with answering(lambda _: (200, b"{}"), headers=sent) as url:
        run("fetch_secret.sh", "--name", "a", url=url, VAULT_TOKEN="a.b.c", VAULT_ROLE=role)
    assert [(found["Authorization"], found["X-Role"]) for found in sent] == [("Bearer a.b.c", header)]
