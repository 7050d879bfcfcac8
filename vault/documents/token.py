"""The stored token."""

from typing import Any, ClassVar

from mongoengine import DateTimeField, ListField, StringField

from vault.crypto.token_key import TokenKey
from vault.documents.stored import Stored
from vault.moments import since_1970

_TEXTS = ("id", "name", "namespace", "created_by")
_LISTS = ("scopes", "networks")
_TIMES = ("created_at", "expires_at", "revoked_at")


class Token(Stored):
    """What is known of a token: all but the token itself.

    The seal covers every other field, so whoever can write to the database can neither make a token nor
    widen one.
    """

    #: The token's keyed hash.
    id = StringField(primary_key=True)
    #: Never used twice, so that the audit trail stays clear.
    name = StringField(required=True)
    namespace = StringField(required=True)
    scopes = ListField(StringField())
    #: Where it may be used from; anywhere if there are none.
    networks = ListField(StringField())
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    expires_at = DateTimeField()
    revoked_at = DateTimeField()
    seal = StringField(required=True)

    meta: ClassVar = {"collection": "tokens"}

    def close(self, key: TokenKey) -> None:
        """Seal what the fields hold now."""
        self.seal = key.seal(self._record())

    def is_genuine(self, key: TokenKey) -> bool:
        """Return whether all is as it was sealed: the fields' types too."""
        try:
            return key.sealed(self._record(), self.seal)
        except (AttributeError, TypeError, ValueError):
            return False

    def _record(self) -> dict[str, Any]:
        """Return what the seal covers: texts, lists, and times in milliseconds since 1970."""
        times = {name: getattr(self, name) for name in _TIMES}
        return {
            **{name: getattr(self, name) for name in _TEXTS},
            **{name: list(getattr(self, name)) for name in _LISTS},
            # A time of another type, which nothing here would write, raises.
            **{name: time and since_1970(time) for name, time in times.items()},
        }
