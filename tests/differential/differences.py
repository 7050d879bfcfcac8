"""The accepted differences between OpenBao and this service. `docs/vault-api.md` lists them as well."""

from typing import NamedTuple


class Difference(NamedTuple):
    """A difference, as a row of the document's table."""

    #: The request, as the table shows it.
    request: str
    #: The two answers.
    there: str
    here: str
    reason: str
    #: By program and step: the places of the observation at which the two differ, and at no others.
    steps: dict[str, dict[str, str]]


ACCEPTED: tuple[Difference, ...] = ()
