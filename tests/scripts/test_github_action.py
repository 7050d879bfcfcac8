"""The GitHub Action in action.yml, run by its own definition in a simulated runner, against a service."""

import re
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running_app
from tests.docs.documents import ROOT
from tests.scripts.runs import answering
from tests.support.access import services
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.databases import new_database
from tests.support.gate import Gate
from tests.support.github import Run, Runner, token_endpoint
from tests.support.issuer import public_pem
from tests.support.service import Service
from tests.system.test_ci import GITHUB, SYSTEMS
from tests.system.test_tls import make
from vault.clients.dev.mongod import Mongod, free_port
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import NewSecret

pytestmark = pytest.mark.process

SYSTEM = SYSTEMS["GitHub Actions"]

#: Values that would leave their variable, become a command of the runner, or lose a part.
HOSTILE = {
    "lines": "first line\nsecond line\r\nthird line\rfourth line\n",
    "percent": "100%25 of %0A and %",
    "commands": "::add-mask::a\n::error::injected\n::set-env name=A::b\n##[group]x",
    "delimiters": "A<<EOF\nb\nEOF\nPATH=/tmp\nend-\n",
    "spaces": "  padded secret\n\tindented secret  ",
    "shell": "$(id) `id` \"double\" 'single' \\",
    "letters": "\ufeffpässwörd \u2028 \U0001f511",
    "short": "x\n{\n}",
    "json": '"a text in JSON"',
    "fields": '{"user": "service-user", "empty": "", "port": 5432, "big": 12345678901234567890}',
}
#: With its variable and the end, longer than an argument of a program.
LARGE = "A" * (131_072 - len("A=\0") + 1)
BINARY = b"\x00\xff\xfe binary \x00"


