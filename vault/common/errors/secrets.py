"""Errors about secrets: their values, names, versions and ciphertexts."""

from vault.common.errors.base import AccessDeniedError, MissingError, RefusedInputError, VaultError


class InvalidBase64Error(RefusedInputError):
    """A value is not canonical base64; the message says why."""


class SecretTooLargeError(RefusedInputError):
    """A plaintext is larger than `MAX_SECRET_BYTES`."""


class TooLargeForBatchError(RefusedInputError):
    """A stored secret is too large to be returned together with the others of a batch."""

    message = "The secret is too large for this batch."
    remedy = "Fetch it alone."


class TooManyMatchesError(RefusedInputError):
    """More secrets have a prefix than a batch can have items."""

    message = "More than 100 secrets have this prefix."
    remedy = "Use a longer `name_prefix`."


class TooManyKeysError(RefusedInputError):
    """The keys of one level of names take too much space."""

    message = "There are too many keys here."
    remedy = "List them in parts, with `limit` and `after`."


class DeliveryRefusedError(AccessDeniedError):
    """The request itself forbids the delivery, and asks only for the entry."""

    message = "The delivery is refused, as the request says."


class SecretNotFoundError(MissingError):
    """No readable secret has this ID: it never existed, or no longer exists. The reply does not say which."""

    # The contract fixes this text, without a full stop.
    message = "Secret not found"


class OutsidePathsError(AccessDeniedError):
    """A new secret's name is not within the principal's paths, or the secret has none."""

    message = "The name is outside the paths of this credential."


class NameTakenError(RefusedInputError):
    """Another secret of the namespace has this name, or is deleted, can be restored, and keeps it."""

    message = "Secret name already used in this namespace."


class VersionConflictError(RefusedInputError):
    """The newest version of a secret is not the expected one."""

    message = "Version conflict: the current version does not match `expected_version`."


class ExpectedVersionRequiredError(RefusedInputError):
    """The write rules of a secret demand the version that an update expects to be the newest."""

    message = "This secret requires `expected_version`."


class SecretNotDeletedError(RefusedInputError):
    """The secret to purge is not deleted."""

    message = "The secret is not deleted."
    remedy = "Delete it first, or set `version`."


class NewestVersionError(RefusedInputError):
    """The version to purge is the secret's newest."""

    message = "The newest version cannot be purged."
    remedy = "Update or delete the secret first."


class SecretBusyError(VaultError):
    """Another request is modifying this secret; nothing was changed."""

    message = "The secret is being modified by another request."
    remedy = "Try again shortly."


class IdempotencyMismatchError(RefusedInputError):
    """An idempotency key was reused with a different body."""

    message = "This Idempotency-Key was already used with a different body."


class WeakIdempotencyKeyError(RefusedInputError):
    """An anonymous caller's idempotency key is too easy to guess: anonymous callers share one scope."""

    message = "Without a credential, the Idempotency-Key must be random and have at least 32 characters."


class DecryptionError(VaultError):
    """A ciphertext does not verify: it, its key or its binding differs from the original.

    Deliberately one error without a reason: the part that failed would help attackers who forge ciphertexts.
    """

    message = "a stored value does not verify"
