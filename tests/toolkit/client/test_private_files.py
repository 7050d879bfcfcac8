"""Private files."""

import os
from pathlib import Path

import pytest

from vault.toolkit.client import private_files


def test_a_private_file_is_for_its_owner(tmp_path: Path) -> None:
    """A new file has mode 0600, whatever the umask is."""
    earlier = os.umask(0)
    try:
        private_files.write(tmp_path / "a", b"content")
    finally:
        os.umask(earlier)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    """A file is replaced, not written to: who reads the old one sees nothing new."""
    (tmp_path / "a").write_text("old")
    with (tmp_path / "a").open() as reader:
        private_files.write(tmp_path / "a", b"new")
        assert reader.read() == "old"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the file, and not the temporary one."""
    with pytest.raises(FileNotFoundError) as caught:
        private_files.write(tmp_path / "missing" / "a", b"new")
    assert caught.value.filename == str(tmp_path / "missing" / "a")

    def refuse(source: str, target: Path) -> None:
        raise PermissionError(13, "Permission denied", source, None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as denied:
        private_files.write(tmp_path / "a", b"new")
    assert str(denied.value).endswith(f"'{tmp_path / 'a'}'")


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be written, the existing one is unchanged, and no part is left."""
    (tmp_path / "a").write_text("old")

    def fail(_descriptor: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        private_files.write(tmp_path / "a", b"new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def place(path: Path, kind: str) -> None:
    """Put something that is not a regular file at *path*."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": "target", "dangling link": "nothing"}[kind])


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "folder"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """A link, even to a regular file, and anything else with the name stays, and the content goes nowhere."""
    (tmp_path / "target").write_text("old")
    with (
        pytest.raises(OSError, match="not a regular file"),
        private_files.replacement(tmp_path / "a") as file,
    ):
        assert private_files.is_replaceable(tmp_path / "a")
        file.write(b"new")
        place(tmp_path / "a", kind)
    assert not private_files.is_replaceable(tmp_path / "a")
    assert private_files.is_replaceable(tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "target"]
    assert (tmp_path / "target").read_text() == "old"
