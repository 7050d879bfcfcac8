"""Copies: files of a schedule, whose names say that they are good."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from vault.features.backup.copies import Copies, name_of, time_of
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError, ScheduleBusyError

TIME = datetime(2026, 12, 3, 0, 7, 43, tzinfo=UTC)
NAME = "vault-20261203T000743Z.tar"


def accept(_file: BinaryIO) -> None:
    """Accept any file."""


def write(copies: Copies, name: str) -> None:
    with copies.new(name, accept) as file:
        file.write(name.encode())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_named_by_its_time() -> None:
    """The name has the time in UTC, and the time can be read from it."""
    assert name_of(TIME) == NAME
    assert time_of(NAME) == TIME


def test_a_copy_is_private_and_gets_its_name_once_it_was_read_back(tmp_path: Path) -> None:
    """While it is checked, it has no name yet, and is on the disk; then it has mode 0600."""
    copies = Copies(tmp_path)

    def check(file: BinaryIO) -> None:
        assert copies.names() == []
        file.seek(0)
        assert file.read() == b"whole"

    with copies.new(NAME, check) as file:
        file.write(b"whole")
    assert copies.names() == names(tmp_path) == [NAME]
    assert copies.path(NAME).read_bytes() == b"whole"
    assert stat.S_IMODE(copies.path(NAME).stat().st_mode) == 0o600


def test_a_file_that_is_not_good_gets_no_name(tmp_path: Path) -> None:
    """A file that was not written whole, or does not verify, is removed."""
    copies = Copies(tmp_path)

    def refuse(_file: BinaryIO) -> None:
        raise InvalidBackupError("the backup is damaged")

    with pytest.raises(InvalidBackupError), copies.new(NAME, refuse) as file:
        file.write(b"damaged")
    with pytest.raises(KeyboardInterrupt), copies.new(NAME, accept) as file:
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_no_file_is_replaced(tmp_path: Path) -> None:
    """A name that is taken is refused; a second copy of the same second has the name of the next one."""
    copies = Copies(tmp_path)
    assert copies.free_name(TIME) == NAME
    copies.path(NAME).write_bytes(b"first")
    assert copies.free_name(TIME) == "vault-20261203T000744Z.tar"
    with pytest.raises(BackupRefusedError, match=f"{NAME} exists"):
        write(copies, NAME)
    assert copies.path(NAME).read_bytes() == b"first"
    assert names(tmp_path) == [NAME]


def test_a_folder_that_is_gone_is_reported(tmp_path: Path) -> None:
    """If the folder cannot be used, the error names it."""
    copies = Copies(tmp_path / "gone")
    with pytest.raises(BackupRefusedError, match=f"{tmp_path}/gone cannot be written or removed: No such"):
        write(copies, NAME)
    with pytest.raises(BackupRefusedError, match="No such file"), copies.locked():
        pass


def test_old_copies_are_removed(tmp_path: Path) -> None:
    """The newest are kept, and those that are named; files of other names are left alone."""
    copies = Copies(tmp_path)
    for day in range(1, 7):
        write(copies, f"vault-2026120{day}T000000Z.tar")
    others = ["b.tar", "vault-20261201T000000Z.tar.part", "vault-20261201T000000Z.tgz"]
    for name in others:
        (tmp_path / name).touch()
    removed = copies.retire(2, {"vault-20261202T000000Z.tar"})
    assert removed == [f"vault-2026120{day}T000000Z.tar" for day in (4, 3, 1)]
    kept = [f"vault-2026120{day}T000000Z.tar" for day in (2, 5, 6)]
    assert names(tmp_path) == sorted(kept + others)


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """An unfinished file is removed, and no other."""
    copies = Copies(tmp_path)
    write(copies, NAME)
    (tmp_path / ".other").touch()
    (tmp_path / ".vault-unfinished-1").touch()
    copies.discard_unfinished()
    assert names(tmp_path) == [".other", NAME]


def test_one_process_has_a_folder(tmp_path: Path) -> None:
    """A second one is refused meanwhile. The folder keeps its ID, also after a kill."""
    copies = Copies(tmp_path)
    (tmp_path / ".vault-schedule").touch()
    with (
        copies.locked() as folder_id,
        pytest.raises(ScheduleBusyError, match="another process"),
        Copies(tmp_path).locked(),
    ):
        pass
    with copies.locked() as again:
        assert again == folder_id
    (tmp_path / ".vault-schedule").write_text("changed, and longer than an ID")
    with copies.locked() as other:
        assert other != folder_id
        assert (tmp_path / ".vault-schedule").read_text() == other


def test_a_full_disk_is_noticed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is noticed before a file has its name."""
    copies = Copies(tmp_path)

    def refuse(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BackupRefusedError, match="No space left on device"):
        write(copies, NAME)
    assert names(tmp_path) == []
