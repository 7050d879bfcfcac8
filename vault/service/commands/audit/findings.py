"""The findings of `audit verify`, as it prints them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from vault.common.text import printable
from vault.core.trail.findings import Finding, Gravity
from vault.service.commands.audit.source import OR_REAL, Source
from vault.toolkit.cli.output import Output

#: The maximum number of findings that are held back, so that what can explain them is printed before them.
_MAX_HELD = 1_000

#: The maximum number of names in a note, and of characters of a name.
_MAX_NAMES, _MAX_NAME_LENGTH = 5, 40

_FILTERED = (
    "Entries are missing. Hint: an export with filters cannot be verified, so export without them; if this "
    f"one has none, {OR_REAL}"
)


@dataclass(slots=True)
class FindingsReport:
    """Prints findings. Up to `_MAX_HELD` of them wait, so that what can explain them comes first.

    An explanation changes no finding, and no exit code.
    """

    source: Source
    output: Output
    kinds: set[Gravity] = field(default_factory=set)
    #: By signer. There is at most one for each signature that a `Verifier` verifies, as in its own memory.
    _unknown: dict[str, list[Finding]] = field(default_factory=dict)
    _held: list[Finding] = field(default_factory=list)
    #: Tampering, apart from unknown signers: with and without missing entries as its cause.
    _gaps: int = 0
    _changes: int = 0

    def add(self, finding: Finding) -> None:
        """Take the next finding."""
        self.kinds.add(finding.kind)
        if finding.unknown_signer:
            self._unknown.setdefault(finding.unknown_signer, []).append(finding)
            return
        self._gaps += finding.tampering and finding.is_gap
        self._changes += finding.tampering and not finding.is_gap
        self._held.append(finding)
        if len(self._held) >= _MAX_HELD:
            self._print(self._held)
            self._held.clear()

    def finish(self) -> None:
        """Print the findings that are left, and before them what can explain them."""
        source = self.source
        if self._unknown:
            missing = f" Master keys in use that are missing here: {_some(source.missing)}."
            self.output.note(
                f"These signers are not among the keys of {source.place}: {_some(list(self._unknown))}."
                f"{missing if source.missing else ''} Hint: {source.remedy}"
            )
        if source.is_file and self._gaps and not self._changes:
            self.output.note(_FILTERED)
        for signer, findings in self._unknown.items():
            if len(findings) > 1 and not self.output.as_json:
                first = findings[0]
                self.output.text(
                    f"{first.kind}: {len(findings)} entries are signed by a key that is not known, "
                    f"{_some([signer])}: stream {printable(first.stream)} seq {first.seq}, and others that "
                    "--json names"
                )
            else:
                self._print(findings)
        self._print(self._held)

    def _print(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.output.result(asdict(finding), printable(str(finding)))


def _some(names: Sequence[str]) -> str:
    """Return the first of *names*, each of which can be any text, and the number of the others."""
    shown = [printable(name[:_MAX_NAME_LENGTH]) for name in names[:_MAX_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
