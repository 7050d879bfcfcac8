"""The README's first five minutes: a new user starts the service, and stores, reads and uses a secret."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.documents import ROOT, sections
from tests.docs.terminal import PROMPT, picture, terminal
from tests.docs.world import World
from tests.support.waiting import wait_until

PICTURE = ROOT / "docs" / "first-minutes.svg"
SECTION = ("README.md", "Secret Manager")
VALUE = "correct horse"


def commands() -> list[str]:
    """Return the commands of the README."""
    _start, block, _packages = sections("bash")[SECTION]
    return block.text.splitlines()[1:]


@pytest.mark.promise("commands")
@pytest.mark.process
@pytest.mark.long
def test_a_new_user_needs_only_the_readme(tmp_path: Path) -> None:
    """A new user starts the service, types a value at a hidden prompt, reads it, runs a program with it.

    Both uses are in the trail, and the value is neither in the shell's history nor in a file. With
    FIRST_MINUTES_PICTURE set, this also takes the README's picture.
    """
    world = World(tmp_path, {"HOME": str(tmp_path)})
    start, *_ = sections("bash")[SECTION]
    with world.started(start.text):
        wait_until(lambda: "Ctrl-C" in (tmp_path / "started.log").read_text(), seconds=120)
        [source] = re.findall(r"^ +(\. .+)$", (tmp_path / "started.log").read_text(), re.MULTILINE)
        with terminal(tmp_path, world.environment) as shell:
            shell.run(source)
            first = len(shell.shown) - len(PROMPT)
            store, read, use, look = commands()
            shell.type(store)
            for question in ("Value of", "The same again"):
                assert VALUE not in shell.wait_for(question)
                shell.type(VALUE)
            assert "stored version 1 of" in shell.wait_for("\n" + PROMPT)
            assert VALUE in shell.run(read).splitlines()
            assert f"The program has {len(VALUE)} characters." in shell.run(use)
            trail = shell.run(look)
            transcript = shell.shown[first:].removesuffix(PROMPT)
        assert [entry.split()[1:3] for entry in trail.splitlines()[2:5]] == [
            ["create", "success"],
            ["fetch", "success"],
            ["fetch", "success"],
        ]
        assert (tmp_path / "history").read_text().count("secret-manager secret") == 3
        files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
        assert not [path for path in files if VALUE.encode() in path.read_bytes()]
    if place := os.environ.get("FIRST_MINUTES_PICTURE"):
        Path(place).write_text(picture(transcript))


def test_the_picture_shows_the_commands() -> None:
    """The README's picture has its commands, is small, and loads nothing."""
    content = PICTURE.read_text()
    assert len(content) < 20_000
    root = ElementTree.fromstring(content)  # noqa: S314 - a file of this repository
    shown = [line.text or "" for line in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [line.removeprefix(PROMPT) for line in shown if line.startswith(PROMPT)] == commands()
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "text"}
    assert f"({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
