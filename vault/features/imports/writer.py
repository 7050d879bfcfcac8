"""Write imported secrets: all kept versions, with their numbers and times, in one step."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret, UnstoredSecret
from vault.core.documents.stored_secret import VersionInfo
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import OPERATOR
from vault.core.secrets import reach
from vault.core.secrets.store import SecretStore
from vault.features.imports.kv_source import SourceSecret, SourceVersion


class ImportWriter:
    """Stores imported secrets, as creates of the operator: each has its entry before anyone finds it."""

    def __init__(self, keyring: Keyring, guard: KeyringGuard, *, namespace: str, source: str) -> None:
        """Record the address of the *source* in the entries."""
        self._keyring = keyring
        self._guard = guard
        self._namespace = namespace
        self._source = source
        self._store = SecretStore()

    def write(self, new: Mapping[str, SourceSecret]) -> Mapping[str, str]:
        """Store *new* secrets by their names here; return the reasons why some were not stored.

        Raises the errors of `Importer.run` that do not concern the source.
        """
        self._guard.require()
        self._remove_leftovers(new)
        made = [self._document(name, secret) for name, secret in new.items()]
        try:
            refused = self._store.hold_names(made)
            held = [secret for secret in made if secret.id not in refused]
            self._store.record([(self._attempt(secret), Status.SUCCESS) for secret in held], held)
        except BaseException:
            self._store.roll_back(made)
            raise
        return {
            name: "another request took the name"
            for name, secret in zip(new, made, strict=True)
            if secret.id in refused
        }

    def _remove_leftovers(self, new: Mapping[str, SourceSecret]) -> None:
        """Remove what a killed import has left pending, which would hold its names for minutes.

        Other creates that are in progress have begun now; the creation time of a leftover is the source's.
        """
        same = [{"name": name, "created_at": secret.created_at} for name, secret in new.items()]
        query = {"namespace": self._namespace, "name": {"$in": list(new)}, "pending": True, "$or": same}
        with storage_errors("delete"):
            Secret.raw().delete_many(query)

    def _document(self, name: str, source: SourceSecret) -> UnstoredSecret:
        newest = source.versions[-1] if source.versions else None
        infos = [_info(one) for one in source.versions]
        secret = UnstoredSecret(
            id=str(uuid4()),
            namespace=self._namespace,
            name=name,
            created_at=source.created_at,
            updated_at=newest.created_at if newest and newest.created_at != source.created_at else None,
            version=newest.number if newest else 0,
            description=source.description,
            rules=dict(source.rules.stored()) or None,
            metadata_version=source.metadata_version or None,
            states=[info.stored_state() for info in infos if info.deleted_at or info.is_purged] or None,
            purged=[info.version for info in infos if info.is_purged] or None,
        )
        secret.older = [
            {
                "version": one.number,
                "envelope": self._keyring.encrypt(one.value, secret.binding(one.number)),
                "key_id": self._keyring.primary.id,
                "created_at": one.created_at,
            }
            for one in source.versions[:-1]
            if one.value is not None
        ] or None
        # A version without a value has the envelope of an empty one.
        secret.set_plaintext((newest and newest.value) or b"")
        secret.encrypt(self._keyring)
        return secret

    def _attempt(self, secret: UnstoredSecret) -> Attempt:
        principal = replace(OPERATOR, namespace=self._namespace)
        attempt = Attempt(action=Action.CREATE, principal=principal, secret_id=secret.id)
        reach.record(self._namespace, secret.name, attempt)
        older = {one["version"] for one in secret.older or ()}
        numbers = {secret.version, *older, *(secret.purged or ())}
        # 0 stands for no version.
        attempt.details |= {"versions": sorted(numbers - {0}), "imported_from": self._source}
        return attempt


def _info(version: SourceVersion) -> VersionInfo:
    return VersionInfo(
        version=version.number,
        created_at=version.created_at,
        deleted_at=version.deleted_at,
        is_purged=version.value is None,
    )
