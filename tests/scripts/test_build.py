"""The files of a release: manual pages, completions, and what scripts/build.sh makes of a commit."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.cli.command_table import leaves
from tests.docs.documents import ROOT
from tests.support import system
from vault import __version__

pytestmark = pytest.mark.process

_PAGE = "man/man1/secret-manager-secret-get.1"


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all pages and completions."""
    folder = tmp_path_factory.mktemp("manual")
    subprocess.run(
        [sys.executable, "scripts/manual.py", folder],
        cwd=ROOT,
        env={"SOURCE_DATE_EPOCH": "1793491200", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        check=True,
    )
    return folder


def test_every_command_has_a_page(manual: Path) -> None:
    """Each command has a manual page with its options, which `man` shows without a complaint."""
    pages = {page.name: page.read_text() for page in (manual / "man/man1").iterdir()}
    names = {f"secret-manager-{name.replace(' ', '-')}.1": command for name, command in leaves()}
    assert names.keys() < pages.keys()
    for name, command in names.items():
        options = [option for one in command.params for option in one.opts if option.startswith("--")]
        plain = pages[name].replace("\\-", "-")
        assert [option for option in options if option not in plain] == []
    assert pages["secret-manager.1"].startswith(
        f'.TH "SECRET-MANAGER" 1 2026-11-01 "secret-manager {__version__}"'
    )
    # A table keeps its lines.
    assert ".nf\nIMAGE " in pages["secret-manager-swarm-deploy.1"]
    shown = subprocess.run(
        [system.needs("man", package="man-db"), "--warnings", "--local-file", manual / _PAGE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    assert "--field FIELD\n" in shown.stdout


def test_each_shell_finds_its_completion(manual: Path) -> None:
    """The completions lie where each shell looks for them, as `completion` prints them."""
    for path in (
        "bash-completion/completions/secret-manager",
        "fish/vendor_completions.d/secret-manager.fish",
        "zsh/site-functions/_secret-manager",
    ):
        assert "_SECRET_MANAGER_COMPLETE=" in (manual / path).read_text()
    package = (ROOT / "setup.cfg").read_text().partition("[options.data_files]\n")[2].partition("\n\n")[0]
    folders = {line.partition(" = ")[0] for line in package.splitlines()}
    assert folders == {
        f"share/{file.parent.relative_to(manual)}" for file in manual.rglob("*") if file.is_file()
    }


def test_a_release_runs_the_same_build() -> None:
    """The workflow of a release builds with the script, signs, and publishes without a stored credential."""
    text = (ROOT / ".github/workflows/release.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert {"run": "scripts/build.sh"} in jobs["build"]["steps"]
    assert all(jobs[name]["needs"] == "build" for name in jobs.keys() - {"build"})
    assert all(jobs[name]["permissions"]["id-token"] == "write" for name in ("sign", "pypi", "images"))
    assert "secrets." not in text
    for name in ("build.sh", "notes.py"):
        assert f"scripts/{name}" in text
        assert f"scripts/{name}" in (ROOT / "scripts/rehearse.sh").read_text()
    # Names of images have no capital letters.
    assert "github.repository_owner" not in text
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {one["target"] for one in jobs["images"]["strategy"]["matrix"]["include"]} <= set(stages)


@pytest.mark.parametrize("workflow", ["ci", "release"])
def test_actions_of_others_are_pinned(workflow: str) -> None:
    """Workflows run actions by the hash of a commit: anyone who moves a tag could change a release."""
    text = (ROOT / f".github/workflows/{workflow}.yml").read_text()
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[0-9.]+", one)] == []


@pytest.mark.nightly
def test_two_builds_of_a_commit_are_equal(tmp_path: Path) -> None:
    """Two users get the same bytes; each list has what its size installs, and the wheel has the pages."""
    sums = []
    # Settings of git, of setuptools and of the login.
    (tmp_path / ".pydistutils.cfg").write_text("[egg_info]\ntag_build = .dev\n")
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.autocrlf", "GIT_CONFIG_VALUE_0": "true"}
    other = {**os.environ, **settings, "TZ": "Asia/Kathmandu", "COLUMNS": "40", "HOME": str(tmp_path)}
    for name, umask, environment in (("one", 0o022, None), ("two", 0o077, other)):
        folder = tmp_path / name
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        build = [folder / "scripts/build.sh"]
        subprocess.run(build, umask=umask, env=environment, capture_output=True, check=True)
        sums.append((folder / "dist/SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    dist = tmp_path / "one/dist"
    for digest, name in (line.split() for line in sums[0].splitlines()):
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    for size, lock in (("client", "client"), ("server", "service")):
        found = json.loads((dist / f"secret-manager-service-{__version__}-{size}.cdx.json").read_text())
        listed = {(plain(one["name"]), one["version"]) for one in found["components"]}
        assert listed == {*pinned(ROOT / f"requirements/{lock}.txt"), ("secret-manager-service", __version__)}
    own = f"secret_manager_service-{__version__}"
    with zipfile.ZipFile(dist / f"{own}-py3-none-any.whl") as wheel:
        assert f"{own}.data/data/share/{_PAGE}" in wheel.namelist()
    with tarfile.open(dist / f"{own}.tar.gz") as source:
        assert f"{own}/share/{_PAGE}" in source.getnames()


@pytest.mark.nightly
def test_a_mac_gets_the_command_without_a_compiler(tmp_path: Path) -> None:
    """All locked packages of the command for people have wheels for a Mac with Apple's processor."""
    target = (
        "--platform",
        "macosx_11_0_arm64",
        "--python-version",
        "3.13",
        "--only-binary",
        ":all:",
        "--dest",
        tmp_path,
    )
    locked = ("--quiet", "--require-hashes", "-r", ROOT / "requirements/client.txt")
    subprocess.run([sys.executable, "-m", "pip", "download", *target, *locked], check=True)
    assert any("macosx" in wheel.name for wheel in tmp_path.iterdir())


def pinned(lock: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and versions in *lock* that this Python gets."""
    for line in re.findall(r"^\S+==.*(?= \\$)", lock.read_text(), re.MULTILINE):
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate():
            yield needed.name, str(needed.specifier).removeprefix("==")


def plain(name: str) -> str:
    """Return the *name* of a package in its normal form."""
    return re.sub("[-_.]+", "-", name).lower()
