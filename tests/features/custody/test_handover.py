"""The handover: what follows a process has its keys, and exactly one process records them."""

import os
from base64 import b64encode
from pathlib import Path

import pytest

from vault.features.custody import handover
from vault.features.custody.handover import Place, hand_down, handed_down
from vault.features.custody.opening import Opened

OPENED = Opened(
    *("1" * 16, "bao", "https://bao", "v1", "request-1", ("hsm refused: no",), bytes(range(32))),
    *(("hsm",), "hash", ("hsm", "bao")),
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the change of the environment."""
    monkeypatch.setenv(handover.VARIABLE, "")
    monkeypatch.setenv(handover.SOCKET, "")


def test_keys_are_handed_down_in_memory() -> None:
    """The opened keys are read again, as often as the settings are, from a file that has no name."""
    assert handed_down() == []
    hand_down([OPENED])
    assert handed_down() == handed_down() == [OPENED]
    assert str(Path(os.environ[handover.VARIABLE]).readlink()).startswith("/memfd:")


@pytest.mark.promise("processes")
def test_files_of_a_process_have_no_keys() -> None:
    """Other processes of the user, which can open these after `execve`, find only ciphertext."""
    hand_down([OPENED])
    assert b64encode(OPENED.material) not in Path(os.environ[handover.VARIABLE]).read_bytes()
    with pytest.raises(OSError, match="No such device or address"):
        os.open(f"/proc/self/fd/{os.environ[handover.SOCKET]}", os.O_RDONLY)


def test_old_kernels_have_the_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that does not know the flag makes the file without it."""
    really = os.memfd_create

    def create(name: str, flags: int) -> int:
        if flags:
            raise OSError
        return really(name, flags)

    monkeypatch.setattr(os, "memfd_create", create)
    hand_down([OPENED])
    assert handed_down() == [OPENED]


def test_exactly_one_process_records() -> None:
    """One place is taken at a time; a record that fails is due again, also in another process."""
    hand_down([OPENED])
    first, second = Place(), Place()
    with pytest.raises(LookupError), first.recording() as is_due:
        assert is_due
        raise LookupError
    with second.recording() as is_due:
        assert not is_due
    assert first.take()
    assert not second.take()
    os.close(first._descriptor)
    with second.recording() as is_due:
        assert is_due
    with second.recording() as is_due:
        assert not is_due
    os.close(second._descriptor)
    with Place().recording() as is_due:
        assert not is_due
    assert handed_down() == [OPENED], "what is recorded is still handed down"
