"""Run tests on a copy of the project from which features were taken out.

The rest must not know them: the copy has neither their folders nor their lines in the list of features.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
_LIST = "vault/features/__init__.py"


def copy(folder: Path) -> None:
    """Copy the files of the project to *folder*, as they are in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - of the user
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def take_out(folder: Path, name: str) -> None:
    """Remove the feature *name* from the copy in *folder*."""
    lines = (folder / _LIST).read_text().splitlines(keepends=True)
    kept = [line for line in lines if line != f"{name}\n"]
    if len(kept) == len(lines):
        sys.exit(f"no feature {name} in {_LIST}")
    (folder / _LIST).write_text("".join(kept))
    for parent in ("vault", "tests"):
        shutil.rmtree(folder / parent / "features" / name)


def names() -> list[str]:
    """Return the names of all features."""
    return re.findall(r"^([a-z]+)$", (ROOT / _LIST).read_text(), re.MULTILINE)


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="*", metavar="FEATURE", help="all of them if none is named")
    parser.add_argument(
        "--list", action="store_true", help="print the names of all features, and run nothing"
    )
    parser.add_argument(
        "--tests", nargs=argparse.REMAINDER, default=["-m", "unit"], help="arguments of pytest"
    )
    asked = parser.parse_args()
    if asked.list:
        print(*names(), sep="\n")  # noqa: T201 - its output
        return 0
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy(folder)
        for name in asked.features or names():
            take_out(folder, name)
        # The documents are about all features.
        command = [sys.executable, "-m", "pytest", "-q", "--ignore=tests/docs", *asked.tests]
        # The parts of documents that tests generate are those of the rest.
        environment = {**os.environ, "DOCUMENTS": "write"}
        done = subprocess.run(command, cwd=folder, env=environment, check=False)  # noqa: S603 - of the caller
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
