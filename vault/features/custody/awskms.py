"""The scheme `awskms`: a symmetric key of AWS KMS, by signed HTTP."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vault.features.custody import http
from vault.features.custody.aws_credentials import credentials, domain_of
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import Provider, Unwrapped

_KEK = re.compile(r"arn:(?:aws|aws-cn|aws-us-gov):kms:([a-z0-9-]+):[0-9]{12}:(?:key|alias)/[\w/-]+", re.ASCII)
_TRANSIENT = {
    *("ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "LimitExceededException"),
    *("KeyUnavailableException", "RequestLimitExceeded", "ExpiredTokenException"),
}


class AwsKms(Provider):
    """A key of AWS KMS, by the ARN of the key or of an alias."""

    def __init__(self, kek: str, settings: Mapping[str, str]) -> None:
        """Take credentials and the endpoint from *settings*.

        Raises:
            CustodyRefusedError: *kek* is no such ARN, or the endpoint is no address.
        """
        match = _KEK.fullmatch(kek)
        if match is None:
            raise CustodyRefusedError("the KEK is not the ARN of a key or an alias of KMS")
        self._kek, self._region = kek, match[1]
        default = f"https://kms.{self._region}.{domain_of(self._region)}/"
        self._url = settings.get("AWS_ENDPOINT_URL_KMS") or default
        http.checked(self._url)
        self._settings = settings

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* wrapped by the key, with *context* as its encryption context."""
        found, _ = self._post("Encrypt", context, Plaintext=b64encode(material).decode())
        return http.content(found, "CiphertextBlob")

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the wrapped key."""
        found, request_id = self._post("Decrypt", context, CiphertextBlob=b64encode(blob).decode())
        return Unwrapped(http.content(found, "Plaintext"), request_id)

    def _post(self, operation: str, context: dict[str, str], **members: str) -> tuple[dict[str, Any], str]:
        body = json.dumps({"KeyId": self._kek, "EncryptionContext": context, **members}).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{operation}",
        }
        signed = credentials(self._settings, self._region).signed(
            self._url, headers, body, region=self._region, service="kms", at=datetime.now(UTC)
        )
        reply = http.send("POST", self._url, headers=signed, body=body)
        found = http.members(reply)
        if reply.status == 200:
            return found, reply.request_id
        # The name can follow that of its namespace.
        kind = re.sub("[^A-Za-z]", "", http.text(found, "__type").rpartition("#")[2])[:64]
        if kind in _TRANSIENT:
            raise CustodyUnavailableError(f"KMS is not available now: {kind}")
        raise CustodyRefusedError(f"KMS refused: {kind or reply.status}")