@pytest.fixture(scope="module")
def service(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with the issuer and the role of docs/ci.md, and the secrets."""
    with new_database(mongod) as uri:
        environment = {"MASTER_KEY": master_key, "MONGO_URI": uri, "MAX_SECRET_BYTES": "1048576"}
        with running_app(environment) as app:
            make_issuer(app, "github", iss=SYSTEM.iss, keys=public_pem())
            make_role(app, "api-main", "github", claims=SYSTEM.claims, paths=(SYSTEM.path,))
            values = {name: text.encode() for name, text in HOSTILE.items()}
            odd = {"binary": BINARY, "large": LARGE.encode(), "with a = in it": b"odd name"}
            for name, value in {**values, **odd, "fields once": HOSTILE["fields"].encode()}.items():
                new = NewSecret(
                    plaintext=value, name=f"acme/api/{name}", max_reads=1 if name == "fields once" else None
                )
                services(app).secrets.create(new, attempt=Attempt(action=Action.CREATE, principal=OPERATOR))
        environment |= {"AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}
        with Service(environment, patient=True, folder=tmp_path_factory.mktemp("action")) as service:
            service.wait_until("/health/ready")
            yield service


@pytest.fixture(scope="module")
def token_url() -> Iterator[str]:
    """Serve the job's JWTs."""
    with token_endpoint(SYSTEM.iss, GITHUB) as url:
        yield url


def runner(folder: Path, token_url: str, url: str, **inputs: str) -> Runner:
    """Return the runner of a job whose step has these inputs."""
    given = {"url": url, "role": "api-main", "audience": AUDIENCE}
    given |= {name.replace("_", "-"): text for name, text in inputs.items()}
    return Runner(ROOT, folder, token_url=token_url, inputs=given)


def require_masked(run: Run, *values: str) -> None:
    """Require that every line of *values* was masked, and is in nothing else that the step printed."""
    for value in values:
        for line in filter(str.strip, re.split(r"[\r\n]+", value)):
            assert {line, line.strip()} <= set(run.masks), line
            # Single characters are in any text.
            assert len(line) < 2 or line not in run.printed, line


def test_values_of_any_text_reach_later_steps_unchanged_and_masked(
    service: Service, token_url: str, tmp_path: Path
) -> None:
    """Delimiters, newlines, commands and empty texts stay values, and no line of them is printed."""
    lines = [f"{name.upper()}=acme/api/{name}" for name in HOSTILE]
    lines += [f"F_{field.upper()}.{field}=acme/api/fields" for field in ("user", "empty", "port")]
    lines += ["", "ODD=acme/api/with a = in it"]
    job = runner(tmp_path, token_url, service.url, secrets="\n".join(lines))
    run = job.step()
    assert (run.succeeded, run.errors, run.printed.strip()) == (True, [], "")
    expected = {name.upper(): value for name, value in HOSTILE.items()}
    fields = {"F_USER": "service-user", "F_EMPTY": "", "F_PORT": "5432"}
    assert job.variables == {**expected, **fields, "ODD": "odd name"}
    require_masked(run, *expected.values(), "service-user", "5432")
    # The whole value is masked, too, and the JWT before everything else.
    assert set(filter(None, job.variables.values())) <= set(run.masks)
    assert run.masks[0].startswith("eyJ")
    assert job.end() == Run(True, "", "", [], [])


def test_files_are_private_and_removed_after_the_job(
    service: Service, token_url: str, tmp_path: Path
) -> None:
    """A file has the exact bytes, and mode 0600, in RUNNER_TEMP; no file outlives the job."""
    job = runner(
        tmp_path,
        token_url,
        service.url,
        files="KEY_FILE=acme/api/binary\nUSER_FILE.user=acme/api/fields",
        secrets="SHELL_TEXT=acme/api/shell",
    )
    run = job.step()
    assert (run.succeeded, run.errors) == (True, [])
    files = [Path(job.variables[name]) for name in ("KEY_FILE", "USER_FILE")]
    assert [file.read_bytes() for file in files] == [BINARY, b"service-user"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {stat.S_IMODE(file.parent.stat().st_mode) for file in files} == {0o700}
    assert {file.parent.parent for file in files} == {job.temporary}
    require_masked(run, b64encode(BINARY).decode(), "service-user")
    assert job.end().succeeded
    assert not list(job.temporary.iterdir())


def test_a_long_value_is_masked_in_whole(service: Service, token_url: str, tmp_path: Path) -> None:
    """The mask of a value is complete, even if the pipe to the runner takes it in parts."""
    run = runner(tmp_path, token_url, service.url, files="A=acme/api/large").step()
    assert (run.succeeded, run.errors, run.printed) == (True, [], "")
    assert run.masks[1:] == [LARGE]


def test_several_fields_of_a_secret_are_one_read(service: Service, token_url: str, tmp_path: Path) -> None:
    """A secret of several lines is fetched once, so that its limit of reads counts one."""
    lines = "A.user=acme/api/fields once\nB.port=acme/api/fields once"
    job = runner(tmp_path, token_url, service.url, secrets=lines)
    assert job.step().errors == []
    assert job.variables == {"A": "service-user", "B": "5432"}


def test_the_longest_variable_reaches_a_program() -> None:
    """A variable of the largest size that the action sets can be passed to a program, and no longer one."""
    subprocess.run(["true"], env={"A": LARGE[1:]}, check=True)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true"], env={"A": LARGE}, check=True)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"role": "other"}, "refused the job's JWT for the role other. Its audit trail says why: "),
        ({"audience": "https://other.example"}, "refused the job's JWT for the role api-main."),
        (
            {"secrets": "A=acme/api/shell\nB=acme/api/missing\nC=acme/other"},
            "Not fetched: acme/api/missing (secret_not_found), acme/other (secret_not_found)",
        ),
        ({"secrets": "A=acme/api/binary"}, "acme/api/binary is not text"),
        ({"secrets": "A=acme/api/large"}, "acme/api/large is too large for a variable: list it in files."),
        ({"secrets": "A.big=acme/api/fields"}, "acme/api/fields has no field big that is"),
        ({"secrets": "A.length=acme/api/json"}, "acme/api/json has no field length that is"),
        ({"secrets": "A.0=acme/api/shell"}, "acme/api/shell has no field 0 that is"),
        ({"secrets": "A=acme/api/shell\n-"}, "A line of secrets is not NAME=SECRET or NAME.FIELD=SECRET: -"),
        ({"files": "A=acme/api/shell"}, "Two lines set A."),
        ({"secrets": "NODE_OPTIONS=acme/api/shell"}, "The runner reserves NODE_OPTIONS"),
        ({"secrets": ""}, "Neither secrets nor files has a line."),
        ({"secrets": "\n".join(f"A{n}=a" for n in range(101))}, "One step fetches at most 100 secrets."),
        ({"url": "http://vault.example.com"}, "The input url must begin with https://"),
        ({"url": ""}, "The input url is missing."),
        ({"role": "a\nb"}, "The input role is not the name of a role."),
        ({"ca-cert": "missing.pem"}, "The file in ca-cert cannot be read: ENOENT"),
        ({"token_url": ""}, "give it the permission `id-token: write`."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_refusal_names_its_reason_and_sets_nothing(
    inputs: dict[str, str], error: str, service: Service, token_url: str, tmp_path: Path
) -> None:
    """The step fails with one error that names what is wrong; no variable is set, and no value is printed."""
    given = {"token_url": token_url, "url": service.url, "secrets": "A=acme/api/shell", **inputs}
    job = runner(tmp_path, given.pop("token_url"), given.pop("url"), **given)
    run = job.step()
    assert not run.succeeded
    [printed] = run.errors
    assert error in printed
    assert run.printed.strip() == printed.strip()
    assert job.variables == {}
    assert not any(value in run.printed for value in (HOSTILE["shell"], HOSTILE["fields"], "eyJ"))
    assert job.end().succeeded


def test_a_service_that_is_unavailable_for_a_moment_is_asked_again(
    service: Service, token_url: str, tmp_path: Path
) -> None:
    """503 is repeated when Retry-After allows it soon; a longer outage is an error with its status."""
    with Gate(service.url) as gate:
        gate.refusals += ["0", "1"]
        job = runner(tmp_path, token_url, gate.url, secrets="A=acme/api/percent")
        assert job.step().succeeded
        assert (gate.count, job.variables) == (3, {"A": HOSTILE["percent"]})
        gate.is_open.clear()
        (tmp_path / "second").mkdir()
        refused = runner(tmp_path / "second", token_url, gate.url, secrets="A=acme/api/percent").step()
        assert (refused.succeeded, gate.count) == (False, 4)
        assert "The service replied 503" in refused.errors[0]


@pytest.mark.parametrize(
    "reply",
    [
        "[]",
        '{"secrets": [null]}',
        '{"secrets": [{}]}',
        '{"secrets": [{"secret": [104]}]}',
        '{"secrets": [{"secret": "a!b"}]}',
        '{"secrets": [{"secret": "aHVzaA"}]}',
    ],
)
def test_a_reply_of_something_else_is_refused(reply: str, token_url: str, tmp_path: Path) -> None:
    """Replies of something else set no variable, not even a part of a value."""
    with answering(lambda _: (200, reply.encode())) as url:
        job = runner(tmp_path, token_url, url, secrets="A=acme/api/percent")
        run = job.step()
    assert (run.succeeded, run.errors) == (False, ["The reply is not that of a Secret Manager."])
    assert job.variables == {}


def test_an_endless_reply_is_refused(token_url: str, tmp_path: Path) -> None:
    """A reply that is longer than those of the service is not read to its end."""
    with answering(lambda _: (200, bytes(17 * 2**20))) as url:
        run = runner(tmp_path, token_url, url, secrets="A=acme/api/percent").step()
    assert (run.succeeded, run.errors) == (False, [f"No answer from {url}: EMSGSIZE"])


def test_a_service_that_does_not_answer_is_named(token_url: str, tmp_path: Path) -> None:
    """Without a service at the URL, the step fails and says which URL did not answer."""
    url = f"http://127.0.0.1:{free_port()}"
    run = runner(tmp_path, token_url, url, secrets="A=acme/api/percent").step()
    assert (run.succeeded, run.errors) == (False, [f"No answer from {url}: ECONNREFUSED"])


@pytest.mark.parametrize("form", ["text", "path", "missing"])
def test_the_authority_of_the_service_can_be_private(
    form: str, service: Service, token_url: str, tmp_path: Path
) -> None:
    """Only with `ca-cert`, as text or as a path, does the step trust a certificate of a private authority."""
    authority = make(tmp_path, "authority")
    pair = make(tmp_path, "service", authority)
    given = {"text": authority.certificate.read_text(), "path": str(authority.certificate), "missing": ""}
    with Gate(service.url, certificate=(str(pair.certificate), str(pair.key))) as gate:
        job = runner(tmp_path, token_url, gate.url, secrets="A=acme/api/percent", ca_cert=given[form])
        run = job.step()
    assert run.succeeded == (form != "missing"), run
    assert (gate.count, bool(job.variables)) == (run.succeeded, run.succeeded)
    if not run.succeeded:
        assert run.errors == [f"No answer from {gate.url}: UNABLE_TO_VERIFY_LEAF_SIGNATURE"]


def test_the_action_needs_nothing_from_outside() -> None:
    """The action is one file that imports only Node.js's modules, and reads the defined inputs."""
    definition = Runner.definition_of(ROOT)
    assert definition["runs"]["main"] == definition["runs"]["post"]
    source = (ROOT / definition["runs"]["main"]).read_text()
    modules = re.findall(r'\bfrom "(.+)";', source)
    assert len(modules) == len(re.findall(r"^import\b", source, re.MULTILINE)) > 0
    assert all(module.startswith("node:") for module in modules)
    assert not re.search(r"\brequire\(|\bimport\(|\bfetch\(", source)
    read = {*re.findall(r'\b(?:input|required)\("(.+?)"\)', source), "secrets", "files"}
    assert read == set(definition["inputs"])
