"""Makers: the credentials with which links and wrapped replies were made, and the end of their rights."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from vault.common import feature
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.token import Token
from vault.core.principal import Principal

#: The end of a right that has ended, and of one that does not end.
ENDED, ENDLESS = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Maker(NamedTuple):
    """A principal, by that on which its rights depend. Those of a JWT without a role never end here.

    A JWT itself lives for minutes, so its expiry ends nothing that was made with it.
    """

    #: The ID of its token, or the role that it acted with; empty for all others.
    token_id: str = ""
    role: str = ""

    @classmethod
    def of(cls, principal: Principal) -> "Maker":
        """Return the maker that *principal* is."""
        return cls(principal.token_id, principal.role)

    def end(self, key: TokenKey | None, *, since: datetime) -> datetime:
        """Return the end of the right that it had at the time *since*, wherever it is used.

        Raises:
            PyMongoError: MongoDB did not answer.
        """
        valid: list[Any]
        if self.token_id:
            tokens = [Token.genuine(document, key) for document in Token.active({"_id": self.token_id})]
            valid = [token for token in tokens if token and not token.revoked_at]
        elif self.role:
            kinds = (kind for kind in feature.documents() if kind.is_role)
            stored = ((kind, document) for kind in kinds for document in kind.active({"name": self.role}))
            roles = [kind.genuine(document, key) for kind, document in stored]
            # Not of one that was deleted, and made again under its name.
            valid = [role for role in roles if role and role.created_at <= since]
        else:
            return ENDLESS
        return max((one.expires_at or ENDLESS for one in valid), default=ENDED)
