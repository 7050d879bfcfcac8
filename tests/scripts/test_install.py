"""`install.sh`, run as a process in a checkout where each Python is a stand-in."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scripts.runs import SCRIPTS
from tests.support.system import needs

pytestmark = pytest.mark.process

#: Replaces every Python: records the arguments of pip, and fails at those in the file `broken`.
_PYTHON = """#!/bin/bash
[[ -s "$STATE/interrupted" && "$*" == *"$(<"$STATE/interrupted")"* ]] &&
    { echo Traceback >&2; trap : INT; kill -INT 0; exit 1; }
[[ -s "$STATE/broken" && "$*" == *"$(<"$STATE/broken")"* ]] && { cat "$STATE/says" >&2; exit 1; }
case "$*" in
    --version) cat "$STATE/version" ;;
    "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip "*)
        printf '%s\\n' "$*" >>"$STATE/pip"
        [[ $* == *--quiet* ]] || printf '%s\\n' "Collecting a" "  Downloading" "Installing collected packages"
        ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A run of the script, and the arguments of each call of pip."""

    returncode: int
    stdout: str
    stderr: str
    pip: list[str]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout in *folder*. The only commands are in *tools*; the stand-ins keep their files in *state*."""

    folder: Path
    tools: Path
    state: Path

    def install(
        self,
        lock: str,
        *,
        broken: str = "",
        interrupted: str = "",
        says: str = "",
        version: str = "",
        terminal: bool = False,
    ) -> Done:
        """Install *lock* with Pythons that fail at *broken*, where pip *says* why, and have *version*.

        At *interrupted*, someone presses Ctrl-C.
        """
        (self.state / "broken").write_text(broken)
        (self.state / "interrupted").write_text(interrupted)
        (self.state / "pip").write_text("")
        (self.state / "says").write_text(says)
        if version:
            (self.state / "version").write_text(version)
        command = [str(self.folder / "scripts" / "install.sh"), lock]
        if terminal:
            options = ("--quiet", "--return", "--command", shlex.join(command))
            command = [needs("script"), *options, "/dev/null"]
        done = subprocess.run(
            command,
            env={"PATH": str(self.tools), "STATE": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
            # The terminal's group of processes.
            start_new_session=True,
        )
        pip = (self.state / "pip").read_text().splitlines()
        return Done(done.returncode, done.stdout, done.stderr, pip)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout for Python 3.11.0 in which nothing is installed."""
    state, tools, folder = tmp_path / "state", tmp_path / "tools", tmp_path / "checkout"
    for made in (state, tools, folder / "requirements"):
        made.mkdir(parents=True)
    (state / "version").write_text("Python 3.11.0\n")
    for tool in ("bash", "cat", "cp", "dirname", "grep", "mkdir", "rm", "sha256sum"):
        (tools / tool).symlink_to(needs(tool))
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (tools / name).write_text(_PYTHON)
        (tools / name).chmod(0o755)
    for name in ("requirements/dev.txt", "requirements/test.txt", "setup.cfg", "pyproject.toml"):
        (folder / name).touch()
    (folder / "requirements/dev.txt").write_text("# a comment\na==1 \\\n    --hash=sha256:00\n")
    shutil.copytree(SCRIPTS, folder / "scripts")
    return Checkout(folder, tools, state)


def test_install_uses_the_lock_file_with_its_hashes(checkout: Checkout) -> None:
    """The first run creates .venv and installs exactly the lock file's packages, then this package.

    It says what it does before each step that takes a while; pip says nothing else.
    """
    done = checkout.install("dev")
    assert done.returncode == 0
    locked, package = done.pip
    assert "--require-hashes --requirement requirements/dev.txt" in locked
    assert "--no-deps --no-build-isolation --editable ." in package
    assert [re.sub(r"[0-9]+ s$", "… s", line) for line in done.stderr.splitlines()] == [
        "Installing requirements/dev.txt into .venv. The first run takes up to a minute.",
        "Creating .venv with python3.13",
        "Installing the packages, … s",
    ]


def test_install_shows_each_package_on_a_terminal(checkout: Checkout) -> None:
    """On a terminal, one line counts the packages and seconds, and is cleared at the end."""
    done = checkout.install("dev", terminal=True)
    # Python reads a carriage return as a newline.
    shown = done.stdout.split("\n")
    assert any(re.search("Collecting packages: 1 of 1, [0-9]+ s$", line) for line in shown)
    assert shown[-1] == "\x1b[K"


@pytest.mark.parametrize(("first", "then"), [("dev", "dev"), ("test", "test"), ("test", "dev")])
def test_a_complete_install_is_skipped(checkout: Checkout, first: str, then: str) -> None:
    """A second run does nothing; an installation for the tests also suffices for a trial."""
    checkout.install(first)
    done = checkout.install(then)
    assert (done.returncode, done.stderr, done.pip) == (0, "", [])


def test_tests_need_more_than_a_trial(checkout: Checkout) -> None:
    """An installation for a trial does not suffice for the tests."""
    checkout.install("dev")
    assert "requirements/test.txt" in checkout.install("test").pip[0]


def test_a_change_is_installed(checkout: Checkout) -> None:
    """A changed lock file, setup.cfg or Python of .venv is installed for at the next run."""
    checkout.install("dev")
    for changed in ("requirements/dev.txt", "setup.cfg"):
        (checkout.folder / changed).write_text("# changed\n")
        assert checkout.install("dev").pip
    assert checkout.install("dev", version="Python 3.13.0\n").pip


def test_an_interrupted_install_is_repeated(checkout: Checkout) -> None:
    """An installation that failed halfway is repeated."""
    assert checkout.install("dev", broken="--editable").returncode == 1
    assert len(checkout.install("dev").pip) == 2


@pytest.mark.parametrize("step", ["-m venv", "--require-hashes", "--editable"])
def test_ctrl_c_ends_an_install_with_one_line(checkout: Checkout, step: str) -> None:
    """After Ctrl-C, the last line says how to continue, without a traceback, and the next run installs."""
    done = checkout.install("dev", interrupted=step)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "install.sh: interrupted: run it again to continue"
    assert "Traceback" not in done.stderr
    assert len(checkout.install("dev").pip) == 2


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("--require-hashes", "NewConnectionError(': [Errno 111] Connection refused')"),
        ("--editable", "NameResolutionError: Failed to resolve"),
        ("--require-hashes", "ERROR: Could not find a version that satisfies a==1 (from versions: none)"),
    ],
)
def test_a_package_index_that_is_away_is_one_clear_line(checkout: Checkout, step: str, reason: str) -> None:
    """Without a package index, the script says so in its last line, in place of pip's many lines."""
    wall = "".join(f"WARNING: Retrying (Retry(total={number})): {reason}\n" for number in range(5))
    done = checkout.install("dev", broken=step, says=wall)
    assert done.returncode == 1
    assert "Retrying" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "install.sh: no package index can be reached: check the network, or set PIP_INDEX_URL or a proxy, "
        "and run this again"
    )
    assert len(checkout.install("dev").pip) == 2


def test_another_failure_of_pip_is_shown(checkout: Checkout) -> None:
    """Any other failure is printed as pip explains it, and the last line says that pip failed."""
    done = checkout.install("dev", broken="--require-hashes", says="ERROR: THESE PACKAGES DO NOT MATCH\n")
    assert done.returncode == 1
    shown = ["ERROR: THESE PACKAGES DO NOT MATCH", "install.sh: pip failed: see above"]
    assert done.stderr.splitlines()[-2:] == shown


def test_an_incomplete_venv_is_replaced(checkout: Checkout) -> None:
    """A .venv without a working pip is replaced."""
    checkout.install("dev")
    (checkout.folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert len(checkout.install("dev").pip) == 2


def test_old_python_is_one_clear_line(checkout: Checkout) -> None:
    """Without a recent Python, the script says so in one line."""
    done = checkout.install("dev", broken="sys.version_info")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["install.sh: Python 3.11 or newer not found: install it"]


@pytest.mark.parametrize("broken", ["ensurepip", "-m venv"])
def test_missing_venv_module_is_one_clear_line(checkout: Checkout, broken: str) -> None:
    """If Python cannot create virtual environments, the script names the package to install."""
    done = checkout.install("dev", broken=broken)
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr.splitlines()[-1]
