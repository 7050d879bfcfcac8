"""The system of Vault's dialect: its state, its mounts, and what a credential may do."""

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from flask import Response, g, request
from werkzeug.exceptions import BadRequest

from vault.common import kv_values
from vault.common.outcomes import Status
from vault.common.paths import Paths
from vault.core.attempt import Action
from vault.core.principal import Principal, Scope
from vault.core.secrets import reach
from vault.features.dialect.credentials import credential
from vault.features.dialect.envelopes import envelope, json_body, reply
from vault.features.dialect.errors import MountForbiddenError
from vault.features.dialect.operation import DialectBlueprint
from vault.toolkit.document.fields import Body, FreeForm, Reply, boolean_field, text_field, texts_field
from vault.toolkit.operations.blueprint import current_attempt, services

blueprint = DialectBlueprint(
    "Vault system",
    __name__,
    path="sys",
    description="The state of the service as clients of Vault ask for it, its mounts, and capabilities.",
)

#: The version of OpenBao whose dialect this is: clients decide by it what they may ask for.
_VERSION = "2.7.2"
_CLUSTER = {"cluster_name": "secret-manager", "cluster_id": str(uuid5(NAMESPACE_DNS, "secret-manager"))}


def _mount(kind: str, description: str, **options: Any) -> dict[str, Any]:
    return {
        "accessor": f"{kind}_{uuid5(NAMESPACE_DNS, kind).hex[:8]}",
        "config": {"default_lease_ttl": 0, "force_no_cache": False, "max_lease_ttl": 0},
        "description": description,
        "external_entropy_access": False,
        "local": False,
        "options": None,
        "plugin_version": "",
        "running_plugin_version": f"v{_VERSION}+builtin.bao",
        "running_sha256": "",
        "seal_wrap": False,
        "type": kind,
        "uuid": str(uuid5(NAMESPACE_DNS, f"{kind}.secret-manager")),
        **options,
    }


#: The mounts of secrets, and of credentials, by their paths. They never change.
_SECRET_MOUNTS = {
    "secret/": _mount(
        "kv", "key/value secret storage", options={"version": "2"}, deprecation_status="supported"
    ),
    "sys/": _mount("system", "system endpoints used for control, policy and debugging"),
}
_AUTH_MOUNTS = {
    "approle/": _mount("approle", "logins with tokens of this service"),
    "jwt/": _mount("jwt", "logins with JWTs of configured issuers"),
    "token/": _mount("token", "token based credentials"),
}
_MOUNTS = _SECRET_MOUNTS | {f"auth/{path}": mount for path, mount in _AUTH_MOUNTS.items()}


#: The most paths in a question about capabilities. Of thousands, the reply is eight times the request.
_MAX_PATHS = 100

#: A path of the examples.
_PATH = "secret/data/billing/db"


class Initialization(Reply):
    """The state of the initialization."""

    initialized = boolean_field("Always true.", example=True)


class SealStatus(Initialization):
    """The seal status of the service."""

    sealed = boolean_field("True if the service cannot create and fetch secrets.")
    version = text_field("The version of OpenBao whose API this is.", _VERSION)


class DialectHealth(SealStatus):
    """The health of the service."""

    standby = boolean_field("Always false: all replicas do the same.")


class Leader(Reply):
    """The leader of the service."""

    ha_enabled = boolean_field("Always false: all replicas do the same.")


class Mounts(FreeForm):
    """Mounts by their paths."""


class Mount(Reply):
    """A mount."""

    path = text_field("The path of the mount.", "secret/", required=True)
    type = text_field("Its kind.", "kv", required=True)


class Capabilities(FreeForm):
    """Capabilities by path."""


class CapabilitiesQuery(Body):
    """Paths."""

    paths = texts_field("Paths of Vault's API.", [_PATH], required=False)


