"""Removal of tokens that expired long ago; their names stay taken."""

from contextlib import suppress

from vault.auth.token_keys import TokenKeys
from vault.core.errors import VaultError
from vault.core.periodic import Periodic
from vault.documents.guard import storage_errors
from vault.documents.token import Token

_INTERVAL_SECONDS = 600

#: Tokens in one round trip; verifying their seals takes about 10 ms.
_MAX_BATCH = 100


class EndedTokens:
    """Tokens that expired so long ago that only their names are kept.

    All processes remove them, each about every 15 minutes.
    """

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._removals = Periodic("ended-tokens", _INTERVAL_SECONDS, self.remove, spread=_INTERVAL_SECONDS)

    def start(self) -> None:
        """Remove them from now on, in a thread."""
        self._removals.start()

    def remove(self) -> None:
        """Remove them. Altered tokens stay: operators have to see them."""
        # The log has it already, where it happened.
        with suppress(VaultError):
            if key := self._keys.find():
                altered, is_last = 0, False
                while not is_last:
                    with storage_errors():
                        found = Token.long_expired(without=altered, limit=_MAX_BATCH)
                        genuine = [token.id for token in found if token.is_genuine(key)]
                        Token.keep_names(genuine)
                    altered += len(found) - len(genuine)
                    is_last = len(found) < _MAX_BATCH

    def close(self) -> None:
        """Stop, after the current removal if there is one."""
        self._removals.close()
