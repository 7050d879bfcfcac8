"""The line of compaction in the status of an installation."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.core.status import Line, State
from vault.core.trail.streams import ends
from vault.core.trail.streams.summaries import Listed

#: The streams without a summary from which on cursors are long, and checkpoints large.
_MAX_STREAMS = 1_000


def lines(parts: Parts) -> Iterator[Line]:
    """Yield a line if the trail has too many streams that no summary lists."""
    count = len(ends.highest(except_for=Listed(parts.keyring).rows))
    if count > _MAX_STREAMS:
        text = f"{count:,} streams in no summary: run `secret-manager audit compact`"
        yield Line("compaction", State.LOOK, text, "docs/audit.md#compaction")
