"""Files of certificate authorities in the URLs of sources."""

import os
from pathlib import Path

import pytest

from vault.features.rotation.sources.authorities import require_file
from vault.features.rotation.sources.errors import SourceRefusedError
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind

_URLS = {
    SourceKind.POSTGRESQL: "postgresql://a:b@127.0.0.1:1/c?sslrootcert=",
    SourceKind.MYSQL: "mysql://a:b@127.0.0.1:1/?ssl_ca=",
    SourceKind.MONGODB: "mongodb://a:b@127.0.0.1:1/?tlsCAFile=",
    SourceKind.REDIS: "rediss://a:b@127.0.0.1:1/?ssl_ca_certs=",
}


@pytest.mark.parametrize("kind", _URLS)
def test_a_pipe_is_not_read(tmp_path: Path, kind: SourceKind) -> None:
    """Its reader would wait for ever, with all requests of the process."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceRefusedError, match="is not a file, or is too large"):
        open_source(kind, f"{_URLS[kind]}{tmp_path / 'pipe'}", seconds=5, commands=()).login("a", "b")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """As a pipe; a missing file is left to the driver, which refuses it."""
    path = tmp_path / "large"
    require_file(str(path))
    path.touch()
    require_file(str(path))
    os.truncate(path, 2**30)
    with pytest.raises(SourceRefusedError, match="too large"):
        require_file(str(path))
