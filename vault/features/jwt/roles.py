"""Creating, listing and deleting roles for JWTs."""

import re
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from vault.common import clock
from vault.common.errors import GrantRefusedError, LimitReachedError
from vault.common.networks import Network, cover
from vault.common.outcomes import Status
from vault.common.paths import ALL_PATHS, Paths
from vault.common.timestamps import to_milliseconds
from vault.core.access.entries import is_limited, sees_all
from vault.core.access.publishing import publish
from vault.core.access.revocations import require_rights
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.principal import DEFAULT_NAMESPACE, OPERATOR, SIDES_OF_USE, Principal, Scope, plain_name
from vault.features.jwt.claims import WILDCARD, Condition, conditions
from vault.features.jwt.directory import MAX_ROLES, SETTINGS_ISSUER, shown_name
from vault.features.jwt.documents import Issuer, Role
from vault.features.jwt.errors import RoleNotFoundError, RoleTooBroadError
from vault.features.jwt.issuers import Issuers, require_unlimited

#: The longest age of a JWT that a role can allow, which is also the default. Tokens that JWTs create do not
#: outlast them, so without their role they end within this time.
MAX_AGE = timedelta(days=1)

#: The maximum number of roles of a namespace other than the default one.
MAX_ROLES_OF_OTHERS = 100

#: The states of a role; `orphaned`: its issuer was deleted; `altered`: its document is not as the service
#: wrote it.
STATES = ("active", "expired", "orphaned", "altered")

