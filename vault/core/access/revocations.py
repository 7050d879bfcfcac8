"""Revocations of tokens, alone or with all that they created. Errors as in `publishing`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from ipaddress import ip_network

from vault.common import clock
from vault.common.errors import RevocationRefusedError
from vault.common.networks import cover
from vault.common.outcomes import Status
from vault.common.paths import Paths
from vault.common.timestamps import to_milliseconds
from vault.core.access.entries import Rights, sees_all
from vault.core.access.publishing import delete_made_by, kinds, made_by, standing_of
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.sealed import SealedDocument
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR, SIDES_OF_USE, scopes_named

#: The most tokens that a revocation names as staying.
MAX_NAMED = 1_000


class Cascade(Enum):
    """The extent of a revocation, with its name in the audit entry. It includes all generations.

    Whatever it is, what acts in the name of a revoked token ends with it, such as a wrapped reply.
    """

    NONE = ""
    #: The tokens that it created, except orphans.
    CHILDREN = "children"
    #: All tokens that it created, also orphans, and all else that it made.
    ALL = "cascade"

    @property
    def details(self) -> dict[str, bool]:
        """The details of the audit entry."""
        return {self.value: True} if self.value else {}


@dataclass(frozen=True, slots=True)
class Standing:
    """Something that a revoked token created, which stays in effect."""

    #: One of `standing_kinds`.
    kind: str
    #: The name within its namespace, or the ID of what has no name.
    name: str


def standing_kinds() -> list[str]:
    """Return the kinds of what `Cascade.ALL` ends, and a plain revocation leaves."""
    return ["token", *(kind.noun for kind in kinds() if kind.outlasts_creator)]


@dataclass(frozen=True, slots=True)
class Revocation:
    """The result of a revocation."""

    #: The names of the tokens that it revoked, without those revoked earlier.
    revoked: tuple[str, ...]
    #: What those tokens created, directly, and a revocation with `Cascade.ALL` would end; of tokens, at most
    #: `MAX_NAMED`.
    stays: tuple[Standing, ...]


def require_covered(token: Token, key: TokenKey, attempt: Attempt) -> None:
    """Require that the principal of *attempt* has everything that *token* has, or is that token.

    Altered tokens are invalid, so anyone may revoke them.

    Raises:
        RevocationRefusedError: The token has more.
    """
    if attempt.principal.name != token.name and token.is_genuine(key):
        require_rights(token, "token", attempt)


def require_rights(held: Rights, kind: str, attempt: Attempt) -> None:
    """Require that the principal of *attempt* has everything that *held*, of this *kind*, has.

    Scopes unknown to this version do not count.

    Raises:
        RevocationRefusedError: It has more.
    """
    principal = attempt.principal
    if principal is OPERATOR:
        return
    networks = [ip_network(text) for text in held.networks]
    is_within = bool(networks) and all(cover(principal.networks, other) for other in networks)
    more = {
        # No administrator has those of a use: anyone who may revoke a token may revoke these.
        "scopes": scopes_named(held.scopes) - SIDES_OF_USE - principal.scopes,
        "networks": principal.networks and not is_within,
        "paths": not principal.paths.cover(Paths.of(held.paths or ())),
        "all namespaces": sees_all(held) and not (principal.paths or principal.sees_all_entries),
    }
    if refused := ", ".join(name for name, excess in more.items() if excess):
        attempt.details["reason"] = f"has more: {refused}"
        raise RevocationRefusedError(f"This {kind} has more than yours: {refused}.")


def revoke_all(tokens: Sequence[Token], key: TokenKey, *, cascade: Cascade, attempt: Attempt) -> Revocation:
    """Revoke *tokens*, and their descendants as *cascade* says.

    The entry of *attempt* is durable; each further token gets its own first.
    """
    ended = [token.plain_name for token in tokens if _revoke(token, key)]
    # The name of an altered one can be that of another.
    creators = {str(token.name) for token in tokens if token.is_genuine(key)}
    if cascade is not Cascade.NONE:
        created, names = _revoke_created([token.name for token in tokens], key, cascade, attempt)
        ended += created
        creators |= names
    stays = () if cascade is Cascade.ALL else _standing(creators, key)
    return Revocation(tuple(ended), stays)


def _standing(creators: Collection[str], key: TokenKey) -> tuple[Standing, ...]:
    """Return what *creators* created, and is in effect."""
    now = clock.now()
    with storage_errors():
        tokens = Token.in_effect(creators, now, limit=MAX_NAMED)
    return (
        *(Standing("token", token.plain_name) for token in tokens if token.is_genuine(key)),
        *(_named(document) for document in standing_of(creators, key) if not _has_expired(document, now)),
    )


def _has_expired(document: SealedDocument, now: datetime) -> bool:
    """Return whether *document* has expired. Some kinds never do."""
    expires_at: datetime | None = getattr(document, "expires_at", None)
    return expires_at is not None and expires_at <= now


def _named(document: SealedDocument) -> Standing:
    return Standing(document.noun, next(iter(document.end_details().values())))


def holdings(principal: str, key: TokenKey) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the kind and name of all that `offboard` ends, and the names of *principal* and its descendants.

    Tokens have their stored names. The descendants include revoked ones.
    """
    with storage_errors():
        tokens = list(Token.objects(name=principal, pending=None))
    found = [("token", str(token.name)) for token in tokens if not token.revoked_at]
    creators = names = [principal]
    while creators:
        for document in made_by(creators, key):
            one = _named(document)
            found.append((one.kind, one.name))
        with storage_errors():
            made = [token for token in Token.created_by_any(creators) if _is_descendant(token, key, names)]
        found += [("token", str(token.name)) for token in made if not token.revoked_at]
        creators = [token.name for token in made]
        names = names + creators
    return found, names


