"""Secrets in Vault's dialect: the secrets engine KV, version 2, mounted at `secret/`."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

from flask import Response, g, request

from vault.api import kv_schemas
from vault.api.blueprint import current_attempt, services
from vault.api.dialect import LIST, MERGE_PATCH, DialectBlueprint
from vault.api.dialect_messages import CONTENT_TYPE, envelope, json_body, no_content, reply
from vault.api.kv_requests import (
    METADATA_FIELDS,
    asks_for_list,
    cas_in,
    data_in,
    has_list_query,
    labels_in,
    name_to_write,
    number_in_query,
    reference_to,
    require_metadata_cas,
    require_no_folder,
    rules_in,
    valid_labels,
    versions_in,
)
from vault.api.large_replies import reply_memory
from vault.core import kv_values
from vault.core.attempt import Action, Status
from vault.core.durations import duration_text
from vault.core.errors import ScopeMissingError, SecretNotFoundError
from vault.core.principal import Scope
from vault.core.strict_json import InvalidJSONError, TooManyPartsError
from vault.core.timestamps import moment
from vault.documents.secret import StoredSecret, VersionInfo
from vault.documents.write_rules import WriteRules
from vault.secrets.changes import Current
from vault.secrets.items import Fetch
from vault.secrets.queries import MAX_PAGE_BYTES
from vault.secrets.requests import NewSecret, Reference

blueprint = DialectBlueprint(
    "KV",
    __name__,
    path="secret",
    description="Secrets for clients of HashiCorp Vault and OpenBao: the secrets engine KV, version 2.",
)

_MOUNT = "/v1/secret/"

_WRITES = ("POST", "PUT")
_ALL = (LIST, "GET", *_WRITES, "PATCH", "DELETE")


@blueprint.route("/data/<path:path>")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH)
@blueprint.enveloped(kv_schemas.KVSecret, description="The value, and its version.")
def read_kv_secret(path: str) -> Response:
    """Read a secret.

    Returns the newest version of the secret `path`, or with the query `version` that one. Of a deleted or
    destroyed version, the reply is 404 with its metadata.
    """
    if asks_for_list():
        return _unsupported()
    item = _item(path)
    try:
        services().secrets.read(item)
    except SecretNotFoundError:
        return _unreadable(item, {"data": None})
    return envelope({"data": _value(item.plaintext), "metadata": _metadata(item)})


@blueprint.route("/subkeys/<path:path>")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH)
@blueprint.enveloped(kv_schemas.KVSubkeys, description="The keys of the value, with null in place of values.")
def read_kv_subkeys(path: str) -> Response:
    """Read the keys of a secret.

    Returns the value of a version with null in place of everything that is not an object. With the query
    `depth`, only so many levels.
    """
    depth = number_in_query("depth")
    item = _item(path)
    try:
        services().secrets.read(item)
    except SecretNotFoundError:
        return _unreadable(item, {"subkeys": None})
    value = _value(item.plaintext)
    # To Vault, 0 stands for all levels, and a negative number for one.
    levels = max(depth, 1) if depth else 0
    return envelope({"subkeys": value and _keys(value, levels), "metadata": _metadata(item)})


@blueprint.route("/data/<path:path>", methods=_WRITES)
@blueprint.operation(
    Action.UPDATE,
    scope=None,
    has_value=True,
    takes=kv_schemas.NewKVVersion,
    example={"data": {"password": "correct horse"}, "options": {"cas": 1}},
)
@blueprint.enveloped(kv_schemas.KVVersion, description="The new version is stored durably.")
def write_kv_secret(path: str) -> Response:
    """Write a secret.

    Stores an object as the next version of the secret `path`, or as its first. Requires the scope
    `secret:update` if the secret exists, and otherwise `secret:create`. With `options.cas`, the newest
    version must have this number; 0 stands for a secret without a version.
    """
    name = name_to_write(path)
    cas, plaintext = _cas_and_data()
    attempt = current_attempt()
    written = services().upsert.write(
        NewSecret(plaintext=plaintext, name=name),
        expected_version=cas,
        authorize=partial(services().authenticator.authorize, attempt=attempt),
        attempt=attempt,
    )
    return envelope(_info_metadata(written.info, written.labels))


@blueprint.route("/data/<path:path>", methods=["PATCH"])
@blueprint.operation(
    Action.UPDATE,
    scope=Scope.SECRET_UPDATE,
    media_type=MERGE_PATCH,
    has_value=True,
    takes=kv_schemas.NewKVVersion,
    example={"data": {"password": "correct horse", "old": None}},
)
@blueprint.enveloped(kv_schemas.KVVersion, description="The new version is stored durably.")
@blueprint.doc(responses={404: {"description": "There is nothing to patch."}})
def patch_kv_secret(path: str) -> Response:
    """Patch a secret.

    Merges an object into the newest version (RFC 7396), and stores the result as the next version. A null
    removes its key.
    """
    name = name_to_write(path)
    cas, data = _cas_and_data()
    gone: list[Current] = []

    def patched(current: Current) -> bytes:
        if not (current.plaintext and current.info and current.info.is_readable(datetime.now(UTC))):
            gone.append(current)
            raise SecretNotFoundError
        patch = kv_values.restore(data)
        value = None if patch is None else _merged(_value(current.plaintext), patch)
        return kv_values.encode(value)

    try:
        written = services().changes.patch(
            Reference(name=name), patched, expected_version=cas, attempt=current_attempt()
        )
    except SecretNotFoundError:
        info = gone[0].info if gone else None
        return _missing(envelope(_info_metadata(info, gone[0].labels), status=404) if info else None)
    return envelope(_info_metadata(written.info, written.labels))


@blueprint.route("/data/<path:path>", methods=["DELETE"])
@blueprint.operation(Action.DELETE, scope=Scope.SECRET_DELETE)
def delete_kv_secret(path: str) -> Response:
    """Delete the newest version of a secret.

    `undelete` restores it. The reply is the same if there is no such secret.
    """
    return _changed(partial(services().versions.delete, versions=None), path)


@blueprint.route("/delete/<path:path>", methods=_WRITES)
@blueprint.operation(
    Action.DELETE, scope=Scope.SECRET_DELETE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def delete_kv_versions(path: str) -> Response:
    """Delete versions of a secret.

    `undelete` restores them. The reply is the same if there are no such versions.
    """
    return _changed(partial(services().versions.delete, versions=_versions(path, "No")), path)


@blueprint.route("/undelete/<path:path>", methods=_WRITES)
@blueprint.operation(
    Action.RESTORE, scope=Scope.SECRET_DELETE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def undelete_kv_versions(path: str) -> Response:
    """Restore deleted versions of a secret.

    The reply is the same if there are no such versions.
    """
    return _changed(partial(services().versions.restore, versions=_versions(path, "No")), path)


@blueprint.route("/destroy/<path:path>", methods=_WRITES)
@blueprint.operation(
    Action.PURGE, scope=Scope.SECRET_PURGE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def destroy_kv_versions(path: str) -> Response:
    """Destroy versions of a secret.

    Nothing restores them. Earlier backups still contain their values. The reply is the same if there are no
    such versions.
    """
    return _changed(partial(services().versions.purge, versions=_versions(path, "no")), path)


@blueprint.operation(Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE)
@blueprint.enveloped(kv_schemas.KVMetadata, description="Everything but the values.")
def read_kv_metadata(path: str) -> Response:
    """Read the metadata of a secret, or list names.

    Returns everything about the secret `path` except its values. With the query `list=true`, as with Vault's
    method `LIST`, returns the `keys` one level below `path` instead, which requires the scope `secret:list`:
    names of secrets, and of folders with a slash at their end.
    """
    reference = reference_to(path)
    found = services().queries.describe(reference, attempt=current_attempt())
    infos: list[VersionInfo] = found["infos"]
    newest = infos[0].created_at if infos else None
    return envelope(
        {
            **_rules(found["rules"]),
            "created_time": _time(found["created_at"]),
            "current_metadata_version": found["metadata_version"],
            "current_version": found["version"],
            "custom_metadata": found["labels"] or None,
            "oldest_version": _oldest(infos, found["rules"].max_versions or services().changes.max_versions),
            "updated_time": _time(newest or found["created_at"]),
            "versions": {
                str(info.version): {
                    "created_time": _time(info.created_at),
                    "deletion_time": _time(info.deleted_at),
                    "destroyed": info.is_purged,
                }
                for info in infos
            },
        }
    )


@blueprint.route("/metadata/<path:path>", methods=[LIST])
@blueprint.operation(Action.LIST, scope=Scope.SECRET_LIST)
@blueprint.enveloped(kv_schemas.KVKeys, description="The keys, in order.")
def list_kv_secrets(path: str) -> Response:
    """List names."""
    if request.method != LIST:
        # A text that is neither true nor false is refused.
        asks_for_list()
    folder = f"{path.rstrip('/')}/" if path else ""
    limit = number_in_query("limit")
    with reply_memory(MAX_PAGE_BYTES):
        keys = services().queries.level(
            folder,
            after=request.args.get("after", ""),
            limit=limit if limit and limit > 0 else None,
            attempt=current_attempt(),
        )
        return envelope({"keys": keys}) if keys else _missing(reply({"errors": []}, HTTPStatus.NOT_FOUND))


@blueprint.route("/metadata/<path:path>")
@wraps(read_kv_metadata)
def read_or_list_kv(path: str) -> Any:
    """Do what the query asks for."""
    return list_kv_secrets(path) if has_list_query() else read_kv_metadata(path)


@blueprint.route("/metadata/", methods=[LIST, "GET"])
def list_all_kv_secrets() -> Any:
    """List the names of the first level."""
    if request.method == LIST or has_list_query():
        return list_kv_secrets("")
    return unknown_kv_path(request.path.removeprefix(_MOUNT))


@blueprint.route("/metadata/<path:path>", methods=_WRITES)
@blueprint.operation(
    Action.UPDATE_METADATA,
    scope=Scope.SECRET_UPDATE,
    takes=kv_schemas.NewKVMetadata,
    example={"custom_metadata": {"team": "billing"}},
)
def write_kv_metadata(path: str) -> Response:
    """Write the metadata of a secret.

    `custom_metadata` replaces the labels of the secret, and each other field its rule for writes. If there is
    no secret with this name, one without a version is created, which requires the scope `secret:create`.
    """
    name, attempt = name_to_write(path), current_attempt()
    body = json_body()
    labels = labels_in(body)
    given = valid_labels(labels or {})
    if not body.keys() & METADATA_FIELDS:
        attempt.finish(Status.SUCCESS)
        return no_content()
    try:
        services().metadata.change(
            Reference(name=name),
            relabelled=None if "custom_metadata" not in body else lambda _present: given,
            ruled=partial(_ruled, body),
            attempt=attempt,
        )
    except SecretNotFoundError:
        services().authenticator.authorize(Scope.SECRET_CREATE, attempt=attempt)
        attempt.action = Action.CREATE
        rules = rules_in(body, WriteRules(), max_versions=services().changes.max_versions)
        services().secrets.create_named(
            NewSecret(plaintext=b"", name=name, labels=given, rules=rules), attempt=attempt
        )
    return no_content()


@blueprint.route("/metadata/<path:path>", methods=["PATCH"])
@blueprint.operation(
    Action.UPDATE_METADATA,
    scope=Scope.SECRET_UPDATE,
    media_type=MERGE_PATCH,
    takes=kv_schemas.NewKVMetadata,
    example={"custom_metadata": {"team": "billing", "env": None}},
)
@blueprint.doc(responses={404: {"description": "There is nothing to patch."}})
def patch_kv_metadata(path: str) -> Response:
    """Patch the metadata of a secret.

    Merges `custom_metadata` into the labels of the secret; a null removes its label. Each other field
    replaces a rule of the secret for writes.
    """
    name = name_to_write(path)
    body = json_body()
    patch = labels_in(body)

    def relabelled(present: Mapping[str, str]) -> Mapping[str, str]:
        merged = {} if patch is None else {**present, **patch}
        return valid_labels({key: text for key, text in merged.items() if text is not None})

    try:
        services().metadata.change(
            Reference(name=name),
            relabelled=relabelled if "custom_metadata" in body else None,
            ruled=partial(_ruled, body),
            attempt=current_attempt(),
        )
    except SecretNotFoundError:
        return _missing()
    return no_content()


def _ruled(body: Mapping[str, Any], secret: StoredSecret) -> WriteRules:
    require_metadata_cas(body, secret)
    return rules_in(body, secret.rules, max_versions=services().changes.max_versions)


@blueprint.route("/metadata/<path:path>", methods=["DELETE"])
@blueprint.operation(Action.PURGE, scope=Scope.SECRET_PURGE)
def delete_kv_metadata(path: str) -> Response:
    """Destroy a secret.

    Removes all its versions and its metadata permanently; a new secret can have its name. Earlier backups
    still contain the values. The reply is the same if there is no such secret.
    """
    return _changed(services().changes.remove, path)


@blueprint.route("/config")
@blueprint.operation(Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE)
@blueprint.enveloped(kv_schemas.KVConfig, description="The configuration.")
def read_kv_config() -> Response:
    """Read the configuration of the secrets engine.

    Operators set `max_versions`; the rest is as in a new secrets engine.
    """
    current_attempt().finish(Status.SUCCESS)
    return envelope(_rules(WriteRules(max_versions=services().changes.max_versions)))


@blueprint.route("", methods=_ALL)
@blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_kv_root() -> Response:
    """Say that there is nothing at the mount itself."""
    return _nothing_at("")


@blueprint.route("/<path:path>", methods=_ALL)
@blueprint.operation(Action.UNKNOWN_PATH, scope=None)
def unknown_kv_path(path: str) -> Response:
    """Say that there is nothing at *path* of the mount, in the words that Vault's clients show."""
    return _nothing_at(path)


