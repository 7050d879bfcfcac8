"""The wheel: its files and metadata."""

import shutil
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.docs.documents import ROOT

pytestmark = pytest.mark.process

_SOURCES = ("vault", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def built(folder: Path) -> ZipFile:
    """Return the wheel, built outside the checkout because a build writes next to its sources."""
    sources = folder / "sources"
    sources.mkdir()
    # Other processes write their compiled modules there, under passing names.
    copytree = partial(shutil.copytree, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _SOURCES:
        copy = copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, sources / name)
    # The build backend itself, with its deprecations as errors.
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", build, folder],
        cwd=sources,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return ZipFile(folder / run.stdout.splitlines()[-1])


def metadata(wheel: ZipFile) -> Message:
    """Return the metadata of *wheel*."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_ships_license_types_and_pages(tmp_path: Path) -> None:
    """The wheel fits every system, and has the license, the marker for type checkers and the pages' files."""
    with built(tmp_path) as wheel:
        assert str(wheel.filename).endswith("-py3-none-any.whl")
        [license_file] = [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
        assert wheel.read(license_file) == (ROOT / "LICENSE").read_bytes()
        assert metadata(wheel)["License-Expression"] == "Apache-2.0"
        pages = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "vault").rglob("*")
            if {"static", "templates"} & set(path.parts) and path.is_file()
        } | {"vault/toolkit/pages/base.css", "vault/toolkit/pages/charts.html"}
        assert {"vault/py.typed", *pages} <= set(wheel.namelist())
