"""JWTs as credentials: the issuer that verifies each, and the role that it acts with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from vault.common import clock
from vault.common.errors import InvalidCredentialError, VaultError
from vault.core.principal import Principal
from vault.features.jwt.directory import (
    SETTINGS_ISSUER,
    Directory,
    KnownIssuer,
    KnownRole,
    Snapshot,
    settings_issuer_id,
)
from vault.features.jwt.verification import (
    MAX_LONG_SUBJECT_CHARACTERS,
    Claims,
    JWTAuthenticator,
    expiry,
    issued_at,
    own_principal,
    subject,
    unverified,
)

#: The maximum number of roles, and of wrong claims of one, that a reason names.
_MAX_NAMED = 3

#: The maximum number of roles that are searched for the closest one.
_MAX_COMPARED = 50

_NEVER = datetime.max.replace(tzinfo=UTC)

#: The number of dots in a JWT.
_DOTS = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of the service about one part of a JWT."""

    part: str
    text: str
    #: With the last finding, if the JWT is accepted.
    principal: Principal | None = None


@dataclass(frozen=True, slots=True)
class _JWT:
    """A verified JWT, with the facts in its claims that do not depend on a role."""

    issuer: KnownIssuer
    claims: Claims
    #: The name of its principal.
    name: str
    expires_at: datetime
    issued_at: datetime | None

    @classmethod
    def verified(cls, issuer: KnownIssuer, credential: str, *, may_be_expired: bool = False) -> Self:
        """Verify *credential* with the keys of *issuer*. Errors as `JWTVerifier.claims`."""
        try:
            claims = issuer.verifier.claims(credential, may_be_expired=may_be_expired)
        except InvalidCredentialError as error:
            raise InvalidCredentialError(f"issuer {issuer.name}: {error.reason}") from None
        # Names of tokens and issuers have no colon: no JWT can pass for a token, or for another issuer's.
        if issuer.is_own:
            name = f"jwt:{subject(claims)}"
        else:
            name = f"{issuer.name}/jwt:{subject(claims, MAX_LONG_SUBJECT_CHARACTERS)}"
        expires_at = _NEVER if may_be_expired else expiry(claims, principal=name)
        return cls(issuer, claims, name, expires_at, issued_at(claims))


