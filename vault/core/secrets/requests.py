"""Requests: the content of a new secret, and references to a stored one."""

import hmac
import json
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from vault.common import clock
from vault.common.attributes import Description
from vault.common.timestamps import moment
from vault.core.attempt import Attempt
from vault.core.documents import Secret
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret, UseRules, VersionInfo
from vault.core.documents.write_rules import WriteRules
from vault.core.secrets import reach, use_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """The content of a secret to create, as its creator chose it."""

    #: Empty if the secret has no value yet.
    plaintext: bytes = field(repr=False)
    #: Seconds until the secret expires; None for no expiry.
    ttl_seconds: int | None = None
    #: The read limit; None for no limit.
    max_reads: int | None = None
    name: str | None = None
    description: Description = field(default_factory=Description)
    rules: WriteRules = field(default_factory=WriteRules)
    #: Whether a read of the secret is an alarm.
    canary: bool = False
    #: Where its value may be used, as the feature of use rules stores it.
    use_rules: UseRules | None = None

    def document(self, namespace: str, secret_id: str) -> UnstoredSecret:
        """Return this secret, with this new ID, in *namespace*."""
        now = clock.now()
        expires_at = now + timedelta(seconds=self.ttl_seconds) if self.ttl_seconds else None
        secret = UnstoredSecret(
            # Not assigned by MongoDB: the ciphertext is bound to it.
            id=secret_id,
            namespace=namespace,
            created_at=now,
            expires_at=expires_at,
            purge_at=expires_at,
            max_reads=self.max_reads,
            name=self.name,
            use_rules=self.use_rules or None,
            description=self.description,
            # Without a value, the first version is yet to come, and there is only metadata.
            version=1 if self.plaintext else 0,
            metadata_version=None if self.plaintext else 1,
            rules=dict(self.rules.stored()) or None,
            is_canary=self.canary,
        )
        secret.set_plaintext(self.plaintext)
        return secret

    def canonical(self) -> bytes:
        """Return the same bytes for every form of a request body with the same content."""
        values = asdict(self) | {"plaintext": b64encode(self.plaintext).decode()}
        # Records always have labels, and other attributes if they are set.
        values |= {"labels": {}, **values.pop("description")["values"]}
        # No request with an idempotency key has rules. Records of earlier versions have none.
        del values["rules"]
        for name in ("canary", "use_rules"):
            if not values[name]:
                del values[name]
        return json.dumps(values, sort_keys=True).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A version that was stored, and its secret's description."""

    secret_id: str
    info: VersionInfo
    description: Description

    @property
    def version(self) -> int:
        """The number of the version."""
        return self.info.version


def derive_ids(base_id: str, count: int) -> list[str]:
    """Return the IDs of a batch's new secrets: version-4 UUIDs, derived from *base_id*.

    No caller sees the base ID, which is random. Without it, no ID reveals another.
    """
    digests = (hmac.digest(base_id.encode(), number.to_bytes(4, "big"), "sha256") for number in range(count))
    return [str(UUID(bytes=digest[:16], version=4)) for digest in digests]


def limit_details(secret: UnstoredSecret) -> dict[str, Any]:
    """Return the details for a new secret's audit entry: its expiry, read limit and use rules, if set."""
    found = {
        "expires_at": secret.expires_at and moment(secret.expires_at),
        "max_reads": secret.max_reads,
        "use_hosts": use_rules.hosts(secret.use_rules) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


#: The namespaces of wrapped replies, and of shared values. They have a colon, so no principal has one: none
#: can reach a reply by its ID.
REPLIES, SHARES = "service:wrapping", "service:sharing"
KEPT = (REPLIES, SHARES)

#: The condition for secrets. Replies can be larger than any of them, and there is no memory for those whose
#: IDs anyone sends.
NOT_KEPT = {"namespace": {"$nin": KEPT}}

#: A secret's ID, or its namespace and name.
Key = str | tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A secret's ID, or its name in the caller's namespace."""

    secret_id: str | None = field(default=None, repr=False)
    name: str | None = None

    def admit(self, attempt: Attempt) -> None:
        """Record the requested ID or name in *attempt*, and require that its principal may use it.

        Call it before the search, so that the time of a refusal does not show whether the secret exists.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The name is outside the principal's paths.
        """
        if self.secret_id:
            attempt.secret_id = self.secret_id
            return
        reach.require_credential(self.name, attempt)
        reach.require(attempt.principal.namespace, self.name, attempt)

    def key(self, namespace: str) -> Key:
        """Return the key of the secret, to which a caller of *namespace* refers."""
        return self.secret_id or (namespace, self.name or "")

    def find(self, *, attempt: Attempt, without: tuple[str, ...] = ()) -> StoredSecret:
        """Return the secret, visible or not, less the fields in *without*; `admit` comes first.

        Raises:
            SecretNotFoundError: The secret does not exist, or the principal cannot reach it.
        """
        with storage_errors():
            secret = Secret.find(self._query(attempt), without=without)
        # With a collation, MongoDB finds other names, too.
        is_other = secret is not None and self.name not in (None, secret.name)
        return reach.reached(None if is_other else secret, attempt)

    def _query(self, attempt: Attempt) -> dict[str, Any]:
        if self.secret_id:
            return {"_id": self.secret_id, **({} if attempt.principal.namespace in KEPT else NOT_KEPT)}
        return {"namespace": attempt.principal.namespace, "name": self.name}
