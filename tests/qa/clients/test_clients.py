"""Generated clients against a running service, as docs/clients.md describes, and linters of the document."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.docs.documents import ROOT, blocks, table
from tests.support.access import bearer, tokens
from tests.support.commands import run_command
from tests.support.databases import new_database
from tests.support.gate import Gate
from tests.support.service import Service
from tests.support.system import missing, needs
from vault.clients.dev.mongod import Mongod
from vault.core.principal import ROLES

HERE = Path(__file__).parent
EXAMPLES = ROOT / "docs/examples"
PAGE = "docs/clients.md"

#: The folders of the tools.
_INSTALLED = (HERE / ".venv/bin", HERE / "node_modules/.bin")

#: The output of the first steps in a folder, and of a cache afterwards.
PRINTED = """\
fetched b2xk
updated to version 2
refused 409 version_conflict
listed {folder}/password
fetched together bmV3
created a token smt_
refused 404 secret_not_found
"""
USED = "using version 2\n"


class Client(NamedTuple):
    """A row of the page's table, with the commands below the heading of the same name."""

    name: str
    #: The folder of its programs: one for each language.
    folder: Path
    programs: list[Path]
    commands: str

    @property
    def id(self) -> str:
        """The name in letters and hyphens."""
        return re.sub(r"\W+", "-", self.name.lower())

    @property
    def steps(self) -> str:
        """The commands that run the programs, which need names of their own each time."""
        return self.commands[self.commands.index("export FOLDER=") :]

    @property
    def cached(self) -> str:
        """The command that runs the program with a cache, or an empty text."""
        return self.commands.splitlines()[-1].partition("echo use | ")[2]


def clients() -> Iterator[Client]:
    """Yield each client of the page."""
    for link, *programs in table(PAGE, "Client libraries"):
        name = link[1:].partition("]")[0]
        commands = [block.text for block in blocks(PAGE, "bash") if block.heading == name]
        paths = [EXAMPLES / path for path in re.findall(r"\(examples/(.+?)\)", " ".join(programs))]
        folder = EXAMPLES / paths[0].relative_to(EXAMPLES).parts[0]
        yield Client(name, folder, paths, "".join(commands))


CLIENTS = list(clients())


@pytest.fixture(scope="module")
def environment(mongod: Mongod, master_key: str) -> Iterator[dict[str, str]]:
    """Return the settings of a service that requires a credential."""
    with new_database(mongod) as uri:
        yield {"MASTER_KEY": master_key, "MONGO_URI": uri, "AUTH_ENABLED": "true"}


