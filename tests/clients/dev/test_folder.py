"""The folder of `secret-manager dev`."""

from pathlib import Path

import pytest

from vault.clients.dev import folder as module
from vault.clients.dev.folder import DevFolder
from vault.common.errors import VaultError


def test_everything_is_kept_privately(tmp_path: Path) -> None:
    """Key, token and port are kept for the next start, in files of mode 0600 in a folder of mode 0700."""
    folder = DevFolder(tmp_path / ".dev")
    assert (folder.token, folder.port) == ("", None)
    key = folder.key_file.read_text()
    folder.keep_token("smt_a")
    folder.keep_port(20_001)
    again = DevFolder(tmp_path / ".dev")
    assert (again.token, again.port, again.key_file.read_text()) == ("smt_a", 20_001, key)
    assert again.path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in again.path.iterdir()} == {0o600}


@pytest.mark.parametrize("content", [b"", b"mongodb", b"\xff", b"-1", b"65536"], ids=repr)
def test_an_invalid_port_is_ignored(tmp_path: Path, content: bytes) -> None:
    """If the file with the port has something else, the port is chosen again."""
    (tmp_path / "mongodb.port").write_bytes(content)
    assert DevFolder(tmp_path).port is None


def test_unusable_folder_is_one_clear_line(tmp_path: Path) -> None:
    """A folder that cannot be made is refused with the reason."""
    (tmp_path / ".dev").touch()
    with pytest.raises(VaultError, match=r"cannot use .*\.dev: File exists"):
        DevFolder(tmp_path / ".dev")


def test_a_folder_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that all users share, someone else can have made it, or a link, and the key in it."""
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    (tmp_path / ".dev").symlink_to(own)
    with pytest.raises(VaultError, match=r"\.dev is not a folder of your own"):
        DevFolder(tmp_path / ".dev")
    monkeypatch.setattr(module.os, "geteuid", lambda: own.stat().st_uid + 1)
    with pytest.raises(VaultError, match="own is not a folder of your own"):
        DevFolder(own)
    assert own.stat().st_mode & 0o777 == 0o755
    assert list(own.iterdir()) == []


def test_key_of_a_simultaneous_start_is_kept(tmp_path: Path) -> None:
    """A key that another start has just created is not replaced."""
    key_file = tmp_path / "master.key"
    module._write_key(key_file)
    key = key_file.read_text()
    module._write_key(key_file)
    assert key_file.read_text() == key
    assert list(tmp_path.iterdir()) == [key_file]
