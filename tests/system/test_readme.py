"""The tables and the Python example in the documents match the code."""

import re
import subprocess
import sys

from flask import Flask

from tests.docs.documents import DOCUMENTS, blocks, table
from tests.service.site.test_docs_page import content_of_body, operations, resolve
from tests.support.access import bearer
from tests.support.service import Service
from vault.core.principal import ROLES, Scope

DEFAULT_URL = "http://localhost:8000"

#: The paths of Vault's API, and of operators.
_OPERATORS = ("audit", "witness", "token", "role", "issuer", "webhook", "rotation")
_OTHERS = ("/v1/", *(f"/vault/{name}/" for name in _OPERATORS))


def python_below(heading: str) -> str:
    """Return the program below this heading of the page for beginners."""
    [program] = [block.text for block in blocks("docs/first-secret.md", "python") if block.heading == heading]
    return program


def test_the_python_example_works(shared_service: Service) -> None:
    """The Python example creates a secret and reads it back, also in a batch."""
    program = python_below("Python")
    run = subprocess.run(
        [sys.executable, "-c", program.replace(DEFAULT_URL, shared_service.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "my_secret_password\n" * 2


def test_the_program_with_a_token_works(guarded: tuple[Service, str]) -> None:
    """The program reads the secret by its name, with a token that can read nothing else."""
    service, admin = guarded
    created = {"name": "billing/api-key", "secret": "bXlfcGFzc3dvcmQ="}
    assert service.post("/vault/secret/create", created, **bearer(admin)).status == 200
    wanted = {"name": "billing-app", "role": "reader", "paths": ["billing/api-key"]}
    token = service.post("/vault/token/create", wanted, **bearer(admin)).body["token"]
    run = subprocess.run(
        [sys.executable, "-c", python_below("In a program")],
        env={"VAULT_URL": service.url, "VAULT_TOKEN": token},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "my_password\n"


def test_the_table_of_calls_matches_the_api(app: Flask) -> None:
    """The table has the calls of the API document with their fields, except operators' and Vault's."""
    document = app.test_client().get("/openapi.json").json
    served = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        if not path.startswith(_OTHERS)
        for method in methods
    }
    rows = {call.strip("`"): body for call, body in table("docs/api.md", "API")}
    assert rows.keys() == served
    missing = {}
    for path, method, operation in operations(document):
        body = rows.get(f"{method.upper()} {path}", "…")
        # The fields of batches are in the rows of their items.
        if "requestBody" in operation and "…" not in body:
            schema = resolve(document, content_of_body(operation)["schema"])
            named = set(re.findall(r"\w+", " ".join(re.findall("`(.+?)`", body))))
            # In every call, `name` can replace `secret_id`.
            missing[path] = schema.get("properties", {}).keys() - named - {"name"}
    assert {path: fields for path, fields in missing.items() if fields} == {}


def test_the_table_of_roles_matches_the_code() -> None:
    """The table lists each scope, and each role has exactly the scopes of the code."""
    [heading] = re.findall(r"^\| scope \|.*\|$", DOCUMENTS["docs/access.md"], re.MULTILINE)
    roles = re.findall(r"`([a-z]+)`", heading)
    rows = {scope.strip("`"): cells for scope, _, *cells in table("docs/access.md", "Tokens")}
    assert set(rows) == {scope.value for scope in Scope}
    assert roles == list(ROLES)
    for number, role in enumerate(roles):
        assert {scope for scope, cells in rows.items() if cells[number]} == ROLES[role]
