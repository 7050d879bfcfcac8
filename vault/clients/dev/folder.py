"""The folder of `dev`: its master key, its token, the port of its MongoDB, and settings for a terminal."""

import os
import re
import stat
import tempfile
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

from vault.common.errors import VaultError
from vault.toolkit.client import private_files


class DevFolder:
    """The folder *path*, made for its owner only, with a master key.

    Raises:
        VaultError: The folder cannot be used; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.key_file = self.path / "master.key"
        self.token_file = self.path / "token"
        self.env_file = self.path / "env"
        self._port_file = self.path / "mongodb.port"
        try:
            path.mkdir(exist_ok=True)
            _require_own(path)
            path.chmod(0o700)
            if not self.key_file.exists():
                _write_key(self.key_file)
        except OSError as error:
            raise VaultError(f"cannot use {self.path}: {error.strerror}") from error

    @property
    def token(self) -> str:
        """The kept token; empty without one."""
        return _read(self.token_file)

    @property
    def port(self) -> int | None:
        """The port of MongoDB's last start; None before the first, or if the file has no port."""
        kept = _read(self._port_file)
        return int(kept) if re.fullmatch("[1-9][0-9]{3,4}", kept) and int(kept) < 65_536 else None

    def keep_token(self, token: str) -> None:
        """Keep *token* for the next start, in a file for its owner only."""
        private_files.write(self.token_file, f"{token}\n".encode())

    def keep_env(self, lines: str) -> None:
        """Keep the *lines* that set up a terminal, in a file for its owner only."""
        private_files.write(self.env_file, lines.encode())

    def keep_port(self, port: int) -> None:
        """Keep MongoDB's *port* for the next start."""
        private_files.write(self._port_file, f"{port}\n".encode())


def _require_own(path: Path) -> None:
    """Require that no other user can have put a key into the folder *path*."""
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise VaultError(f"{path.absolute()} is not a folder of your own", hint="start it in another folder")


def _write_key(key_file: Path) -> None:
    # Linked to its name when complete, so that no crash leaves, and no second `dev` reads, half a key.
    with tempfile.NamedTemporaryFile(dir=key_file.parent) as file:
        file.write(b64encode(os.urandom(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, key_file)


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeError):
        return ""
