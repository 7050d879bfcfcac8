"""Run the load generator wrk and parse its output."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
#: Where the scripts find `summary.lua`; the last part is Lua's default.
_LUA_PATH = f"{_FOLDER}/?.lua;;"
_FIGURES = re.compile(r"^figures:((?: \d+){6})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of one run of a load generator."""

    requests: int
    a_second: float
    #: Milliseconds.
    p50: float
    p99: float
    p999: float
    #: Refusals, and requests without a reply.
    errors: int


def run(script: str, url: str, *arguments: str, connections: int, seconds: int) -> Load:
    """Load *url* and return the figures.

    Raises:
        CalledProcessError: wrk failed.
        RuntimeError: It printed no figures.
    """
    command = ["wrk", "--timeout", "10s"]
    command += [f"-t{threads(connections)}", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", str(_FOLDER / script), url, "--", *arguments]
    environment = {**os.environ, "LUA_PATH": _LUA_PATH}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = _FIGURES.search(out)
    if not found:
        raise RuntimeError(f"cannot parse the output of wrk:\n{out}")
    requests, microseconds, p50, p99, p999, errors = map(int, found[1].split())
    a_second = requests / (microseconds / 1e6)
    return Load(requests, a_second, p50 / 1_000, p99 / 1_000, p999 / 1_000, errors)


def threads(connections: int) -> int:
    """Return the number of threads for *connections*."""
    return min(2, connections)
