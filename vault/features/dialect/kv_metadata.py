"""Metadata in Vault's dialect: descriptions, labels, write rules and lists of KV, version 2."""

from collections.abc import Mapping, Sequence
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

from flask import Response, request

from vault.common.attributes import Description
from vault.common.errors import SecretNotFoundError
from vault.common.outcomes import Status
from vault.common.pages import MAX_PAGE_BYTES
from vault.core.attempt import Action
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.documents.write_rules import WriteRules
from vault.core.principal import Scope
from vault.core.secrets import reach
from vault.core.secrets.requests import NewSecret, Reference
from vault.features.dialect import kv_schemas, upsert
from vault.features.dialect.envelopes import PREFIX, envelope, json_body, no_content, reply
from vault.features.dialect.kv_replies import changed, missing, rule_fields, time_text
from vault.features.dialect.kv_requests import (
    METADATA_FIELDS,
    MOUNT,
    asks_for_list,
    custom_metadata_in,
    has_list_query,
    name_to_write,
    number_in_query,
    reference_to,
    require_metadata_cas,
    require_no_token,
    rules_in,
    valid_description,
)
from vault.features.dialect.operation import LIST, MERGE_PATCH, WRITES, DialectBlueprint
from vault.features.dialect.paths import unknown_kv_path
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory

blueprint = DialectBlueprint(
    "Vault KV metadata",
    __name__,
    path=MOUNT,
    description="Descriptions and lists of secrets for clients of HashiCorp Vault and OpenBao.",
)


@blueprint.operation(Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE)
@blueprint.enveloped(kv_schemas.KVMetadata, description="Everything but the values.")
@blueprint.doc(parameters=[kv_schemas.LIST, kv_schemas.AFTER, kv_schemas.LIMIT])
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
            **rule_fields(found["rules"]),
            "created_time": time_text(found["created_at"]),
            "current_metadata_version": found["metadata_version"],
            "current_version": found["version"],
            "custom_metadata": found["description"].pairs or None,
            "oldest_version": _oldest(infos, found["rules"].max_versions or _max_versions()),
            "updated_time": time_text(newest or found["created_at"]),
            "versions": {
                str(info.version): {
                    "created_time": time_text(info.created_at),
                    "deletion_time": time_text(info.deleted_at),
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
    require_no_token(path)
    folder = f"{path.rstrip('/')}/" if path else ""
    limit = number_in_query("limit")
    reach.require_folder(folder, current_attempt())
    with reply_memory(MAX_PAGE_BYTES):
        keys = services().queries.level(
            folder,
            after=request.args.get("after", ""),
            limit=limit if limit and limit > 0 else None,
            attempt=current_attempt(),
        )
        return envelope({"keys": keys}) if keys else missing(reply({"errors": []}, HTTPStatus.NOT_FOUND))


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
    return unknown_kv_path(request.path.removeprefix(f"{PREFIX}{MOUNT}/"))


@blueprint.route("/metadata/<path:path>", methods=WRITES)
@blueprint.operation(
    Action.UPDATE_METADATA,
    scope=Scope.SECRET_UPDATE,
    has_labels=True,
    takes=kv_schemas.KVMetadataChange,
    example={"custom_metadata": {"team": "billing"}},
)
def write_kv_metadata(path: str) -> Response:
    """Write the metadata of a secret.

    `custom_metadata` replaces the labels of the secret, and each other field its rule for writes. If there is
    no secret with this name, one without a version is created, which requires the scope `secret:create`. If
    operators keep deleted secrets for a time, fewer `max_versions` than stored require `secret:purge`.
    """
    name, attempt = name_to_write(path), current_attempt()
    body = json_body()
    given = valid_description(custom_metadata_in(body) or {})
    if not body.keys() & METADATA_FIELDS:
        attempt.finish(Status.SUCCESS)
        return no_content()
    change = partial(
        services().metadata.change,
        Reference(name=name),
        described=None if "custom_metadata" not in body else lambda _present: given,
        ruled=partial(_ruled, body),
        attempt=attempt,
    )
    rules = rules_in(body, WriteRules(), max_versions=_max_versions())
    upsert.write_metadata(
        services(),
        NewSecret(plaintext=b"", name=name, description=given, rules=rules),
        change,
        attempt=attempt,
    )
    return no_content()


@blueprint.route("/metadata/<path:path>", methods=["PATCH"])
@blueprint.operation(
    Action.UPDATE_METADATA,
    scope=Scope.SECRET_UPDATE,
    media_type=MERGE_PATCH,
    has_labels=True,
    takes=kv_schemas.KVMetadataChange,
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
    patch = custom_metadata_in(body)

    def described(present: Description) -> Description:
        merged = {} if patch is None else {**present.pairs, **patch}
        return valid_description({key: text for key, text in merged.items() if text is not None})

    try:
        services().metadata.change(
            Reference(name=name),
            described=described if "custom_metadata" in body else None,
            ruled=partial(_ruled, body),
            attempt=current_attempt(),
        )
    except SecretNotFoundError:
        return missing()
    return no_content()


def _ruled(body: Mapping[str, Any], secret: StoredSecret) -> WriteRules:
    require_metadata_cas(body, secret)
    return rules_in(body, secret.rules, max_versions=_max_versions())


@blueprint.route("/metadata/<path:path>", methods=["DELETE"])
@blueprint.operation(Action.PURGE, scope=Scope.SECRET_PURGE)
def delete_kv_metadata(path: str) -> Response:
    """Destroy a secret.

    Removes all its versions and its metadata permanently; a new secret can have its name. Earlier backups
    still contain the values. The reply is the same if there is no such secret.
    """
    return changed(services().changes.remove, path)


@blueprint.route("/config")
@blueprint.operation(Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE)
@blueprint.enveloped(kv_schemas.KVConfig, description="The configuration.")
def read_kv_config() -> Response:
    """Read the configuration of the secrets engine.

    Operators set `max_versions`; the rest is as in a new secrets engine.
    """
    current_attempt().finish(Status.SUCCESS)
    return envelope(rule_fields(WriteRules(max_versions=_max_versions())))


def _max_versions() -> int:
    return services().changes.retention.max_versions


def _oldest(infos: Sequence[VersionInfo], max_versions: int) -> int:
    """Return the oldest version in *infos*, newest first; 0 while there are fewer than are kept."""
    oldest = infos[-1].version if infos else 0
    return oldest if oldest > 1 or len(infos) >= max_versions else 0
