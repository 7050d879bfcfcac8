"""Following CONTRIBUTING.md to the letter gives a new operation, with tests that pass."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT

GUIDE = DOCUMENTS["CONTRIBUTING.md"]
_STEPS = 12
_STEP = re.compile(r"`([\w/.]+)`(, a new file)?:\n\n```(?:diff|python)\n(.*?)```\n", re.DOTALL)

#: Tests that fail without the guide's last steps.
_FAIL_WITHOUT = (
    "tests/system/test_readme.py::test_the_table_of_calls_matches_the_api",
    "tests/system/test_leaks.py::test_no_secret_appears_where_it_must_not",
)
#: Its own tests, and the API tests that are parametrized with its name. Other affected tests cover every
#: operation, and pass without this one.
_OF_THE_OPERATION = ("tests/api", "-k", "count")


def steps() -> Iterator[tuple[str, bool, str]]:
    """Yield each file that the guide changes, whether it is new, and its changes."""
    for path, new, text in _STEP.findall(GUIDE):
        yield path, bool(new), text


def changed(text: str, change: str) -> str:
    """Return *text* with each part of *change* applied, located by its other lines."""
    for part in re.split(r"^@@\n", change, flags=re.MULTILINE):
        lines = [(line[:1], line[1:]) for line in part.splitlines()]
        before = "".join(f"{line}\n" for sign, line in lines if sign != "+")
        after = "".join(f"{line}\n" for sign, line in lines if sign != "-")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def test_the_blocks_fit_the_code() -> None:
    """The guide has all steps, and the code that it quotes exists: a failure names the block to change."""
    assert len(list(steps())) == _STEPS
    texts: dict[str, str] = {}
    misfits = []
    for path, is_new, change in steps():
        if is_new:
            continue
        text = texts.get(path) or (ROOT / path).read_text()
        try:
            texts[path] = changed(text, change)
        except AssertionError as error:
            misfits.append(f"{path}: {error}")
    assert not misfits, "CONTRIBUTING.md quotes lines that are not there, or twice:\n" + "\n".join(misfits)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the checkout."""
    left_out = shutil.ignore_patterns(
        *(".git", ".venv", "node_modules", ".dev"),
        *(".*cache*", "__pycache__", "*.egg-info", ".coverage*"),
    )
    return Path(shutil.copytree(ROOT, tmp_path / "checkout", ignore=left_out))


def run_tests(checkout: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run *tests*, given as pytest's arguments, of *checkout*, without any state of this one."""
    # Except pytest's: the ports reserved for this process.
    left_out = ("COVERAGE", "PYTEST_CURRENT_TEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=checkout,
        env={**kept, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.nightly
def test_the_guide_leads_to_a_new_operation(checkout: Path) -> None:
    """Every step fits the code, the necessary ones are necessary, and in the end the tests pass."""
    done = []
    for path, new, text in steps():
        file = checkout / path
        if path == "docs/api.md":
            failed = run_tests(checkout, *_FAIL_WITHOUT)
            assert len(re.findall(r"^FAILED ", failed.stdout, re.MULTILINE)) == 2, failed.stdout
        assert file.exists() != new
        file.write_text(text if new else changed(file.read_text(), text))
        done.append(path)
    assert len(done) == _STEPS
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["lint-imports"]):
        checked = subprocess.run(
            [Path(sys.executable).with_name(command[0]), *command[1:]],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout
    for tests in (_FAIL_WITHOUT, _OF_THE_OPERATION):
        passed = run_tests(checkout, *tests)
        assert passed.returncode == 0, passed.stdout[-3_000:]
