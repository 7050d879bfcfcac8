"""A release, rehearsed: built, published to this machine, and used from there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.qa.deployment.engine import BUILD_OPTIONS, ROOT, run
from tests.support.system import needs
from vault import __version__

pytestmark = [pytest.mark.process, pytest.mark.nightly]

_NEXT = "9.8.7"


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """Return a clone of this checkout with a commit that makes it a release."""
    folder = tmp_path / "candidate"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    for name, before, after in (
        ("vault/__init__.py", __version__, _NEXT),
        ("Dockerfile", f'version="{__version__}"', f'version="{_NEXT}"'),
        ("CHANGELOG.md", "\n## Unreleased\n", f"\n## {_NEXT} - 2026-12-24\n"),
    ):
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after))
    author = ("-c", "user.name=Release", "-c", "user.email=release@example.com")
    subprocess.run(["git", *author, "commit", "--quiet", "--all", "-m", _NEXT], cwd=folder, check=True)
    return folder


@pytest.mark.usefixtures("image")
def test_a_release_can_be_installed_from_an_index_and_a_registry(candidate: Path) -> None:
    """Where only Python and Docker are, the command takes 15 s at most, and the first secret a minute."""
    needs("docker-registry")
    done = run(str(candidate / "scripts/rehearse.sh"), DOCKER_BUILD_OPTIONS=BUILD_OPTIONS)
    assert f"v{_NEXT}: the notes have" in done.stdout
    command, service = map(int, re.findall(r"after (\d+) s", done.stdout))
    assert command < 15
    assert service < 60