#: What Vault's own client calls the methods.
_COMMANDS = {"GET": "get", LIST: "list", "DELETE": "delete", "PATCH": "patch"}

_PATHS = {"config", "data", "delete", "destroy", "metadata", "subkeys", "undelete"}


def _nothing_at(path: str) -> Response:
    attempt = current_attempt()
    if attempt.principal.paths:
        attempt.details["reason"] = "unknown path"
        raise ScopeMissingError("every")
    first, slash, _ = path.partition("/")
    if request.method in (*_WRITES, "PATCH"):
        require_no_folder(path or "/")
    if _is_operation(path):
        return _unsupported()
    if first in ("data", "metadata", "subkeys") and slash:
        if request.method == "DELETE":
            return _missing(no_content())
        raise SecretNotFoundError
    if first in _PATHS - {"subkeys", "config"}:
        warning = "Non-listing operations on the root of a K/V v2 mount are not supported."
    else:
        warning = (
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API "
            "endpoints to use. If using the OpenBao CLI, use "
            f"'bao kv {_COMMANDS.get(request.method, 'put')}' for this operation."
        )
    return _missing(envelope(None, status=HTTPStatus.NOT_FOUND, warnings=[warning]))


def _is_operation(path: str) -> bool:
    """Return whether *path* has operations, with other methods than the request's."""
    first, slash, rest = path.partition("/")
    if first == "config":
        return not slash and request.method != LIST
    is_list_of_values = first == "data" and bool(slash) and (request.method == LIST or asks_for_list())
    return is_list_of_values or (first in _PATHS and bool(rest.strip("/")))


