"""The notes of a release: scripts/notes.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.runs import SCRIPTS

pytestmark = pytest.mark.process

_OLD = "## 1.0.0 - 2026-11-26\n\n- Old.\n"


def noted(folder: Path, *arguments: str, changes: str) -> subprocess.CompletedProcess[str]:
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\nNotes.\n\n{changes}{_OLD}")
    return subprocess.run(
        [sys.executable, SCRIPTS / "notes.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_notes_are_the_newest_section(tmp_path: Path) -> None:
    """The notes are the section of the tag's version, with links that work outside the repository."""
    changes = (
        "## 1.2.0 - 2026-12-24\n\n### Fixed\n\n- [This](docs/a.md), not [that](https://b.example.com).\n\n"
    )
    done = noted(tmp_path, "v1.2.0", "https://c.example.com", changes=changes)
    assert done.stdout == (
        "### Fixed\n\n- [This](https://c.example.com/docs/a.md), not [that](https://b.example.com).\n"
    )


@pytest.mark.parametrize("heading", ["Unreleased", "1.2.0 - unreleased", "1.3.0 - 2026-12-24", "1.2.0"])
def test_only_a_released_version_has_notes(tmp_path: Path, heading: str) -> None:
    """A changelog that begins with another version, or without a date, refuses the release."""
    done = noted(tmp_path, "v1.2.0", changes=f"## {heading}\n\n- New.\n\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"begins with {heading}, not with" in done.stderr
