"""Errors about secrets: their values, names, versions and ciphertexts."""

from vault.common.errors.base import AccessDeniedError, MissingError, Refusal, RefusedInputError, VaultError


class InvalidBase64Error(RefusedInputError):
    """A value is not canonical base64; the message says why."""

    refusal = Refusal(
        400,
        page=(
            "The value is not canonical base64 (RFC 4648, section 4): standard alphabet, padded, zero "
            "trailing bits, no white space, not empty. Encode the bytes of the value with a standard "
            "encoder."
        ),
    )


class SecretTooLargeError(RefusedInputError):
    """The value is larger than allowed; the detail contains the limit.

    Operators set it as MAX_SECRET_BYTES.
    """

    refusal = Refusal(413)


class TooLargeForBatchError(RefusedInputError):
    """The values of a batch may have 8 MiB together, and none may be larger than MAX_SECRET_BYTES.

    This secret has more than its share. Fetch it alone, or in a smaller batch.
    """

    message = "The secret is too large for this batch."
    remedy = "Fetch it alone."
    refusal = Refusal(413, "Secret too large for this batch")


class TooManyMatchesError(RefusedInputError):
    """More secrets have the name_prefix than a batch can return, which is 100.

    Use a longer prefix, or list the secrets and fetch them in several batches.
    """

    message = "More than 100 secrets have this prefix."
    remedy = "Use a longer `name_prefix`."
    refusal = Refusal(422, "Too many secrets with this prefix")


class TooManyKeysError(RefusedInputError):
    """The keys of this level take more than 1 MiB. List them in parts, with limit and after."""

    message = "There are too many keys here."
    remedy = "List them in parts, with `limit` and `after`."
    refusal = Refusal(400)


class DeliveryRefusedError(AccessDeniedError):
    """The request itself forbids the delivery, and asks only for the entry."""

    message = "The delivery is refused, as the request says."
    refusal = Refusal(
        403,
        page=(
            "The request itself says that the secret must not be delivered to its task, for example because "
            "the policy of the driver forbids it. The audit trail has the refusal, and no value was "
            "returned."
        ),
    )


class SecretNotFoundError(MissingError):
    """No readable secret has this ID: it never existed, or no longer exists. The reply does not say which."""

    # The contract fixes this text, without a full stop.
    message = "Secret not found"
    refusal = Refusal(
        404,
        page=(
            "The secret or version never existed, has expired, was deleted, has reached its read limit, or "
            "is outside your namespace or paths. The reply is the same in all cases."
        ),
    )


class OutsidePathsError(AccessDeniedError):
    """The credential is limited to paths, and the new secret has a name outside them, or no name.

    The reply is the same for free and taken names. Choose a name within the paths.
    """

    message = "The name is outside the paths of this credential."
    refusal = Refusal(403, "Name outside the paths")


class NameTakenError(RefusedInputError):
    """Another secret of the namespace has this name.

    A deleted secret keeps its name for as long as it can be restored. Choose another name, update that
    secret, or purge it.
    """

    message = "Secret name already used in this namespace."
    refusal = Refusal(409)


class VersionConflictError(RefusedInputError):
    """The newest version of a secret is not the expected one."""

    message = "Version conflict: the current version does not match `expected_version`."
    refusal = Refusal(
        409,
        page=(
            "The newest version of the secret is not the expected version, so another request updated it in "
            "the meantime. Nothing was changed. Fetch the secret, and decide whether to update it again."
        ),
    )


class ExpectedVersionRequiredError(RefusedInputError):
    """The write rules of a secret demand the version that an update expects to be the newest."""

    message = "This secret requires `expected_version`."
    refusal = Refusal(
        409,
        page=(
            "The metadata of the secret, which clients of Vault's API can set, requires every update to name "
            "the version that it expects to be the newest. Describe the secret, and send its version as "
            "expected_version."
        ),
    )


class UseRulesRefusedError(RefusedInputError):
    """Only secrets with a name, and with values of at least 8 bytes, can have use rules.

    A shorter value could not be removed from what a broker returns. Store a longer one, or remove the rules.
    """

    refusal = Refusal(422)


class SecretNotDeletedError(RefusedInputError):
    """Only deleted secrets can be purged as a whole.

    Delete the secret first, or name one of its older versions.
    """

    message = "The secret is not deleted."
    remedy = "Delete it first, or set `version`."
    refusal = Refusal(409)


class NewestVersionError(RefusedInputError):
    """The newest version of a secret cannot be purged. Update the secret first, or delete it."""

    message = "The newest version cannot be purged."
    remedy = "Update or delete the secret first."
    refusal = Refusal(409, "Newest version cannot be purged")


class SecretBusyError(VaultError):
    """Another request is modifying the secret.

    Nothing was changed. Retry after the number of seconds in Retry-After.
    """

    message = "The secret is being modified by another request."
    remedy = "Try again shortly."
    refusal = Refusal(503)


class IdempotencyMismatchError(RefusedInputError):
    """An idempotency key was reused with a different body."""

    message = "This Idempotency-Key was already used with a different body."
    refusal = Refusal(
        422,
        "Idempotency key reused",
        page=(
            "The Idempotency-Key belongs to an earlier request with a different body, or to one under a "
            "master key that was dropped. Nothing was created. Use a new random key for each new request."
        ),
    )


class WeakIdempotencyKeyError(RefusedInputError):
    """Anonymous callers share their idempotency keys, so a key that can be guessed is refused.

    Send a random key of at least 32 characters, such as a UUID, or a credential.
    """

    message = "Without a credential, the Idempotency-Key must be random and have at least 32 characters."
    refusal = Refusal(422)


# Deliberately one error without a reason: the part that failed would help attackers who forge ciphertexts.
class DecryptionError(VaultError):
    """A stored value is not as the service wrote it, so nothing was released.

    Operators find the request in the logs and the audit trail by its request ID.
    """

    message = "a stored value does not verify"
    refusal = Refusal(500, "Stored value does not verify", "The request could not be completed.")
