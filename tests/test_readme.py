"""What the README and the reference beside it say is what the code does."""

import re
import subprocess
import sys

from flask import Flask

from tests.docs.documents import DOCUMENTS, blocks, table
from tests.service import Service
from vault.api.error_docs import ERROR_DOCS
from vault.config.settings import Settings, SettingsSchema
from vault.core.principal import ROLES, Scope

DEFAULT_URL = "http://localhost:8000"


def test_the_table_has_the_settings_and_their_defaults() -> None:
    """Every setting is in the table, none else is, and each default is the one in the code."""
    defaults = {name.strip("`"): default.strip("`") for name, _, default in table("README.md", "Settings")}
    assert list(defaults) == list(SettingsSchema().fields)
    key = "32 characters that are the key.."
    settings = Settings.from_mapping({"MASTER_KEY": key})
    for name, default in defaults.items():
        value = getattr(settings, name.lower())
        expected = "required" if name == "MASTER_KEY" else "none" if value in ((), None) else str(value)
        assert default == (expected.lower() if isinstance(value, bool) else expected)


def test_the_python_example_works(shared_service: Service) -> None:
    """A reader who runs the Python lines gets the secret back."""
    [program] = [block.text for block in blocks("README.md", "python")]
    run = subprocess.run(
        [sys.executable, "-c", program.replace(DEFAULT_URL, shared_service.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "my_secret_password\n"


def test_the_table_of_calls_is_the_api_s(app: Flask) -> None:
    """Every operation of the API document is in the table of calls, and none else is."""
    document = app.test_client().get("/openapi.json").json
    served = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {call.strip("`") for call, *_ in table("docs/api.md", "API")} == served


def test_the_table_of_refusals_has_every_status() -> None:
    """Each status that the API document names is in the table of refusals; beside them, HTTP's own 405."""
    told = {int(status) for status, _ in table("docs/api.md", "Refusals")}
    assert told == {kind.status for kind in ERROR_DOCS.values()} | {405}


def test_the_table_of_roles_is_the_code_s() -> None:
    """Each scope is in the table, and each role has exactly the scopes that the table gives it."""
    [heading] = re.findall(r"^\| scope \|.*\|$", DOCUMENTS["docs/access.md"], re.MULTILINE)
    roles = re.findall(r"`([a-z]+)`", heading)
    rows = {scope.strip("`"): cells for scope, _, *cells in table("docs/access.md", "Tokens")}
    assert set(rows) == {scope.value for scope in Scope}
    assert roles == list(ROLES)
    for number, role in enumerate(roles):
        assert {scope for scope, cells in rows.items() if cells[number]} == ROLES[role]