def offboard(principal: str, key: TokenKey, attempt: Attempt) -> None:
    """Revoke the tokens of *principal*, a name as the trail has it, and end everything that it created.

    Each has its entry first. To complete a failed call, repeat it.
    """
    with storage_errors():
        tokens = list(Token.objects(name=principal, pending=None))
    for token in tokens:
        if not token.revoked_at:
            details = {"token": token.plain_name, "namespace": token.namespace, **Cascade.ALL.details}
            replace(attempt, details=details).finish(Status.SUCCESS)
            _revoke(token, key)
    _revoke_created([principal], key, Cascade.ALL, attempt)


def _is_descendant(token: Token, key: TokenKey, seen: Collection[str]) -> bool:
    """Return whether *token* is one. The creator of an altered one is uncertain, and it is invalid."""
    return token.is_genuine(key) and token.name not in seen


def _revoke(token: Token, key: TokenKey) -> bool:
    """Revoke *token*; return False if it already was."""
    changes = {"set__revoked_at": to_milliseconds(clock.now())}
    if token.is_genuine(key):
        if token.revoked_at:
            return False
        token.revoked_at = changes["set__revoked_at"]
        token.close(key)
        changes["set__seal"] = token.seal
        if token.renewable_until:
            # As it is sealed: the token may have been renewed since it was read.
            changes["set__expires_at"] = token.expires_at
    with storage_errors():
        Token.objects(id=token.id).update_one(**changes)
    return True


def _revoke_created(
    creators: Sequence[str], key: TokenKey, cascade: Cascade, attempt: Attempt
) -> tuple[list[str], set[str]]:
    """Revoke the tokens that *creators* created, directly or through others; return their names.

    Also return the stored names of *creators* and of all these tokens, revoked earlier or now.

    With `Cascade.ALL`, all else that they made ends, as `SealedDocument.end` of its class does it.

    No token has more than its creator, so a principal that may revoke the first may revoke all.
    """
    ended = []
    seen = set(creators)
    while creators:
        if cascade is Cascade.ALL:
            delete_made_by(creators, key, attempt)
        with storage_errors():
            Token.withdraw_pending(creators)
            made = Token.created_by_any(creators)
        made = [
            token
            for token in made
            if _is_descendant(token, key, seen) and (cascade is Cascade.ALL or not token.orphan)
        ]
        for token in made:
            if not token.revoked_at:
                details = {
                    "token": token.plain_name,
                    "namespace": token.namespace,
                    "created_by": token.created_by,
                }
                replace(attempt, details=details).finish(Status.SUCCESS)
                _revoke(token, key)
                ended.append(token.plain_name)
        creators = [token.name for token in made]
        seen.update(creators)
    return ended, seen
