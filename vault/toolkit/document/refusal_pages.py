"""The pages that explain refusals: the paragraph of each, also for the OpenAPI document."""

from vault.common import feature

#: Paragraphs by the code of their refusal.
PARAGRAPHS = {
    # --- Credentials
    "credential_required": (
        "The operation requires a credential and the request has none. Send a token or a JWT in the header "
        "Authorization: Bearer. To refer to a secret by its name, a credential is always required, because "
        "names can be guessed."
    ),
    "invalid_credential": (
        "The request has a credential that is not valid: unknown, expired, revoked, sent from another "
        "network, not from a configured issuer, or a JWT that does not match exactly one role. The reply "
        "does not say which. Operators find the reason in the audit trail."
    ),
    "invalid_wrapping_token": (
        "The wrapping token never existed, was unwrapped or used for another request before, or it ended: by "
        "itself, with its secret, or with its maker's token. If no one else should have had it, treat the "
        "wrapped reply as exposed."
    ),
    "credentials_unavailable": (
        "The issuer of JWTs is not available, so the service can check no JWT. Retry after the number of "
        "seconds in Retry-After."
    ),
    "scope_missing": (
        "The credential is valid but lacks the scope of this operation, which the detail names. Use a "
        "credential that has the scope."
    ),
    "address_refused": (
        "The client's address is not in an allowed network. Operators set these networks as ALLOWED_NETWORKS."
    ),
    "rate_limited": (
        "This principal or address sent too many requests, or this address sent too many invalid "
        "credentials. Retry after the number of seconds in Retry-After."
    ),
    # --- Tokens
    "grant_refused": (
        "The new token or role would have more than its creator, or a longer lifetime than operators allow; "
        "or the caller is limited and therefore cannot manage issuers. The detail names the excess or the "
        "limits. Ask for less, or use a credential that has more."
    ),
    "revocation_refused": (
        "The token to revoke, or the role to delete, has scopes, networks or paths that the caller lacks. "
        "The detail names them. Use a credential that has at least as much."
    ),
    "invalid_token_name": "The service uses this name itself, so no token can have it. Choose another name.",
    "token_name_taken": (
        "A token of the namespace has or had this name, or another request is creating one with it. Names "
        "of tokens cannot be reused, because the audit trail contains them. Choose another name."
    ),
    "token_not_renewable": (
        "The token was created without `renewable`, so it ends at its expiry, or never. Nothing was changed. "
        "Create a new token."
    ),
    "token_required": (
        "The credential is a JWT. The service did not issue it, so it can neither renew nor revoke it. Send "
        "a token."
    ),
    "token_not_found": "No token of the caller's namespace has this name.",
    "limit_reached": (
        "There are as many issuers, roles, webhooks or rotation plans as the service allows. A JWT is "
        "compared with all roles of its issuer, and each webhook reads the audit trail. Delete unused ones."
    ),
    # --- Secrets
    "outside_paths": (
        "The credential is limited to paths, and the new secret has a name outside them, or no name. The "
        "reply is the same for free and taken names. Choose a name within the paths."
    ),
    "delivery_refused": (
        "The request itself says that the secret must not be delivered to its task, for example because the "
        "policy of the driver forbids it. The audit trail has the refusal, and no value was returned."
    ),
    "secret_not_found": (
        "The secret or version never existed, has expired, was deleted, has reached its read limit, or is "
        "outside your namespace or paths. The reply is the same in all cases."
    ),
    "invalid_base64": (
        "The value is not canonical base64 (RFC 4648, section 4): standard alphabet, padded, zero trailing "
        "bits, no white space, not empty. Encode the bytes of the value with a standard encoder."
    ),
    "secret_too_large": (
        "The value is larger than allowed; the detail contains the limit. Operators set it as "
        "MAX_SECRET_BYTES."
    ),
    "too_large_for_batch": (
        "The values of a batch may have 8 MiB together, and none may be larger than MAX_SECRET_BYTES. This "
        "secret has more than its share. Fetch it alone, or in a smaller batch."
    ),
    "too_many_matches": (
        "More secrets have the name_prefix than a batch can return, which is 100. Use a longer prefix, or "
        "list the secrets and fetch them in several batches."
    ),
    "too_many_keys": "The keys of this level take more than 1 MiB. List them in parts, with limit and after.",
    "name_taken": (
        "Another secret of the namespace has this name. A deleted secret keeps its name for as long as it "
        "can be restored. Choose another name, update that secret, or purge it."
    ),
    "version_conflict": (
        "The newest version of the secret is not the expected version, so another request updated it in the "
        "meantime. Nothing was changed. Fetch the secret, and decide whether to update it again."
    ),
    "expected_version_required": (
        "The metadata of the secret, which clients of Vault's API can set, requires every update to name the "
        "version that it expects to be the newest. Describe the secret, and send its version as "
        "expected_version."
    ),
    "secret_not_deleted": (
        "Only deleted secrets can be purged as a whole. Delete the secret first, or name one of its older "
        "versions."
    ),
    "newest_version": (
        "The newest version of a secret cannot be purged. Update the secret first, or delete it."
    ),
    "idempotency_mismatch": (
        "The Idempotency-Key belongs to an earlier request with a different body, or to one under a master "
        "key that was dropped. Nothing was created. Use a new random key for each new request."
    ),
    "weak_idempotency_key": (
        "Anonymous callers share their idempotency keys, so a key that can be guessed is refused. Send a "
        "random key of at least 32 characters, such as a UUID, or a credential."
    ),
    "secret_busy": (
        "Another request is modifying the secret. Nothing was changed. Retry after the number of seconds in "
        "Retry-After."
    ),
    "decryption": (
        "A stored value is not as the service wrote it, so nothing was released. Operators find the request "
        "in the logs and the audit trail by its request ID."
    ),
    # --- Bodies and queries
    "bad_request": (
        "The body is not valid JSON in UTF-8, or the request violates HTTP. Names that occur twice in one "
        "object, and NaN, are not valid either. The detail says where the body is malformed, if that is "
        "known."
    ),
    "client_disconnected": "The client closed the connection before it had sent the whole body.",
    "unprocessable_entity": (
        "The request is valid JSON but breaks the rules of one or more fields. Each item of errors names a "
        "field and its rule. The OpenAPI document has all rules."
    ),
    "invalid_cursor": (
        "No earlier reply of this operation contained this cursor. Send a cursor unchanged, or begin "
        "without one."
    ),
    "request_timeout": "The body did not arrive within 10 seconds. Send the request again.",
    "request_entity_too_large": (
        "The body is larger than allowed, or comes in chunks that are too small. The limit follows from "
        "MAX_SECRET_BYTES, which operators set."
    ),
    "unsupported_media_type": (
        "The body is not declared as JSON in UTF-8, or is compressed. Send Content-Type: application/json, "
        "and no Content-Encoding."
    ),
    # --- HTTP
    "host_refused": (
        "The header Host of the request names a host that is not one of the service's. Operators set them as "
        "ALLOWED_HOSTS, so that no web page can reach the service under a name of its own (DNS rebinding)."
    ),
    "not_found": (
        "The service has nothing at this path. The OpenAPI document, at /openapi.json, has all paths."
    ),
    "method_not_allowed": (
        "The path exists but does not support the method of the request. The header Allow names the methods "
        "that it supports."
    ),
    "uri_too_long": (
        "The request line, with the URI, is longer than 4,094 bytes. No operation needs parameters in the "
        "URI."
    ),
    "expectation_failed": (
        "The header Expect of the request names something other than 100-continue, which is all that the "
        "service supports."
    ),
    "request_header_fields_too_large": (
        "The headers of the request are larger than allowed: 32 KiB together, 8,190 bytes each, and 100 of "
        "them."
    ),
    "not_implemented": (
        "The body has a Transfer-Encoding other than chunked. Send it in chunks, or with a Content-Length."
    ),
    # --- The service
    "overloaded": (
        "Too many requests are in progress. This one was not started. Retry after the number of seconds in "
        "Retry-After."
    ),
    "not_ready": (
        "A health check failed, so the service cannot create and fetch secrets now. Each item of errors "
        "names a check and the reason for its failure."
    ),
    "key_missing": (
        "A master key in use is not in the keyring of this replica, so it does not serve. Operators find "
        "the key in the logs. Retry after the number of seconds in Retry-After: another replica may answer."
    ),
    "keyring_file_unknown": (
        "Neither its keys nor the database confirm the keyring file of this replica, so it does not serve. "
        "Operators find the details in the logs. Retry after the number of seconds in Retry-After."
    ),
    "key_unshared": (
        "Other replicas lack the primary master key of this replica, so it does not serve. Operators find "
        "the details in the logs. Retry after the number of seconds in Retry-After."
    ),
    "audit_state": (
        "AUDIT_ENABLED of this replica differs from the state of the database, so it does not serve. "
        "Operators find the details in the logs. Retry after the number of seconds in Retry-After."
    ),
    "auth_state": (
        "AUTH_ENABLED of this replica is off, and was on for the database, so the replica does not serve. "
        "Operators find the details in the logs. Retry after the number of seconds in Retry-After."
    ),
    "restore_unfinished": (
        "A restore into the database is incomplete, so the service does not serve. Operators complete it "
        "with the same backup."
    ),
    "storage_unavailable": (
        "MongoDB is not available, or did not answer in time. A change may or may not have taken effect. "
        "Retry after the number of seconds in Retry-After; with an Idempotency-Key, a repeated create is "
        "safe."
    ),
    "audit_unavailable": (
        "The audit entry of the request could not be written, so nothing was released. Retry after the "
        "number of seconds in Retry-After."
    ),
    "defect": "The service failed. Operators find the cause in the logs, by the request ID.",
    **{
        error.kind: error.refusal.page or " ".join(str(error.__doc__).split())
        for error in feature.errors()
        if error.refusal
    },
}