#: Of issuers from which anyone can get a JWT, the claims that say whose it is, each with the beginning of its
#: value that does; without one, only the whole value does. Anyone can satisfy conditions on all other claims,
#: such as the name of a branch.
_OWNERS: dict[str, dict[str, str | None]] = {
    "https://token.actions.githubusercontent.com": {
        "repository": "[^/]+/",
        "repository_id": None,
        "repository_owner": None,
        "repository_owner_id": None,
        "workflow_ref": "[^/]+/",
        "enterprise": None,
        "enterprise_id": None,
        "sub": "repo:[^/:]+/",
    },
    "https://gitlab.com": {
        "project_path": "[^/]+/",
        "project_id": None,
        "namespace_path": None,
        "namespace_id": None,
        "ci_config_ref_uri": r"gitlab\.com/[^/]+/",
        "sub": "project_path:[^/:]+/",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """The request for a new role. Its creator's namespace and paths stand for omitted ones."""

    name: str
    issuer: str
    #: Conditions in the form `KEY=VALUE`.
    claims: tuple[str, ...] = ()
    claim_globs: tuple[str, ...] = ()
    scopes: frozenset[Scope]
    namespace: str | None = None
    paths: Paths = ALL_PATHS
    #: True if its `audit:read` shows the entries of all namespaces.
    all_namespaces: bool = False
    networks: tuple[Network, ...] = ()
    #: The longest age of a JWT.
    max_age: timedelta = MAX_AGE


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleInfo:
    """The public fields of a role."""

    name: str
    #: One of `STATES`.
    state: str
    namespace: str
    issuer: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    claim_globs: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: True if `audit:read` shows the entries of all namespaces.
    all_namespaces: bool = False
    networks: tuple[str, ...] = ()
    #: In seconds.
    max_age: int | None = None
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None


class Roles:
    """The roles of one deployment.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, issuers: Issuers) -> None:
        self._keys = keys
        self._issuers = issuers

    def create(self, new: NewRole, *, attempt: Attempt) -> None:
        """Create a role; it takes effect on every replica within 5 seconds.

        Raises:
            GrantRefusedError: It would have more than its creator.
            IssuerNotFoundError: There is no such issuer.
            RoleTooBroadError: Anyone could satisfy its conditions.
            RoleNameTakenError: The namespace has a role of this name.
            LimitReachedError: There are `MAX_ROLES`.
            InvalidCredentialError: The creator was revoked in the meantime.
        """
        creator = attempt.principal
        namespace = new.namespace or creator.namespace
        paths = new.paths or creator.paths
        networks = new.networks or creator.networks
        attempt.details |= {
            "role_name": new.name,
            "namespace": namespace,
            "trusts": new.issuer,
            "scopes": sorted(new.scopes),
            "paths": list(paths.texts),
            **({"all_namespaces": True} if new.all_namespaces else {}),
            "networks": [str(network) for network in networks],
            "expires_at": creator.expires_at and creator.expires_at.isoformat(),
        }
        if new.issuer == SETTINGS_ISSUER:
            # Its JWTs have rights of their own in every namespace, which the role replaces.
            require_unlimited(creator)
        _require_held(new, namespace, creator)
        limited = is_limited(namespace, new.scopes, paths, all_namespaces=new.all_namespaces)
        issuer_id, iss = self._issuers.find(new.issuer)
        _require_narrow(conditions(new.claims, new.claim_globs), iss)
        key = self._keys.find_or_make()
        with storage_errors():
            _require_room(namespace)
        role = Role(
            id=secrets.token_hex(16),
            name=Role.stored_name(namespace, new.name),
            namespace=namespace,
            issuer=new.issuer,
            issuer_id=issuer_id,
            claims=sorted(new.claims),
            claim_globs=sorted(new.claim_globs),
            scopes=sorted(new.scopes),
            networks=[str(network) for network in networks],
            paths=list(paths.texts),
            own_entries_only=limited or None,
            max_age=int(new.max_age.total_seconds()),
            created_at=to_milliseconds(clock.now()),
            created_by=creator.name,
            # Like a token, it does not outlast its creator.
            expires_at=creator.expires_at and to_milliseconds(creator.expires_at),
        )
        role.close(key)
        attempt.details |= {
            "claims": sorted(new.claims),
            "claim_globs": sorted(new.claim_globs),
            "max_age": role.max_age,
        }
        publish(role, attempt=attempt)

    def list(self, state: str | None = None, *, attempt: Attempt) -> list[RoleInfo]:
        """Return the roles of the principal's namespace and paths by name; for operators, all.

        With a *state*, only roles in it.
        """
        key, now, principal = self._keys.find(), clock.now(), attempt.principal
        with storage_errors():
            documents = Role.active({} if principal is OPERATOR else {"namespace": principal.namespace})
            issuers = {document["_id"] for document in Issuer.active()} | set(self._issuers.own_id())
        shown = [document for document in documents if Role.is_visible(document, key, principal)]
        attempt.finish(Status.SUCCESS)
        infos = (_info(document, key, issuers, now) for document in shown)
        return sorted(
            (info for info in infos if state in (None, info.state)),
            key=lambda info: (info.name, info.namespace),
        )

    def delete(self, name: str, *, namespace: str | None = None, attempt: Attempt) -> None:
        """Delete the role *name*; no JWT acts with it within 5 seconds. Only operators pass a *namespace*.

        Raises:
            RoleNotFoundError: The principal sees no such role.
            RevocationRefusedError: The role has more than the principal.
            GrantRefusedError: It is a role for the issuer in the settings, and the principal is limited.
        """
        principal = attempt.principal
        namespace = namespace or principal.namespace
        attempt.details |= {"role_name": name, "namespace": namespace}
        key = self._keys.find()
        with storage_errors():
            documents = Role.active({"name": Role.stored_name(namespace, name)})
        visible = [document for document in documents if Role.is_visible(document, key, principal)]
        if not visible:
            raise RoleNotFoundError
        for document in visible:
            # Altered roles are invalid, so anyone may delete them.
            if role := Role.genuine(document, key):
                require_rights(role, "role", attempt)
            if document.get("issuer") == SETTINGS_ISSUER:
                # Without it, its JWTs have rights of their own again.
                require_unlimited(principal)
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            Role.remove(visible)


def _require_held(new: NewRole, namespace: str, creator: Principal) -> None:
    if found := new.scopes & SIDES_OF_USE:
        raise GrantRefusedError(f"No role has the scope {min(found)}.")
    if creator is OPERATOR:
        return
    more = {
        "scopes": new.scopes - creator.scopes,
        "another namespace": namespace != creator.namespace,
        "paths": not creator.paths.cover(new.paths or creator.paths),
        "all namespaces": new.all_namespaces and not creator.sees_all_entries,
        "networks": creator.networks and not all(cover(creator.networks, other) for other in new.networks),
    }
    if refused := [name for name, excess in more.items() if excess]:
        raise GrantRefusedError(f"A role cannot have more than its creator: {', '.join(refused)}.")


def _require_room(namespace: str) -> None:
    """Require that there are not too many roles; other namespaces must leave room for the default one."""
    if Role.raw().count_documents({}) >= MAX_ROLES:
        raise LimitReachedError(f"There can be at most {MAX_ROLES:,} roles.")
    limit = MAX_ROLES_OF_OTHERS
    if namespace != DEFAULT_NAMESPACE and Role.raw().count_documents({"namespace": namespace}) >= limit:
        raise LimitReachedError(f"A namespace other than {DEFAULT_NAMESPACE} can have at most {limit} roles.")


def _require_narrow(conditions: Sequence[Condition], iss: str) -> None:
    """Require that not everyone with a JWT of the issuer *iss* satisfies *conditions*."""
    if all(condition.is_bare for condition in conditions):
        raise RoleTooBroadError("A role needs a condition on a claim, other than `*` alone.")
    owners = _OWNERS.get(iss)
    if owners and not any(_names_owner(condition, owners) for condition in conditions):
        raise RoleTooBroadError(
            "Anyone can get a JWT from this issuer. Add a condition on whose it is: on one of "
            f"{', '.join(sorted(owners))}, as a glob only behind the owner's name and its slash."
        )


def _names_owner(condition: Condition, owners: Mapping[str, str | None]) -> bool:
    """Return whether only JWTs of one owner can satisfy *condition*."""
    claim, *nested = condition.path
    if nested or claim not in owners:
        return False
    beginning = owners[claim]
    if beginning is None:
        return not condition.is_glob
    fixed = condition.value.partition(WILDCARD)[0] if condition.is_glob else condition.value
    return re.match(beginning, fixed) is not None


def _info(
    document: Mapping[str, Any], key: TokenKey | None, issuers: Container[str], now: datetime
) -> RoleInfo:
    role = Role.genuine(document, key)
    if role is None:
        # No other field can be trusted, not even its type.
        namespace, _, name = shown_name(document).rpartition("/")
        return RoleInfo(name=name, state="altered", namespace=namespace or DEFAULT_NAMESPACE)
    state = "active" if role.issuer_id in issuers else "orphaned"
    if role.expires_at and role.expires_at <= now:
        state = "expired"
    return role.shown(
        RoleInfo,
        name=role.plain_name,
        state=state,
        claims={one.key: one.value for one in conditions(role.claims, ())},
        claim_globs={one.key: one.value for one in conditions((), role.claim_globs)},
        all_namespaces=sees_all(role),
        created_by=plain_name(role.created_by, role.namespace),
    )
