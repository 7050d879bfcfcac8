"""Creating, listing and deleting issuers of JWTs."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vault.common import clock
from vault.common.errors import GrantRefusedError, LimitReachedError
from vault.common.outcomes import Status
from vault.common.timestamps import to_milliseconds
from vault.core.access.publishing import publish
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.principal import ALL_RIGHTS, DEFAULT_NAMESPACE, Principal
from vault.features.jwt.directory import MAX_ISSUERS, SETTINGS_ISSUER, settings_issuer_id, shown_name
from vault.features.jwt.documents import Issuer, Role
from vault.features.jwt.errors import IssuerInUseError, IssuerNotFoundError, IssuerTakenError
from vault.features.jwt.verification import ALGORITHMS, JWTAuthenticator, JWTVerifier, key_algorithms

#: The states of an issuer; `settings`: it is the one in the settings.
STATES = ("active", "settings", "altered")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIssuer:
    """The request for a new issuer, with either a JWKS URL or a public key."""

    name: str
    issuer: str
    audience: str
    jwks_url: str | None = None
    #: In PEM.
    public_key: str | None = None
    #: If empty, all that fit.
    algorithms: tuple[str, ...] = ()

    def fitting_algorithms(self) -> tuple[str, ...]:
        """Return the algorithms that fit the keys."""
        return key_algorithms(self.public_key) if self.public_key else ALGORITHMS


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerInfo:
    """The public fields of an issuer."""

    name: str
    #: One of `STATES`.
    state: str
    issuer: str = ""
    audience: str = ""
    jwks_url: str | None = None
    public_key: str | None = None
    algorithms: tuple[str, ...] = ()
    created_at: datetime | None = None
    created_by: str = ""


class Issuers:
    """The issuers of one deployment. They are not of a namespace: roles of any can refer to them.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, own: JWTAuthenticator) -> None:
        """Use the token key of *keys*, and the issuer of *own*, which is in the settings."""
        self._keys = keys
        self._own = own

    def create(self, new: NewIssuer, *, attempt: Attempt) -> None:
        """Create an issuer; it takes effect on every replica within 5 seconds.

        Raises:
            GrantRefusedError: The principal is limited, and so may not manage issuers.
            IssuerTakenError: Another issuer has the name, or the `iss` and audience.
            LimitReachedError: There are `MAX_ISSUERS`.
            InvalidCredentialError: The creator was revoked in the meantime.
        """
        attempt.details |= {"issuer_name": new.name, "iss": new.issuer, "aud": new.audience}
        require_unlimited(attempt.principal)
        verifier = self._own.verifier
        if new.name == SETTINGS_ISSUER:
            raise IssuerTakenError("This name is reserved for the issuer in the settings.")
        if verifier and (verifier.issuer, verifier.audience) == (new.issuer, new.audience):
            raise IssuerTakenError("The issuer in the settings has this `iss` and audience.")
        key = self._keys.find_or_make()
        with storage_errors():
            if Issuer.raw().count_documents({}) >= MAX_ISSUERS:
                raise LimitReachedError(f"There can be at most {MAX_ISSUERS} issuers.")
        stored = Issuer(
            id=secrets.token_hex(16),
            name=new.name,
            issuer=new.issuer,
            audience=new.audience,
            jwks_url=new.jwks_url,
            public_key=new.public_key,
            algorithms=list(new.algorithms or new.fitting_algorithms()),
            created_at=to_milliseconds(clock.now()),
            created_by=attempt.principal.name,
        )
        stored.close(key)
        publish(stored, attempt=attempt)

    def list(self, state: str | None = None, *, attempt: Attempt) -> list[IssuerInfo]:
        """Return all issuers by name, after the one in the settings; with a *state*, only issuers in it.

        Raises:
            GrantRefusedError: The principal is limited, and so may not manage issuers.
        """
        require_unlimited(attempt.principal)
        key = self._keys.find()
        with storage_errors():
            documents = Issuer.active()
        attempt.finish(Status.SUCCESS)
        stored = sorted((_info(document, key) for document in documents), key=lambda info: info.name)
        own = [_settings_info(self._own.verifier)] if self._own.verifier else []
        return [info for info in own + stored if state in (None, info.state)]

    def delete(self, name: str, *, force: bool = False, attempt: Attempt) -> None:
        """Delete the issuer *name*; every replica refuses its JWTs within 5 seconds.

        With *force*, even if it has roles, which no other issuer gets.

        Raises:
            GrantRefusedError: The principal is limited, and so may not manage issuers.
            IssuerNotFoundError: No issuer has this name.
            IssuerInUseError: It has roles, and *force* is false.
        """
        attempt.details["issuer_name"] = name
        require_unlimited(attempt.principal)
        with storage_errors():
            documents = Issuer.active({"name": name})
            if not documents:
                raise IssuerNotFoundError
            if not force and Role.active({"issuer_id": {"$in": [document["_id"] for document in documents]}}):
                raise IssuerInUseError
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            Issuer.remove(documents)

    def own_id(self) -> Sequence[str]:
        """Return the ID of the issuer in the settings, if there is one."""
        return [settings_issuer_id(self._own.verifier)] if self._own.verifier else []

    def find(self, name: str) -> tuple[str, str]:
        """Return the ID by which roles refer to the issuer *name*, and its `iss`.

        Raises:
            IssuerNotFoundError: No issuer has this name, or its document is not as the service wrote it.
        """
        if name == SETTINGS_ISSUER and self._own.verifier:
            return settings_issuer_id(self._own.verifier), self._own.verifier.issuer
        key = self._keys.find()
        with storage_errors():
            documents = Issuer.active({"name": name})
        for document in documents:
            if issuer := Issuer.genuine(document, key):
                return str(issuer.id), str(issuer.issuer)
        raise IssuerNotFoundError


def _settings_info(verifier: JWTVerifier) -> IssuerInfo:
    return IssuerInfo(
        name=SETTINGS_ISSUER,
        state="settings",
        issuer=verifier.issuer,
        audience=verifier.audience,
        algorithms=ALGORITHMS,
    )


def require_unlimited(principal: Principal) -> None:
    """Require that *principal* may manage issuers: that it is limited by nothing but time.

    An issuer vouches for the JWTs of roles in every namespace.
    """
    limits = {
        "scopes": ALL_RIGHTS - principal.scopes,
        "namespace": principal.namespace != DEFAULT_NAMESPACE,
        "paths": principal.paths,
        "networks": principal.networks,
    }
    if limited := [name for name, limit in limits.items() if limit]:
        raise GrantRefusedError(
            f"Only unlimited administrators manage issuers. Limited in: {', '.join(limited)}."
        )


def _info(document: Mapping[str, Any], key: TokenKey | None) -> IssuerInfo:
    issuer = Issuer.genuine(document, key)
    if issuer is None:
        # No other field can be trusted, not even its type.
        return IssuerInfo(name=shown_name(document), state="altered")
    return issuer.shown(IssuerInfo, state="active")