@blueprint.route("/health")
@blueprint.probe(is_for_everyone=True)
@blueprint.response(200, DialectHealth, description="The service can create and fetch secrets.")
@blueprint.alt_response(503, schema=DialectHealth, description="The service cannot: it is sealed.")
def health_of_vault() -> Response:
    """Check the health.

    As Vault has it: 200, or 503 and `sealed` if the service cannot create and fetch secrets. The queries
    `activecode` and `sealedcode` replace these statuses.
    """
    sealed = _is_sealed()
    status = _status("sealedcode", 503) if sealed else _status("activecode", 200)
    # Otherwise, strangers could choose a label of a metric.
    g.measured_status = 503 if sealed else 200
    body = {
        "initialized": True,
        "sealed": sealed,
        "standby": False,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": int(time.time()),
        "version": _VERSION,
        **({} if sealed else _CLUSTER),
    }
    return reply(body, status)


def _status(name: str, usual: int) -> int:
    """Return the status that the query *name* asks for, or else the *usual* one.

    Raises:
        BadRequest: It is not a status.
    """
    text = request.args.get(name)
    if not text:
        return usual
    # No failure that would be logged, and no status without a body.
    if not re.fullmatch("[2-4][0-9][0-9]", text) or text in ("204", "205", "304"):
        raise BadRequest(f"{name} must be a status from 200 to 499 with a body")
    return int(text)


@blueprint.route("/seal-status")
@blueprint.probe()
@blueprint.response(200, SealStatus, description="The seal status.")
def seal_status() -> Response:
    """Get the seal status.

    As Vault has it: `sealed` if the service cannot create and fetch secrets.
    """
    sealed = _is_sealed()
    return reply(
        {
            "type": "shamir",
            "initialized": True,
            "sealed": sealed,
            "t": 1,
            "n": 1,
            "progress": 0,
            "nonce": "",
            "recovery_seal": False,
            "version": _VERSION,
            "migration": False,
            "storage_type": "mongodb",
            **({} if sealed else _CLUSTER),
        }
    )


@blueprint.route("/leader")
@blueprint.probe()
@blueprint.response(200, Leader, description="The service has no leader.")
def leader() -> Response:
    """Get the leader.

    The service has no leader: all replicas do the same.
    """
    return reply({"ha_enabled": False})


@blueprint.route("/init")
@blueprint.probe()
@blueprint.response(200, Initialization, description="The service is initialized.")
def initialization() -> Response:
    """Get the state of the initialization.

    It is complete: operators start the service with its key.
    """
    return reply({"initialized": True})


@blueprint.route("/mounts")
@blueprint.operation(Action.MOUNTS, scope=None)
@blueprint.enveloped(Mounts, description="The mounts by their paths.", example={"data": _SECRET_MOUNTS})
def list_mounts() -> Response:
    """List the mounts.

    Requires any valid credential without paths.
    """
    reach.require_folder("", current_attempt())
    current_attempt().finish(Status.SUCCESS)
    return _also_outside(_SECRET_MOUNTS)


@blueprint.operation(Action.MOUNTS, scope=None)
def _visible_mounts() -> Response:
    """Return the mounts to a caller with a credential."""
    current_attempt().finish(Status.SUCCESS)
    return envelope({"auth": _AUTH_MOUNTS, "secret": _SECRET_MOUNTS})


@blueprint.route("/internal/ui/mounts")
@blueprint.probe()
@blueprint.enveloped(
    Mounts,
    description="The mounts of secrets, and those of credentials.",
    example={"data": {"auth": _AUTH_MOUNTS, "secret": _SECRET_MOUNTS}},
)
def list_visible_mounts() -> Response:
    """List the mounts that the caller can see.

    Without a credential, none.
    """
    if credential(request) is None:
        return envelope({"auth": {}, "secret": {}})
    found: Response = _visible_mounts()
    return found


@blueprint.route("/internal/ui/mounts/<path:path>")
@blueprint.operation(Action.MOUNTS, scope=None)
@blueprint.enveloped(Mount, description="The mount.")
def describe_mount(path: str) -> Response:
    """Find the mount of a path.

    Requires any valid credential. Clients of Vault ask this before every `kv` command.
    """
    for mount, described in _MOUNTS.items():
        if f"{path.strip('/')}/".startswith(mount):
            current_attempt().finish(Status.SUCCESS)
            return envelope(described | {"path": mount.removeprefix("auth/")})
    current_attempt().details["reason"] = "unknown path"
    raise MountForbiddenError(path)