@pytest.fixture(scope="module")
def service(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service for all of these tests."""
    with Service(environment, patient=True, folder=tmp_path_factory.mktemp("service")) as service:
        yield service


def tools_for(commands: str, folder: Path) -> dict[str, str]:
    """Return the variables by which *commands* find the installed tools that they need in *folder*."""
    tools = set(re.findall(r"openapi-[a-z-]+|spectral|redocly|tsc", commands))
    for name in sorted(tools):
        if not any((installed / name).exists() for installed in _INSTALLED):
            raise missing(f"needs {name}: scripts/install_clients.sh")
    if "openapi-generator-cli" in tools:
        needs("java", package="default-jre-headless")
    if re.search(r"^go ", commands, re.MULTILINE):
        needs("go", package="golang-go")
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    return {
        "PATH": ":".join([*map(str, _INSTALLED), os.environ["PATH"]]),
        "HOME": str(folder),
        # Generators end before what the second compiler makes would pay off.
        "JDK_JAVA_OPTIONS": "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    }


def run(command: str, service: Service, folder: Path, **environment: str) -> str:
    """Return the output of *command*, for a service on port 8000, in *folder*, with the installed tools."""
    tools = tools_for(command, folder)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("http://localhost:8000", service.url)],
        cwd=folder,
        env={**environment, **tools},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    return done.stderr + done.stdout


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_a_generated_client_works(
    client: Client, service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    """The commands of the page generate and compile a client, and its programs reach the service, twice."""
    folder = tmp_path / client.folder.name
    shutil.copytree(client.folder, folder)
    admin = tokens(
        environment, tmp_path, *("create", "--name", "admin", "--role", "admin", "--namespace", client.id)
    )
    twice = client.commands + client.steps
    printed = run(twice, service, folder, VAULT_URL=service.url, VAULT_TOKEN=admin)
    first, second = re.findall("^listed (.+)/password$", printed, re.MULTILINE)
    shown = PRINTED + (USED if client.cached else "")
    assert printed.endswith(shown.format(folder=first) + shown.format(folder=second)), printed
    # openapi-python-client leaves out what it does not understand, and reports only this.
    assert "Warning(s) encountered" not in printed
    stored = service.post("/vault/secret/fetch", {"name": f"{second}/password"}, **bearer(admin))
    assert stored.body == {"secret": "bmV3"}
    listed = service.post("/vault/token/list", {}, **bearer(admin)).body["tokens"]
    [made] = [token for token in listed if token["name"] == second]
    assert set(made["scopes"]) == ROLES["reader"]
    if client.cached:
        require_a_cache(client, service, environment, folder, admin, second)


class Session:
    """A running program with a cache, of which each line of input uses the secret."""

    def __init__(self, command: str, folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env={
                "PATH": ":".join([*map(str, _INSTALLED), os.environ["PATH"]]),
                "HOME": str(folder),
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def use(self, line: str = "use") -> str:
        """Return the program's answer to *line*."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self) -> tuple[int, str]:
        """Return the exit status, and what the program has printed to standard error."""
        _, errors = self._process.communicate(timeout=240)
        return self._process.returncode, errors


def require_a_cache(
    client: Client, service: Service, environment: dict[str, str], folder: Path, admin: str, steps: str
) -> None:
    """Require that the program asks the service no more than it has to, and survives an outage."""

    def update(value: str) -> None:
        changed = {"name": f"{steps}/password", "secret": value}
        assert service.post("/vault/secret/update", changed, **bearer(admin)).status == 200

    with Gate(service.url) as gate:
        variables = {
            "VAULT_URL": gate.url,
            "VAULT_TOKEN": admin,
            "RECEIPTS_FILE": "receipts",
            "FOLDER": steps,
        }
        gate.refusals += ["0", "1"]
        program = Session(client.cached, folder, **variables, MAX_AGE_SECONDS="3600")
        assert [program.use() for _ in range(3)] == ["using version 2"] * 3
        assert gate.count == 3, "two refusals and one fetch"
        update("djM=")
        assert program.use() == "using version 2"
        assert program.use("refused") == "using version 3"
        assert gate.count == 4
        # The service asks not to be asked again for an hour.
        gate.is_open.clear()
        assert [program.use("refused") for _ in range(3)] == ["using version 3"] * 3
        assert gate.count == 5
        status, errors = program.end()
        assert status == 0, errors
        assert errors.count(f"unavailable: keeping version 3 of {steps}/password") == 1
        gate.is_open.set()
        aged = Session(client.cached, folder, **variables, MAX_AGE_SECONDS="0")
        assert aged.use() == "using version 3"
        update("djQ=")
        assert aged.use() == "using version 4"
        assert aged.end() == (0, "")
        # Without a value to keep, the refusal ends the program.
        gate.is_open.clear()
        first = Session(client.cached, folder, **variables)
        assert first.use() == ""
        status, errors = first.end()
        assert status != 0
        assert "the service is unavailable" in errors
        assert gate.count == 8
    done = run_command("audit", "verify", "--receipts", "receipts", environment=environment, folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    assert len((folder / "receipts").read_text().splitlines()) == 4


def test_the_go_client_sends_every_field(service: Service, tmp_path: Path) -> None:
    """OpenAPI Generator's Go client sends every field of every request body, and declares no name twice."""
    generation, _ = [block.text for block in blocks(PAGE, "bash") if block.heading == "OpenAPI Generator, Go"]
    run(generation, service, tmp_path)
    schemas = service.get("/openapi.json").body["components"]["schemas"]
    sent = {}
    for path in tmp_path.glob("client/model_*.go"):
        [name] = re.findall(r"^type (\w+) struct {", path.read_text(), re.MULTILINE)[:1]
        sent[name] = set(re.findall(r'toSerialize\["(\w+)"\] = o\.', path.read_text()))
    assert sent["NewVersion"] >= {"secret", "expected_version"}
    # An object without fields is a plain map in Go.
    fields = {name: set(schema["properties"]) for name, schema in schemas.items() if schema["properties"]}
    # An object that may be null is described in place, and Go names it by the place.
    delivery = schemas["VersionReference"]["properties"]["delivery"]
    assert sent == fields | {"VersionReferenceAllOfDelivery": set(delivery["properties"])}
    # Go has one name for the type `NewShare` and for the constructor of the type `Share`.
    assert not [name for name in schemas if f"New{name}" in schemas]


def test_openapi_generator_finds_the_document_valid(service: Service, tmp_path: Path) -> None:
    """OpenAPI Generator has neither an error nor a warning for the document."""
    printed = run("openapi-generator-cli validate -i http://localhost:8000/openapi.json", service, tmp_path)
    assert "No validation issues detected." in printed


@pytest.mark.parametrize(
    "command",
    [
        "redocly lint --config redocly.yaml",
        "spectral lint --fail-severity hint --ruleset .spectral.yaml",
    ],
)
def test_linters_accept_the_document(command: str, service: Service, tmp_path: Path) -> None:
    """The linters have neither an error nor a warning, except those that their configuration justifies."""
    for name in (".spectral.yaml", "redocly.yaml"):
        shutil.copyfile(HERE / name, tmp_path / name)
    run(f"{command} http://localhost:8000/openapi.json", service, tmp_path)


def test_every_program_is_in_the_table() -> None:
    """The page links every program, and each other file of the examples belongs to one."""
    linked = {program for client in CLIENTS for program in client.programs}
    found = {file for client in CLIENTS for file in client.folder.rglob("*") if file.is_file()}
    files = {file for file in found if file.suffix != ".pyc"}
    shared = {"go.mod", "cache.go", "secret_cache.py", "secret_cache.ts"}
    assert {file.name for file in files - linked} == shared
    assert linked <= files


def test_the_lock_file_names_no_registry() -> None:
    """Each locked package has its hash, and none has the address of a registry."""
    packages: dict[str, dict[str, Any]] = json.loads((HERE / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert all("integrity" in package for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
