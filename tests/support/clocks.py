"""Processes with a clock that tests set."""

from pathlib import Path

#: Debian's package libfaketime, for any architecture. Of its two libraries this is the one for threads. Not
#: for `mongod`, which hangs under it when it stops.
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def can_set_clock() -> bool:
    """Return whether the library for another clock is installed."""
    return bool(_LIBRARIES)


def set_clock(file: Path, seconds: int) -> None:
    """Set the clock of the processes with `clock_environment`, as *seconds* ahead."""
    # Renamed into place: a process that reads half of it ends.
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(file)


def clock_environment(file: Path) -> dict[str, str]:
    """Return the variables of a process whose clock follows *file*."""
    return {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        # Read again each second.
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        # A change of a machine's clock does not change these.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