@blueprint.route("/capabilities-self", methods=("POST", "PUT"))
@blueprint.operation(Action.CAPABILITIES, scope=None, takes=CapabilitiesQuery)
@blueprint.enveloped(
    Capabilities,
    description="The capabilities by path.",
    example={"data": {_PATH: ["read"], "capabilities": ["read"]}},
)
def own_capabilities() -> Response:
    """Get your capabilities.

    Says what your credential may do at each of up to 100 paths. Requires any valid credential.
    """
    paths = _asked_paths(json_body())
    principal = current_attempt().principal
    found: dict[str, Any] = {path: _capabilities(path, principal) for path in paths}
    if len(paths) == 1:
        found["capabilities"] = found[paths[0]]
    current_attempt().finish(Status.SUCCESS)
    return _also_outside(found)


def _is_sealed() -> bool:
    return bool(services().health.readiness().failures)


def _also_outside(data: Mapping[str, Any]) -> Response:
    """Return an envelope that has *data* next to its own fields, too, as Vault's first versions had it."""
    found = envelope(data)
    return reply({**data, **kv_values.restore(found.get_data())})


def _asked_paths(body: Mapping[str, Any]) -> list[str]:
    asked = body.get("paths") or body.get("path") or []
    paths = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise BadRequest("paths must be a list of texts")
    if not paths:
        raise BadRequest("paths must be supplied")
    if len(paths) > _MAX_PATHS:
        raise BadRequest(f"at most {_MAX_PATHS} paths")
    return [path.strip() for path in paths]


#: The capabilities by the scopes that they need, at the paths of a secret below each prefix.
_OF_SECRETS: dict[str, dict[str, set[Scope]]] = {
    "secret/data/": {
        "create": {Scope.SECRET_CREATE},
        "delete": {Scope.SECRET_DELETE},
        "patch": {Scope.SECRET_UPDATE},
        "read": {Scope.SECRET_FETCH},
        "update": {Scope.SECRET_UPDATE},
    },
    "secret/metadata/": {
        "create": {Scope.SECRET_CREATE, Scope.SECRET_UPDATE},
        "delete": {Scope.SECRET_PURGE},
        "list": {Scope.SECRET_LIST},
        "patch": {Scope.SECRET_UPDATE},
        "read": {Scope.SECRET_DESCRIBE},
        "update": {Scope.SECRET_UPDATE},
    },
    "secret/delete/": {"update": {Scope.SECRET_DELETE}},
    "secret/undelete/": {"update": {Scope.SECRET_DELETE}},
    "secret/destroy/": {"update": {Scope.SECRET_PURGE}},
    "secret/subkeys/": {"read": {Scope.SECRET_FETCH}},
}

#: The list of mounts, which a principal with paths may not read.
_MOUNTS_PATH = "sys/mounts"

#: The capabilities of every credential.
_OF_ALL = {
    "auth/token/lookup-self": ["read", "update"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
    "sys/capabilities-self": ["update"],
    "sys/internal/ui/mounts": ["read"],
    _MOUNTS_PATH: ["read"],
    "sys/wrapping/lookup": ["update"],
    "sys/wrapping/unwrap": ["update"],
    "sys/wrapping/wrap": ["update"],
}


def _capabilities(path: str, principal: Principal) -> list[str]:
    """Return what *principal* may do at *path*, in order."""
    if principal.has_all_rights:
        return ["root"]
    found = [] if path == _MOUNTS_PATH and principal.paths else list(_OF_ALL.get(path, ()))
    if path == "auth/token/create" and Scope.TOKEN_MANAGE in principal.scopes:
        found = ["update"]
    for prefix, needed in _OF_SECRETS.items():
        if path.startswith(prefix):
            name = path.removeprefix(prefix)
            found = [
                capability
                for capability, scopes in needed.items()
                if scopes <= principal.scopes and _is_within(name, capability, principal.paths)
            ]
    return found or ["deny"]


def _is_within(name: str, capability: str, paths: Paths) -> bool:
    """Return whether *paths* have the secret *name*, or for a list all secrets in the folder *name*."""
    if capability == "list":
        return paths.include_all(f"{name.rstrip('/')}/" if name else "")
    return paths.include(name)
