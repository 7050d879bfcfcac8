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

from tests.docs.documents import blocks, table
from tests.support.access import bearer, tokens
from tests.support.databases import new_database
from tests.support.service import Service
from tests.support.system import missing, needs
from vault.cli.dev.mongod import Mongod
from vault.core.principal import ROLES

HERE = Path(__file__).parent
PAGE = "docs/clients.md"

#: The folders of the tools.
_INSTALLED = (HERE / ".venv/bin", HERE / "node_modules/.bin")

#: The output of each program.
PRINTED = """\
fetched b2xk
updated to version 2
refused 409 version_conflict
listed billing/db-password
fetched together bmV3
created a token smt_
refused 404 secret_not_found
"""


class Client(NamedTuple):
    """A row of the page's table, with the commands below the heading of the same name."""

    name: str
    program: Path
    commands: str


def clients() -> Iterator[Client]:
    """Yield each client that has a program."""
    commands = {block.heading: block.text for block in blocks(PAGE, "bash")}
    for link, program in table(PAGE, "Client libraries"):
        name = link[1:].partition("]")[0]
        if found := re.search(r"\(\.\./tests/clients/(.+)\)", program):
            yield Client(name, HERE / found[1], commands[name])


CLIENTS = list(clients())


@pytest.fixture(scope="module")
def environment(mongod: Mongod, master_key: str) -> Iterator[dict[str, str]]:
    """Return the settings of a service that requires a credential."""
    with new_database(mongod) as uri:
        yield {"MASTER_KEY": master_key, "MONGO_URI": uri, "AUTH_ENABLED": "true"}


@pytest.fixture(scope="module")
def service(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service for all of these tests."""
    with Service(environment, folder=tmp_path_factory.mktemp("service")) as service:
        yield service


def run(command: str, service: Service, folder: Path, **environment: str) -> str:
    """Return the output of *command*, for a service on port 8000, in *folder*, with the installed tools."""
    tools = set(re.findall(r"openapi-[a-z-]+|spectral|redocly|tsc", command))
    for name in sorted(tools):
        if not any((installed / name).exists() for installed in _INSTALLED):
            raise missing(f"needs {name}: scripts/install_clients.sh")
    if "openapi-generator-cli" in tools:
        needs("java", package="default-jre-headless")
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("http://localhost:8000", service.url)],
        cwd=folder,
        env={
            **environment,
            "PATH": ":".join([*map(str, _INSTALLED), os.environ["PATH"]]),
            "HOME": str(folder),
            # Generators end before what the second compiler makes would pay off.
            "JDK_JAVA_OPTIONS": "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
            "REDOCLY_TELEMETRY": "off",
            "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    return done.stderr + done.stdout


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.program.stem)
def test_a_generated_client_works(
    client: Client, service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    """The commands of the page generate and compile a client, and its program reaches the service."""
    shutil.copyfile(client.program, tmp_path / f"program{client.program.suffix}")
    namespace = client.program.stem
    admin = tokens(
        environment, tmp_path, *("create", "--name", "admin", "--role", "admin", "--namespace", namespace)
    )
    printed = run(client.commands, service, tmp_path, VAULT_URL=service.url, VAULT_TOKEN=admin)
    assert printed.endswith(PRINTED), printed
    # openapi-python-client leaves out what it does not understand, and reports only this.
    assert "Warning(s) encountered" not in printed
    stored = service.post("/vault/secret/fetch", {"name": "billing/db-password"}, **bearer(admin))
    assert stored.body == {"secret": "bmV3"}
    listed = service.post("/vault/token/list", {}, **bearer(admin)).body["tokens"]
    [made] = [token for token in listed if token["name"] == "ci"]
    assert set(made["scopes"]) == ROLES["reader"]


def test_the_go_client_sends_every_field(service: Service, tmp_path: Path) -> None:
    """OpenAPI Generator's Go client sends every field of every request body, and declares no name twice."""
    [commands] = [block.text for block in blocks(PAGE, "bash") if block.heading == "OpenAPI Generator, Go"]
    run(commands, service, tmp_path)
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
        # It takes eight times as long, for much the same.
        pytest.param(
            "spectral lint --fail-severity hint --ruleset .spectral.yaml", marks=pytest.mark.nightly
        ),
    ],
)
def test_linters_accept_the_document(command: str, service: Service, tmp_path: Path) -> None:
    """The linters have neither an error nor a warning, except those that their configuration justifies."""
    for name in (".spectral.yaml", "redocly.yaml"):
        shutil.copyfile(HERE / name, tmp_path / name)
    run(f"{command} http://localhost:8000/openapi.json", service, tmp_path)


def test_every_program_is_in_the_table() -> None:
    """The page lists every program."""
    assert {client.program for client in CLIENTS} == set((HERE / "programs").iterdir())


def test_the_lock_file_names_no_registry() -> None:
    """Each locked package has its hash, and none has the address of a registry."""
    packages: dict[str, dict[str, Any]] = json.loads((HERE / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert all("integrity" in package for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