def _unsupported() -> Response:
    current_attempt().finish(Status.BAD_REQUEST)
    g.refused_for = "method_not_allowed"
    return reply(
        {"errors": ["1 error occurred:\n\t* unsupported operation\n\n"]}, HTTPStatus.METHOD_NOT_ALLOWED
    )


def _missing(found: Response | None = None) -> Response:
    """Record that there is nothing, and return *found*, or a reply without a body."""
    current_attempt().finish(Status.NOT_FOUND)
    g.refused_for = "secret_not_found"
    # Vault gives a type also to no body.
    return found or Response(status=HTTPStatus.NOT_FOUND, content_type=CONTENT_TYPE)


def _cas_and_data() -> tuple[int | None, bytes]:
    """Return the version that must be the newest, and the value, of which decoded megabytes would stay."""
    body = json_body()
    return cas_in(body), kv_values.encode(data_in(body))


def _item(path: str) -> Fetch:
    version = number_in_query("version")
    reference = reference_to(path)
    return Fetch(
        attempt=current_attempt(), reference=reference, version=version if version and version > 0 else None
    )


def _unreadable(item: Fetch, rest: Mapping[str, Any]) -> Response:
    """Return the reply to a read that found no value: with the metadata of the version, if there is one."""
    if item.info is None:
        raise SecretNotFoundError
    found = envelope({**rest, "metadata": _metadata(item)}, status=HTTPStatus.NOT_FOUND)
    return _missing(found)


