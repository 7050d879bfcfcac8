"""The tables and the Python example in the documents match the code."""

import re
import subprocess
import sys
from typing import Any

from tests.conftest import running_app
from tests.docs.documents import DOCUMENTS, blocks, table
from tests.service.site.test_docs_page import content_of_body, operations, resolve
from tests.support.access import bearer
from tests.support.service import Service
from vault.common.feature import features
from vault.core.principal import ROLES, Scope

DEFAULT_URL = "http://localhost:8000"

#: The paths of operators' calls of the core.
_OPERATORS = ("/vault/audit/", "/vault/token/")


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


def calls(document: dict[str, Any]) -> set[str]:
    """Return the methods and paths of all operations of *document*."""
    return {f"{method.upper()} {path}" for path, method, _ in operations(document)}


def test_the_table_of_calls_matches_the_api(environment: dict[str, str]) -> None:
    """The table has the core's calls with their fields, except operators', and only calls that are served."""
    with running_app({**environment, "FEATURES_OFF": ",".join(one.name for one in features())}) as core:
        of_core = calls(core.test_client().get("/openapi.json").json)
    with running_app(environment) as app:
        document = app.test_client().get("/openapi.json").json
    rows = {call.strip("`"): body for call, body in table("docs/api.md", "API")}
    assert {call for call in of_core if not call.partition(" ")[2].startswith(_OPERATORS)} <= rows.keys()
    assert rows.keys() <= calls(document)
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
