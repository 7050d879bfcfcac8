"""The script in compose.yml that makes the secrets of a new project."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.documents import ROOT

pytestmark = pytest.mark.process


def make(folder: Path, generate: str) -> bool:
    """Run the script in *folder*, where the command *generate* makes the master key; return its success."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, command in {"secret-manager": generate, "chown": "true"}.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{command}\n")
        (folder / "bin" / name).chmod(0o700)
    service = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]["secrets"]
    script = service["command"][0].replace("$$", "$").replace("/secrets/", f"{folder}/")
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return not subprocess.run([*service["entrypoint"], script], env=environment, check=False).returncode


def test_no_empty_secret_is_kept(tmp_path: Path) -> None:
    """If a secret cannot be made, the next start makes it: an empty file would be kept for ever."""
    for name in ("service", "mongodb"):
        (tmp_path / name).mkdir()
    assert not make(tmp_path, "exit 1")
    assert not (tmp_path / "service/master_key").exists()
    assert make(tmp_path, "echo a-key")
    assert make(tmp_path, "echo another-key")
    assert (tmp_path / "service/master_key").read_text() == "a-key\n"
    files = {file.relative_to(tmp_path).as_posix() for file in tmp_path.glob("[sm]*/*")}
    names = {"mongodb/key_file", "mongodb/root_password", "mongodb/mongo_uri", "service/mongo_uri"}
    assert files == {*names, "service/master_key"}