class JWTCredentials:
    """JWTs as credentials.

    JWTs of a stored issuer act through roles only. JWTs of the issuer in the settings act with their own
    `scope` and `namespace` unless the conditions of a role hold, or could hold: an altered or unread role can
    have any. With `JWT_ROLES_ONLY`, they never do.
    """

    def __init__(self, own: JWTAuthenticator, directory: Directory) -> None:
        self._own = own
        self._directory = directory

    def has_form(self, credential: str) -> bool:
        """Return whether *credential* has the form of a JWT."""
        return credential.count(".") == _DOTS

    def principal(self, credential: str, role: str = "", *, may_be_expired: bool = False) -> Principal:
        """Return the principal of a JWT, which acts with the *role* of this name, if one is given.

        The caller checks its expiry and networks. The principal of a JWT that *may_be_expired* and acts with
        a role expires with the longest age of the role.

        Raises:
            InvalidCredentialError: The JWT is invalid, or does not match exactly one role.
            CredentialsUnavailableError: The issuer's keys are not available now.
            StorageUnavailableError: MongoDB is not available.
        """
        known = self._directory.current()
        if known.is_empty and not (role or self._own.roles_only):
            return self._own.principal(credential)
        issuer = self._issuer(credential, known)
        verified = _JWT.verified(issuer, credential, may_be_expired=may_be_expired)
        return self._principal_for(verified, role, known)

    def explain(self, credential: str, role: str = "") -> Iterator[Finding]:
        """Yield the findings about a JWT, part by part, until one refuses it.

        Raises:
            StorageUnavailableError: MongoDB is not available.
        """
        known = self._directory.current()
        try:
            issuer = self._issuer(credential, known)
            yield Finding("issuer", issuer.name)
            jwt = _JWT.verified(issuer, credential)
            until = jwt.expires_at.isoformat(timespec="seconds")
            yield Finding("JWT", f"verified, valid until {until}")
            now = clock.now()
            for name, known_role in sorted(known.roles.get(issuer.id, {}).items()):
                wrong = known_role.mismatches(jwt.claims, jwt.issued_at, now)
                yield Finding(f"role {name}", f"does not match: {', '.join(wrong)}" if wrong else "matches")
            yield Finding("result", "accepted", self._principal_for(jwt, role, known))
        except InvalidCredentialError as error:
            yield Finding("result", f"refused: {error.reason}")
        except VaultError as error:
            yield Finding("result", f"refused: {error}")

    def _issuer(self, credential: str, known: Snapshot) -> KnownIssuer:
        """Return the issuer whose keys must verify *credential*, by its unverified `iss` and `aud`."""
        iss, audiences = unverified(credential)
        candidates = [*self._settings_issuer(iss), *known.issuers.get(iss, ())]
        fitting = [issuer for issuer in candidates if issuer.verifier.audience in audiences]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise InvalidCredentialError("issuer: several audiences")
        if candidates:
            raise InvalidCredentialError(f"issuer {candidates[0].name}: audience")
        raise InvalidCredentialError("issuer: altered" if known.altered_issuers else "issuer: unknown")

    def _settings_issuer(self, iss: str) -> list[KnownIssuer]:
        verifier = self._own.verifier
        if verifier is None or verifier.issuer != iss:
            return []
        return [KnownIssuer(settings_issuer_id(verifier), SETTINGS_ISSUER, verifier, is_own=True)]

    def _principal_for(self, jwt: _JWT, name: str, known: Snapshot) -> Principal:
        """Return the principal of *jwt*, with the rights of one role.

        With a *name*, it is that role; otherwise, the only one that matches.
        """
        roles = known.roles.get(jwt.issuer.id, {})
        now = clock.now()
        candidates = [roles[name]] if name in roles else [] if name else list(roles.values())
        applying = [role for role in candidates if role.applies(jwt.claims)]
        # A role that has ended, or for which the JWT is too old, leaves no more rights than it gave.
        matching = [role for role in applying if not role.lapses(jwt.issued_at, now)]
        if len(matching) == 1:
            return _with_role(matching[0], jwt)
        if jwt.issuer.is_own and known.has_all_roles and not (applying or name or self._own.roles_only):
            return own_principal(jwt.claims)
        if matching:
            names = sorted(role.name for role in matching)
            raise InvalidCredentialError(f"several roles: {_listed(names)}", principal=jwt.name, roles=names)
        reason = _mismatch_reason(candidates, jwt, now, known)
        raise InvalidCredentialError(reason, principal=jwt.name)


def _with_role(role: KnownRole, jwt: _JWT) -> Principal:
    ends = (jwt.expires_at, role.expires_at, role.latest_use(jwt.issued_at))
    return Principal(
        name=jwt.name,
        namespace=role.namespace,
        scopes=role.scopes,
        paths=role.paths,
        all_namespaces=role.all_namespaces,
        networks=role.networks,
        expires_at=min(end for end in ends if end),
        role=role.name,
        issuer=jwt.issuer.name,
    )


def _mismatch_reason(candidates: Sequence[KnownRole], jwt: _JWT, now: datetime, known: Snapshot) -> str:
    """Return the reason for a JWT that matches none of *candidates*: the mismatches of the closest one."""
    suffix = f"; altered: {_listed(known.altered_roles)}" if known.altered_roles else ""
    if known.is_truncated:
        suffix += "; not all roles were read"
    if not candidates:
        return f"role: none{suffix}"
    wrong, name = min(
        ((role.mismatches(jwt.claims, jwt.issued_at, now), role.name) for role in candidates[:_MAX_COMPARED]),
        key=lambda mismatch: (len(mismatch[0]), mismatch[1]),
    )
    return f"role {name}: {_listed(wrong)}{suffix}"


def _listed(texts: Sequence[str]) -> str:
    """Return the first of *texts*: anyone who has an account with an issuer can cause a reason."""
    return ", ".join(texts[:_MAX_NAMED]) + (" …" if len(texts) > _MAX_NAMED else "")
