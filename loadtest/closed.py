"""Closed load with wrk: connections that create or fetch secrets, each again after its reply."""

from collections.abc import Sequence

import wrk
from baselines.processes import Contender


def offer(contender: Contender, names: Sequence[str]) -> None:
    """Write the list of secrets that wrk fetches from *contender*."""
    (contender.folder / "names").write_text("\n".join(names) + "\n")


def load(contender: Contender, what: str, connections: int, seconds: int) -> wrk.Load:
    """Load *contender* with creates, or with fetches of the offered secrets, and return the figures."""
    if what == "create":
        script, arguments = "create.lua", contender.create
    else:
        script, arguments = "fetch.lua", (*contender.fetch, str(contender.folder / "names"))
    arguments += contender.header
    return wrk.run(script, contender.url, *arguments, connections=connections, seconds=seconds)
