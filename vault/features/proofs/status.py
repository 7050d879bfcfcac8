"""The line of the witnesses in the status of an installation."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.core.status import Line, moment_text
from vault.features.proofs.witnesses import Witnesses


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about the witnesses, if there are some."""
    witnesses = parts.of(Witnesses)
    if not witnesses.all:
        return
    found = witnesses.successes()
    # A process that has just started does not miss a first success yet.
    problems = witnesses.warnings or [
        f"{host} has confirmed nothing yet" for host, at in found.items() if not at
    ]
    text = ", ".join(f"{host} last {moment_text(at)}" for host, at in found.items())
    yield Line.of("witnesses", "docs/evidence.md#witnesses", text, problems)
