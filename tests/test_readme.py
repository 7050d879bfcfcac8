"""What the README says is what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import command_environment
from tests.service import Service
from vault.operations.principal import ROLES, Scope
from vault.settings import Settings, SettingsSchema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DEFAULT_URL = "http://localhost:8000"


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Return the service that these tests share with others."""
    return shared_service


def blocks(language: str, section: str) -> list[str]:
    text = README[README.index(f"\n{section}\n") + len(section) + 2 :]
    text = re.split(r"\n#{2,3} ", text)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_table_has_the_settings_and_their_defaults() -> None:
    """Every setting is in the table, none else is, and each default is the one in the code."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| .+ \| (.+) \|$", README, re.MULTILINE)
    defaults = {name: default.strip("`") for name, default in rows}
    assert list(defaults) == list(SettingsSchema().fields)
    key = "32 characters that are the key.."
    settings = Settings.from_mapping({"MASTER_KEY": key})
    for name, default in defaults.items():
        value = getattr(settings, name.lower())
        expected = "required" if name == "MASTER_KEY" else "none" if value in ((), None) else str(value)
        assert default == (expected.lower() if isinstance(value, bool) else expected)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("## Try it", r'\{"secret_id":"[0-9a-f-]{36}"\}'),
        ("### curl", r'\{"secret":"bXlfc2VjcmV0X3Bhc3N3b3Jk"\}'),
    ],
)
def test_the_curl_lines_give_what_is_said(service: Service, section: str, expected: str) -> None:
    """A reader who copies the curl lines gets what the README shows."""
    [script] = [block for block in blocks("bash", section) if "curl" in block]
    run = subprocess.run(
        ["bash", "-euc", script.replace(DEFAULT_URL, service.url)], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(expected, run.stdout.strip())


def test_the_shell_scripts_lines_work(service: Service) -> None:
    """A reader who copies the scripts' lines creates secrets, and is told of one that is not there."""
    [script] = blocks("bash", "### Shell scripts")
    run = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "VAULT_URL": service.url},
        check=False,
    )
    assert len(re.findall(r'\{"secret_id":"[0-9a-f-]{36}"\}', run.stdout)) == 2
    assert "Secret not found" in run.stderr


def test_the_python_example_works(service: Service) -> None:
    """A reader who runs the Python lines gets the secret back."""
    [program] = blocks("python", "### Python")
    run = subprocess.run(
        [sys.executable, "-c", program.replace(DEFAULT_URL, service.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "my_secret_password\n"


def test_the_lines_on_the_life_of_a_secret_do_what_they_say(service: Service) -> None:
    """A reader who copies them sees a secret used up, created once, updated, described and deleted."""
    [script] = blocks("bash", "### The life of a secret")
    run = subprocess.run(
        ["bash", "-euc", script.replace(DEFAULT_URL, service.url)], capture_output=True, text=True, check=True
    )
    replies = [json.loads(line) for line in run.stdout.splitlines()]
    read, gone, created, repeated, updated, newest, first, described, deleted, too_late = replies
    assert read == first == {"secret": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
    assert gone["status"] == too_late["status"] == 404
    assert created == repeated
    assert updated["version"] == described["version"] == 2
    assert newest == {"secret": "bXlfbmV3X3Bhc3N3b3Jk"}
    assert described["labels"] == {"team": "billing"}
    assert deleted["restorable_until"] is None


def test_the_table_of_roles_is_the_code_s() -> None:
    """Each scope is in the table, and each role has exactly the scopes that the table gives it."""
    heading, *rows = re.findall(r"^\| (?:scope|`[a-z]+:[a-z]+`) \|.*\|$", README, re.MULTILINE)
    roles = re.findall(r"`([a-z]+)`", heading)
    table = {cells[0].strip("` "): cells[2:] for cells in (row.strip("|").split(" |") for row in rows)}
    assert set(table) == {scope.value for scope in Scope}
    assert roles == list(ROLES)
    for number, role in enumerate(roles):
        assert {scope for scope, cells in table.items() if cells[number].strip()} == ROLES[role]


def test_the_lines_about_access_work(environment: dict[str, str], tmp_path: Path) -> None:
    """A reader who copies them makes a token with which the script and curl are let in."""
    script = "\n".join(blocks("bash", "## Access"))
    settings = {
        **command_environment({**environment, "AUTH_ENABLED": "true"}),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
    }
    with Service({**environment, "AUTH_ENABLED": "true"}, folder=tmp_path) as service:
        run = subprocess.run(
            ["bash", "-euc", script.replace(DEFAULT_URL, service.url)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**settings, "VAULT_URL": service.url},
            check=False,
        )
    assert re.match(r'\{"secret_id":"[0-9a-f-]{36}"\}\n', run.stdout), run.stderr
    # The id of the example is nobody's; what counts is that it was looked for.
    assert "Secret not found" in run.stdout
    value, listed = map(json.loads, run.stdout.splitlines()[-2:])
    assert value == {"secret": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
    assert [found["name"] for found in listed["secrets"]] == ["billing/db-password"]
