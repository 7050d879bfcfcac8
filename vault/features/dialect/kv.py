"""Secrets in Vault's dialect: the values and versions of KV, version 2, mounted at `secret/`."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Response

from vault.common import clock
from vault.common.attributes import Description
from vault.common.errors import SecretNotFoundError
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.changes import Current
from vault.core.secrets.items import Fetch, Reserve
from vault.core.secrets.requests import NewSecret, Reference
from vault.features.dialect import kv_data, kv_schemas, upsert
from vault.features.dialect.envelopes import decoded_body, envelope, json_body
from vault.features.dialect.kv_replies import changed, missing, unsupported, version_fields
from vault.features.dialect.kv_requests import (
    MOUNT,
    asks_for_list,
    cas_in,
    data_in,
    name_to_write,
    number_in_query,
    reference_to,
    require_no_folder,
    versions_in,
)
from vault.features.dialect.operation import MERGE_PATCH, WRITES, DialectBlueprint
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import MemoryIfLarge

blueprint = DialectBlueprint(
    "Vault KV",
    __name__,
    path=MOUNT,
    description="Secrets for clients of HashiCorp Vault and OpenBao: the secrets engine KV, version 2.",
)


@blueprint.route("/data/<path:path>")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH)
@blueprint.enveloped(kv_schemas.KVSecret, description="The value, and its version.")
@blueprint.doc(parameters=[kv_schemas.VERSION])
def read_kv_secret(path: str) -> Response:
    """Read a secret.

    Returns the newest version of the secret `path`, or with the query `version` that one. Of a deleted or
    destroyed version, the reply is 404 with its metadata.
    """
    if asks_for_list():
        return unsupported()
    with MemoryIfLarge() as memory:
        item = _item(path, memory.reserve)
        try:
            value = services().secrets.read(item, kv_data.shown)
        except SecretNotFoundError:
            return _unreadable(item, {"data": None})
        return envelope({"data": value, "metadata": _metadata(item)})


@blueprint.route("/subkeys/<path:path>")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH)
@blueprint.enveloped(kv_schemas.KVSubkeys, description="The keys of the value, with null in place of values.")
@blueprint.doc(parameters=[kv_schemas.VERSION, kv_schemas.DEPTH])
def read_kv_subkeys(path: str) -> Response:
    """Read the keys of a secret.

    Returns the value of a version with null in place of everything that is not an object. With the query
    `depth`, only so many levels.
    """
    depth = number_in_query("depth")
    # To Vault, 0 stands for all levels, and a negative number for one.
    levels = max(depth, 1) if depth else 0
    current_attempt().success_details["subkeys"] = True
    with MemoryIfLarge() as memory:
        item = _item(path, memory.reserve)
        try:
            keys = services().secrets.read(item, partial(kv_data.subkeys, depth=levels))
        except SecretNotFoundError:
            return _unreadable(item, {"subkeys": None})
        return envelope({"subkeys": keys, "metadata": _metadata(item)})


@blueprint.route("/data/<path:path>", methods=WRITES)
@blueprint.operation(
    Action.UPDATE,
    scope=None,
    has_value=True,
    takes=kv_schemas.KVWrite,
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
    written = upsert.write(
        services(),
        NewSecret(plaintext=plaintext, name=name),
        expected_version=cas,
        attempt=attempt,
    )
    return envelope(version_fields(written.info, written.description))


@blueprint.route("/data/<path:path>", methods=["PATCH"])
@blueprint.operation(
    Action.UPDATE,
    scope=Scope.SECRET_UPDATE,
    media_type=MERGE_PATCH,
    has_value=True,
    takes=kv_schemas.KVWrite,
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
        if not (current.plaintext and current.info and current.info.is_readable(clock.now())):
            gone.append(current)
            raise SecretNotFoundError
        return kv_data.patched(current.plaintext, data)

    try:
        written = services().changes.patch(
            Reference(name=name), patched, expected_version=cas, attempt=current_attempt()
        )
    except SecretNotFoundError:
        info = gone[0].info if gone else None
        return missing(envelope(version_fields(info, gone[0].description), status=404) if info else None)
    return envelope(version_fields(written.info, written.description))


@blueprint.route("/data/<path:path>", methods=["DELETE"])
@blueprint.operation(Action.DELETE, scope=Scope.SECRET_DELETE)
def delete_kv_secret(path: str) -> Response:
    """Delete the newest version of a secret.

    `undelete` restores it. The reply is the same if there is no such secret.
    """
    return changed(partial(services().versions.delete, versions=None), path)


@blueprint.route("/delete/<path:path>", methods=WRITES)
@blueprint.operation(
    Action.DELETE, scope=Scope.SECRET_DELETE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def delete_kv_versions(path: str) -> Response:
    """Delete versions of a secret.

    `undelete` restores them. The reply is the same if there are no such versions.
    """
    return changed(partial(services().versions.delete, versions=_versions(path, "No")), path)


@blueprint.route("/undelete/<path:path>", methods=WRITES)
@blueprint.operation(
    Action.RESTORE, scope=Scope.SECRET_DELETE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def undelete_kv_versions(path: str) -> Response:
    """Restore deleted versions of a secret.

    The reply is the same if there are no such versions.
    """
    return changed(partial(services().versions.restore, versions=_versions(path, "No")), path)


@blueprint.route("/destroy/<path:path>", methods=WRITES)
@blueprint.operation(
    Action.PURGE, scope=Scope.SECRET_PURGE, takes=kv_schemas.KVVersions, example={"versions": [1, 2]}
)
def destroy_kv_versions(path: str) -> Response:
    """Destroy versions of a secret.

    Nothing restores them. Earlier backups still contain their values. The reply is the same if there are no
    such versions.
    """
    return changed(partial(services().versions.purge, versions=_versions(path, "no")), path)


def _cas_and_data() -> tuple[int | None, bytes]:
    """Return the version that must be the newest, and the value, of which decoded megabytes would stay."""
    with decoded_body() as body:
        return cas_in(body), kv_data.encoded(data_in(body))


def _item(path: str, reserve: Reserve) -> Fetch:
    version = number_in_query("version")
    return Fetch(
        attempt=current_attempt(),
        reference=reference_to(path),
        version=version if version and version > 0 else None,
        reserve=reserve,
    )


def _unreadable(item: Fetch, rest: Mapping[str, Any]) -> Response:
    """Return the reply to a read that found no value: with the metadata of the version, if there is one."""
    if item.info is None:
        raise SecretNotFoundError
    found = envelope({**rest, "metadata": _metadata(item)}, status=HTTPStatus.NOT_FOUND)
    return missing(found)


def _versions(path: str, no: str) -> list[int]:
    """Return the versions that the body names, of the secret at *path*."""
    require_no_folder(path)
    return versions_in(json_body(), no)


def _metadata(item: Fetch) -> dict[str, Any]:
    description = item.secret.description if item.secret else Description()
    return version_fields(item.info, description) if item.info else {}
