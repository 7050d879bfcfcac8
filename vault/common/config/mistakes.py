"""Likely mistakes in valid settings: names close to that of a setting, and key files that others can read."""

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

#: Below, other programs' variables are close to a setting, such as SSL_CERT and TLS_CERT.
_MIN_SIMILARITY = 0.85
#: Shorter names, such as BIND, are close to too many others.
_MIN_LENGTH = 7
#: Shorter words, such as a single letter, begin too many others.
_MIN_WORD = 3
#: The names of settings that name files themselves.
_OF_FILES = re.compile("TLS_.*|.*_FILE")
#: Docker mounts secrets there, by default readable by all users of the container.
_CONTAINER_SECRETS = Path("/run/secrets")


def near_misses(
    names: Iterable[str], settings: Collection[str], used: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield each of *names* that is close to one of *settings*, and that setting.

    Settings that are *used* are no mistakes. The setting ends in `_FILE` if the name ends in `FILE`, except
    one that names a file itself.
    """
    free = [name for name in settings if name not in used]
    for name in sorted(names):
        names_file = name.upper().endswith("FILE")
        base = name.upper().replace("-", "_").removesuffix("FILE").removesuffix("_")
        found = _closest(base, free) if {name, name.removesuffix("_FILE")}.isdisjoint(settings) else None
        if found:
            yield name, f"{found}_FILE" if names_file and not _OF_FILES.fullmatch(found) else found


def _closest(name: str, settings: Collection[str]) -> str | None:
    if name in settings:
        return name
    # APP_LOG_LEVEL is that of another program.
    long = [one for one in settings if len(one) >= _MIN_LENGTH and not name.endswith(f"_{one}")]
    # A part of at least two words, such as AUDIT_TTL.
    begun = [setting for setting in long if "_" in name and setting.startswith(f"{name}_")]
    # Other forms or another order of its words, such as ENABLE_AUTH and TLS_CERTIFICATE.
    alike = [setting for setting in long if _have_same_words(name, setting)]
    found = get_close_matches(name, long, 1, _MIN_SIMILARITY) or begun or alike
    return found[0] if found and len(name) >= _MIN_LENGTH else None


def _have_same_words(one: str, other: str) -> bool:
    """Return whether the names have the same words, of which some are cut off in one of them."""
    words, others = sorted(one.split("_")), sorted(other.split("_"))
    if len(words) != len(others):
        return False
    pairs = [sorted(pair, key=len) for pair in zip(words, others, strict=True)]
    return all(len(short) >= _MIN_WORD and long.startswith(short) for short, long in pairs)


def exposed_files(files: Mapping[str, str]) -> Iterator[str]:
    """Yield a phrase for each of *files* with a key, by the name of its variable, that all users can read."""
    for name, file in files.items():
        if _is_exposed(Path(file)):
            yield f"all users of this machine can read the file that {name} names; run `chmod o-r` on it"


def _is_exposed(path: Path) -> bool:
    with suppress(OSError, ValueError):
        state = path.stat()
        # The service itself keeps a key in memory, in a file without a name.
        is_named = stat.S_ISREG(state.st_mode) and state.st_nlink > 0
        is_mounted = path.resolve().is_relative_to(_CONTAINER_SECRETS)
        return is_named and bool(state.st_mode & stat.S_IROTH) and not is_mounted
    # There is no such file, or it has disappeared since it was read, as a pipe can.
    return False
