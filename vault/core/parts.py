"""The parts that the service and operators' commands share, wired by the settings."""

from functools import cached_property
from typing import Any, TypeVar

from vault.common import feature
from vault.common.config.settings import Settings
from vault.core.access.authenticator import Authenticator, Credentials, TokenCredentials
from vault.core.access.token_keys import TokenKeys
from vault.core.access.tokens.tokens import Tokens
from vault.core.access.tokens.uses import TokenUses
from vault.core.crypto import Keyring
from vault.core.documents import Database
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import ANONYMOUS, UNAUTHENTICATED
from vault.core.secrets.changes import SecretWriter
from vault.core.secrets.lease import Changes
from vault.core.secrets.metadata import MetadataWriter
from vault.core.secrets.retention import Retention
from vault.core.secrets.service import SecretService
from vault.core.secrets.versions import VersionWriter
from vault.core.trail.sinks import sink
from vault.core.trail.streams import signing_keys
from vault.core.trail.writer import AuditTrail, NoAuditTrail

Kind = TypeVar("Kind")


class Parts:
    """The keyring, database, connected audit trail, guard, and operations on credentials."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        audit_enabled: bool | None = None,
        auth_enabled: bool | None = None,
    ) -> None:
        """Wire them, and connect the trail.

        *audit_enabled* replaces the setting. *auth_enabled* is the setting of the service; None for commands.
        """
        self.settings = settings
        self.database = database
        self.audit_enabled = settings.audit_enabled if audit_enabled is None else audit_enabled
        self.keyring = Keyring.of(
            settings.master_key,
            settings.master_key_fallbacks,
            file=settings.keyring_file_digest,
            is_confirmed=settings.is_keyring_confirmed,
        )
        entry_sink = sink(settings.audit_sink, required=settings.audit_sink_required)
        self.trail: AuditTrail | NoAuditTrail = (
            AuditTrail(self.keyring, entry_sink) if self.audit_enabled else NoAuditTrail(self.keyring)
        )
        self.trail.connect()
        self.guard = KeyringGuard(
            self.keyring,
            database,
            trusts=signing_keys.trusted,
            audit_enabled=self.audit_enabled,
            auth_enabled=auth_enabled,
        )
        self.token_keys = TokenKeys(self.keyring, self.guard)
        self.tokens = Tokens(self.token_keys, max_days=settings.token_max_days)
        retention = Retention(max_versions=settings.max_versions, recovery_days=settings.delete_recovery_days)
        max_bytes = settings.max_secret_bytes
        is_atomic = self.trail.is_atomic
        changes = Changes(self.guard, is_atomic)
        self.changes = SecretWriter(self.keyring, changes, max_bytes=max_bytes, retention=retention)
        self.versions = VersionWriter(self.keyring, changes)
        self.metadata = MetadataWriter(self.keyring, changes, retention)
        self.secrets = SecretService(self.keyring, self.guard, is_atomic=is_atomic, max_bytes=max_bytes)
        self._token_uses = TokenUses()
        self.authenticator = Authenticator(
            TokenCredentials(self.token_keys),
            lambda: self._credentials,
            anonymous=UNAUTHENTICATED if settings.auth_enabled else ANONYMOUS,
            uses=self._token_uses,
        )

    @cached_property
    def _credentials(self) -> list[Credentials]:
        """The services that know credentials other than tokens, of the features that are on."""
        active = feature.active(self.settings.features_off)
        kinds = feature.resolved(one.credentials for one in active if one.credentials)
        return [self.of(kind) for kind in kinds]

    @cached_property
    def features(self) -> dict[type, Any]:
        """The services of all features, by their type."""
        wirings = feature.resolved(one.services for one in feature.features() if one.services)
        return {type(service): service for wiring in wirings for service in wiring(self)}

    def of(self, kind: type[Kind]) -> Kind:
        """Return the service of this *kind*, which a feature brings."""
        found: Kind = self.features[kind]
        return found

    def close(self) -> None:
        """Store the uses of tokens, end the trail, withdraw the guard's claim and close the database."""
        self._token_uses.close()
        # Without the claim, other processes may retire the key that signs the last entries.
        self.trail.disconnect()
        self.guard.close()
        self.database.close()
