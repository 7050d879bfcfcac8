"""The kinds of files that `audit verify` compares a trail with, besides checkpoints and heads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Protocol, Self, TypeVar

import click

from vault.common import feature
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.trail.claims import Claims
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import Finding
from vault.core.trail.receipts import MAX_LENGTH, Receipts
from vault.toolkit.cli import parameters

Command = TypeVar("Command", bound=Callable[..., Any])


class CountedClaims(Claims, Protocol):
    """Claims that are counted."""

    #: The numbers of claims by outcome.
    counts: dict[str, int]


class EvidenceFile(ABC):
    """A file with evidence about a trail. Each subclass is a kind of such files, and features bring some."""

    #: Its name, which is that of the first of its options of `audit verify`, and all of them.
    name: ClassVar[str]
    options: ClassVar[tuple[Callable[[Any], Any], ...]]
    #: True if the trail has to prove more of it than heads.
    has_claims: ClassVar[bool] = False
    # Once it is read: the claims, and what else the result and the notes say about it.
    claims: CountedClaims | None = None
    facts: Mapping[str, Any] = {}
    notes: Sequence[str] = ()

    def __init__(self, file: Any) -> None:
        """Take an open *file*."""
        self.file = file

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self | None:
        """Return the file that is *given* by the options, if one is.

        Raises:
            click.UsageError: The options contradict each other.
        """
        return cls(given[cls.name]) if given[cls.name] else None

    @abstractmethod
    def read(self, evidence: Evidence) -> Iterable[Finding]:
        """Add its heads to *evidence*, after those of checkpoints, and return the findings about the file.

        Raises:
            InvalidCheckpointError: It is no such file, or not signed by a key that is known.
        """


class ReceiptFile(EvidenceFile):
    """Receipts, one a line."""

    name = "receipts"
    options = (
        click.option(
            "--receipts", type=parameters.TEXT_FILE, help="Look for the entries of receipts, one a line."
        ),
    )
    has_claims = True

    def read(self, evidence: Evidence) -> Iterator[Finding]:
        """Return the findings about the lines, each of which is read when its finding is due."""
        self.claims = receipts = Receipts(evidence.keys)
        lines = ((line.strip(), number) for number, line in enumerate(self._lines(), 1))
        return chain.from_iterable(receipts.add(line, number) for line, number in lines if line)

    def _lines(self) -> Iterator[str]:
        """Yield the lines; of a line that is longer than any receipt, the beginning."""
        is_begin = True
        for part in iter(partial(self.file.readline, MAX_LENGTH), ""):
            if is_begin:
                yield part
            is_begin = part.endswith("\n")


def kinds() -> list[type[EvidenceFile]]:
    """Return all kinds of files, those with claims last: their heads come after the ones of checkpoints."""
    added = feature.resolved(path for one in feature.features() for path in one.evidence)
    return sorted([ReceiptFile, *added], key=lambda kind: kind.has_claims)


def file_options(command: Command) -> Command:
    """Add the options of all kinds of files to *command*."""
    for option in reversed([option for kind in kinds() for option in kind.options]):
        command = option(command)
    return command


def files_of(given: Mapping[str, Any]) -> list[EvidenceFile]:
    """Return the files that are *given* by their options.

    Raises:
        click.UsageError: The options contradict each other.
    """
    return [file for kind in kinds() if (file := kind.of(given))]


def keys_in(bundle: bytes, option: str) -> dict[str, VerifyingKey]:
    """Return the public keys in *bundle*, the value of an *option*, by signer."""
    try:
        return {key.signer: key for key in VerifyingKey.from_pem(bundle)}
    except ValueError:
        raise click.UsageError(f"{option} does not hold Ed25519 public keys.") from None
