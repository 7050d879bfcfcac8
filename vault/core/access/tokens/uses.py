"""Last uses of tokens, for operators who look for tokens that no one needs any more."""

from time import monotonic

from vault.common.periodic import Periodic
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.token import Token

_INTERVAL_SECONDS = 60

#: Maximum number of tokens in one round trip.
_MAX_BATCH = 1_000


class TokenUses:
    """The tokens that this process has accepted since the last flush; memory is bounded by their number.

    Requests only note a use. A background thread stores them once a minute; while MongoDB is unavailable,
    they are lost.
    """

    def __init__(self) -> None:
        #: The monotonic time of the last use, by the token's ID.
        self._latest: dict[str, float] = {}
        self._flushes = Periodic("token-uses", _INTERVAL_SECONDS, self.flush)

    def note(self, token_id: str) -> None:
        """Note that the token was used now."""
        self._latest[token_id] = monotonic()
        if not self._flushes.started:
            self._flushes.start()

    def flush(self) -> None:
        """Store the noted uses, and forget them."""
        # Each removal is atomic: requests note uses meanwhile.
        uses = [self._latest.popitem() for _ in range(len(self._latest))]
        for start in range(0, len(uses), _MAX_BATCH):
            now = monotonic()
            ages = {
                token_id: round(1_000 * (now - used)) for token_id, used in uses[start : start + _MAX_BATCH]
            }
            with storage_errors():
                Token.store_uses(ages)

    def close(self) -> None:
        """Stop, and store the remaining uses, if MongoDB allows it."""
        self._flushes.close()
        with best_effort_cleanup():
            self.flush()
