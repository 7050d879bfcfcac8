"""Files of certificate authorities that the URLs of sources name."""

from pathlib import Path
from stat import S_ISREG

from vault.features.rotation.sources.errors import SourceRefusedError

#: Those of a whole system have about 0.3 MB.
_MAX_BYTES = 4_194_304


def require_file(path: str | None) -> None:
    """Require that *path* is no pipe, device or large file: who reads one can hang, with the whole process.

    No path, and a missing file, are left to the driver.

    Raises:
        SourceRefusedError: It is.
    """
    if path is None:
        return
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return
    if not S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
        raise SourceRefusedError("the URL's file of certificate authorities is not a file, or is too large")
