"""Run the load generator wrk and parse its output."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
#: The numbers in "Socket errors: connect 0, read 0, write 0, timeout 1" and "Non-2xx or 3xx responses: 1".
_ERRORS = r"(?:connect|read|write|timeout|responses:) (\d+)"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of one run of a load generator."""

    requests: int
    a_second: float
    #: Milliseconds.
    p50: float
    p99: float
    #: Refusals, and requests without a reply.
    errors: int


def run(script: str, url: str, *arguments: str, connections: int, seconds: int) -> Load:
    """Load *url* and return the figures."""
    command = ["wrk", "--latency", "--timeout", "10s"]
    command += [f"-t{threads(connections)}", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", str(_FOLDER / script), url, "--", *arguments]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Load(
        requests=int(_found(r"(\d+) requests in", out)),
        a_second=float(_found(r"Requests/sec:\s+([\d.]+)", out)),
        p50=_milliseconds(_found(r"\n\s+50%\s+(\S+)", out)),
        p99=_milliseconds(_found(r"\n\s+99%\s+(\S+)", out)),
        errors=sum(map(int, re.findall(_ERRORS, out))),
    )


def threads(connections: int) -> int:
    """Return the number of threads for *connections*."""
    return min(2, connections)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if not match:
        raise RuntimeError(f"cannot parse the output of wrk:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]
