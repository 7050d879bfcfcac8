"""The recipes of docs/backup.md that take a copy elsewhere."""

import os
from pathlib import Path

import pytest

from tests.docs.documents import blocks
from tests.support.system import needs
from vault.common import programs

pytestmark = pytest.mark.process

RECIPES = [
    line
    for block in blocks("docs/backup.md", "sh")
    if block.heading == "Back up regularly"
    for line in block.text.splitlines()
]

#: Stands in for each program: it wants the file among its arguments, and says so.
STAND_IN = """#!/bin/sh
for argument; do
    [ ! -f "$argument" ] || cat "$argument" >"$HOME/taken"
done
[ -e "$HOME/taken" ]
"""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split()[0])
def test_a_recipe_takes_the_copy(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gets the path of the copy, and its failure is that of the script."""
    copy, script = tmp_path / "vault-20261203T000743Z.tar", tmp_path / "script"
    copy.write_bytes(b"whole")
    for path, text in ((script, f"#!/bin/sh\n{recipe}\n"), (tmp_path / recipe.split()[0], STAND_IN)):
        path.write_text(text)
        path.chmod(0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.path.dirname(needs('cat', package='coreutils'))}")  # noqa: PTH120 - a text
    assert programs.run([str(script), str(copy)], seconds=60) == 0
    assert (tmp_path / "taken").read_bytes() == b"whole"
    (tmp_path / "taken").unlink()
    copy.unlink()
    assert programs.run([str(script), str(copy)], seconds=60) == 1


def test_there_are_recipes() -> None:
    """They are of three programs."""
    assert [recipe.split()[0] for recipe in RECIPES] == ["restic", "rclone", "aws"]
