"""The README and the reference next to it describe what the code does."""

import re
import subprocess
import sys

from flask import Flask

from tests.docs.documents import DOCUMENTS, blocks, table
from tests.support.service import Service
from vault.api.document.errors import ERROR_DOCS
from vault.api.http.refusals import REFUSALS
from vault.config.settings import Settings, SettingsSchema
from vault.core.principal import ROLES, Scope

DEFAULT_URL = "http://localhost:8000"


def test_the_table_has_the_settings_and_their_defaults() -> None:
    """The table lists every setting and no other, each with the default of the code."""
    defaults = {name.strip("`"): default.strip("`") for name, _, default in table("README.md", "Settings")}
    assert list(defaults) == list(SettingsSchema().fields)
    key = "32 characters that are the key.."
    settings = Settings.from_mapping({"MASTER_KEY": key})
    for name, default in defaults.items():
        value = getattr(settings, name.lower())
        expected = "required" if name == "MASTER_KEY" else "none" if value in ((), None) else str(value)
        assert default == (expected.lower() if isinstance(value, bool) else expected)


def test_the_python_example_works(shared_service: Service) -> None:
    """The README's Python example creates a secret and reads it back, also in a batch."""
    [program] = [block.text for block in blocks("README.md", "python")]
    run = subprocess.run(
        [sys.executable, "-c", program.replace(DEFAULT_URL, shared_service.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "my_secret_password\n" * 2


def test_the_table_of_calls_matches_the_api(app: Flask) -> None:
    """The table of calls lists every operation of the API document but those of Vault's API, and no other."""
    document = app.test_client().get("/openapi.json").json
    served = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        if not path.startswith("/v1/")
        for method in methods
    }
    assert {call.strip("`") for call, *_ in table("docs/api.md", "API")} == served


def test_the_table_of_refusals_has_every_code() -> None:
    """The table of refusals lists each code by its status, except the one that no client can receive."""
    told = {
        (int(status), code)
        for status, codes, _ in table("docs/api.md", "Refusals")
        for code in re.findall(r"`([a-z_0-9]+)`", codes)
    }
    sent = {(kind.status, code) for code, kind in REFUSALS.items() if code != "client_disconnected"}
    assert told == sent
    assert {status for status, _ in told} >= {kind.status for kind in ERROR_DOCS.values()}


def test_the_table_of_roles_matches_the_code() -> None:
    """The table lists each scope, and each role has exactly the scopes of the code."""
    [heading] = re.findall(r"^\| scope \|.*\|$", DOCUMENTS["docs/access.md"], re.MULTILINE)
    roles = re.findall(r"`([a-z]+)`", heading)
    rows = {scope.strip("`"): cells for scope, _, *cells in table("docs/access.md", "Tokens")}
    assert set(rows) == {scope.value for scope in Scope}
    assert roles == list(ROLES)
    for number, role in enumerate(roles):
        assert {scope for scope, cells in rows.items() if cells[number]} == ROLES[role]
