"""Removal of tokens that expired long ago; their names stay taken."""

from contextlib import suppress

from vault.common.errors import VaultError
from vault.common.periodic import Periodic
from vault.core.access.publishing import kinds
from vault.core.access.token_keys import TokenKeys
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token

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
        """Remove them. Altered tokens stay: operators have to see them. So do those of `_names_above`."""
        # Already logged.
        with suppress(VaultError):
            if key := self._keys.find():
                kept, is_last = 0, False
                with storage_errors():
                    above = _names_above()
                while not is_last:
                    with storage_errors():
                        expired = Token.long_expired(without=kept, limit=_MAX_BATCH)
                        ended = [
                            token.id for token in expired if token.name not in above and token.is_genuine(key)
                        ]
                        Token.keep_names(ended)
                    kept += len(expired) - len(ended)
                    is_last = len(expired) < _MAX_BATCH

    def close(self) -> None:
        """Stop, after the current removal if there is one."""
        self._removals.close()


def _names_above() -> set[str]:
    """Return the names of the tokens that created what does not expire, directly or through others.

    A cascade finds it by these tokens.
    """
    above: set[str] = set()
    names = [name for kind in kinds() if kind.keeps_makers for name in kind.raw().distinct("created_by")]
    # An attacker may have stored other types.
    while new := {name for name in names if isinstance(name, str)} - above:
        above |= new
        names = Token.raw().distinct("created_by", {"name": {"$in": list(new)}})
    return above