def _oldest(infos: Sequence[VersionInfo], max_versions: int) -> int:
    """Return the oldest version in *infos*, newest first; 0 while there are fewer than are kept."""
    oldest = infos[-1].version if infos else 0
    return oldest if oldest > 1 or len(infos) >= max_versions else 0


def _versions(path: str, no: str) -> list[int]:
    """Return the versions that the body names, of the secret at *path*."""
    require_no_folder(path)
    return versions_in(json_body(), no)


def _changed(change: Callable[..., object], path: str) -> Response:
    """Apply *change* to the secret at *path*, if there is one."""
    try:
        change(reference_to(path), attempt=current_attempt())
    except SecretNotFoundError:
        return _missing(no_content())
    return no_content()


def _value(plaintext: bytes) -> Any:
    """Return a stored value as Vault's clients see it: an object, or null.

    A value that is neither, which the REST API has stored, is the one in base64 below the key `secret`.
    """
    try:
        value = kv_values.decode(plaintext)
    except (InvalidJSONError, TooManyPartsError):
        value = ""
    if value is None or isinstance(value, dict):
        return value
    return {"secret": b64encode(plaintext).decode()}


def _merged(value: Any, patch: Any) -> Any:
    """Return *value* with the merge patch *patch* applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, inner in patch.items():
        if inner is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), inner)
    return found


def _keys(value: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return the keys of *value*, down to *depth* levels; 0 stands for all."""
    return {
        name: _keys(inner, depth - 1) if isinstance(inner, dict) and inner and depth != 1 else None
        for name, inner in value.items()
    }


def _rules(rules: WriteRules) -> dict[str, Any]:
    return {
        "cas_required": rules.version_required,
        "delete_version_after": duration_text(rules.delete_after_seconds),
        "max_versions": rules.max_versions,
        "metadata_cas_required": rules.metadata_version_required,
    }


def _metadata(item: Fetch) -> dict[str, Any]:
    labels = item.secret.labels if item.secret else {}
    return _info_metadata(item.info, labels) if item.info else {}


def _info_metadata(info: VersionInfo, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "created_time": _time(info.created_at),
        "custom_metadata": dict(labels) or None,
        "deletion_time": _time(info.deleted_at),
        "destroyed": info.is_purged,
        "version": info.version,
    }


def _time(time: datetime | None) -> str:
    return moment(time) if time else ""
