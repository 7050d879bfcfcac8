"""The scheme `awskms`: a symmetric key of AWS KMS, by signed HTTP.

First its credentials, which come from the environment, EKS, ECS and EC2, in this order; then the scheme.
"""

import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from vault.features.custody import http
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import Provider, Unwrapped

_ECS = "http://169.254.170.2"
_EC2 = "http://169.254.169.254"
_ROLE = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
#: Codes of STS with status 400 that can pass by themselves.
_TRANSIENT_OF_STS = {"IDPCommunicationError", "RequestLimitExceeded", "Throttling", "ThrottlingException"}

_KEK = re.compile(r"arn:(?:aws|aws-cn|aws-us-gov):kms:([a-z0-9-]+):[0-9]{12}:(?:key|alias)/[\w/-]+", re.ASCII)
_TRANSIENT_OF_KMS = {
    *("ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "LimitExceededException"),
    *("KeyUnavailableException", "RequestLimitExceeded", "ExpiredTokenException"),
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of AWS, temporary if they have a session token."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)

    def signed(
        self, url: str, headers: Mapping[str, str], body: bytes, *, region: str, service: str, at: datetime
    ) -> dict[str, str]:
        """Return *headers* and those that sign a POST of *body* to *url*, which has no query."""
        parts = urlsplit(url)
        time = at.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{time[:8]}/{region}/{service}/aws4_request"
        sent = dict(headers) | {"Host": parts.netloc, "X-Amz-Date": time}
        if self.session_token:
            sent["X-Amz-Security-Token"] = self.session_token
        lines = sorted((name.lower(), value.strip()) for name, value in sent.items())
        names = ";".join(name for name, _ in lines)
        head = "".join(f"{name}:{value}\n" for name, value in lines)
        hashed = hashlib.sha256(body).hexdigest()
        canonical = f"POST\n{parts.path or '/'}\n\n{head}\n{names}\n{hashed}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        signer = f"Credential={self.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        return sent | {"Authorization": f"AWS4-HMAC-SHA256 {signer}"}


def domain_of(region: str) -> str:
    """Return the domain of AWS's services in *region*."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def credentials(settings: Mapping[str, str], region: str) -> Credentials:
    """Return the credentials of this process for *region*, which can expire within hours.

    Raises:
        CustodyUnavailableError: Their source does not answer.
        CustodyRefusedError: It has none for this process.
    """
    if settings.get("AWS_ACCESS_KEY_ID"):
        return _checked(
            settings["AWS_ACCESS_KEY_ID"],
            settings.get("AWS_SECRET_ACCESS_KEY", ""),
            settings.get("AWS_SESSION_TOKEN", ""),
            "the environment",
        )
    if settings.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return _of_web_identity(settings, region)
    full = settings.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    relative = settings.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if full or relative:
        return _of_container(full or f"{_ECS}{relative}", settings)
    return _of_instance(settings.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _EC2).rstrip("/"))


def _of_web_identity(settings: Mapping[str, str], region: str) -> Credentials:
    """Return the credentials of a service account of Kubernetes, from STS."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": settings.get("AWS_ROLE_ARN", ""),
        "RoleSessionName": settings.get("AWS_ROLE_SESSION_NAME", "secret-manager"),
        "WebIdentityToken": _token(settings["AWS_WEB_IDENTITY_TOKEN_FILE"]),
    }
    reply = http.send(
        "POST",
        settings.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{domain_of(region)}/",
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        body=urlencode(form).encode(),
    )
    found: Any = http.members(reply)
    error = found.get("Error")
    code = http.text(error if isinstance(error, dict) else {}, "Code")
    if code in _TRANSIENT_OF_STS:
        raise CustodyUnavailableError(f"STS is not available now: {code}")
    for name in ("AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult", "Credentials"):
        found = found.get(name) if isinstance(found, dict) else None
    return _made(found, "SessionToken", "STS")


def _of_container(url: str, settings: Mapping[str, str]) -> Credentials:
    file = settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    given = settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "").encode("utf-8", "surrogateescape")
    token = _token(file) if file else _line(given)
    is_local = url.startswith((f"{_ECS}/", "http://169.254.170.23/", "http://[fd00:ec2::23]/"))
    reply = http.send("GET", url, headers={"Authorization": token} if token else {}, is_local=is_local)
    return _made(http.members(reply), "Token", "the container's address for credentials")


def _of_instance(endpoint: str) -> Credentials:
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    is_local = endpoint in (_EC2, "http://[fd00:ec2::254]")
    reply = http.send("PUT", f"{endpoint}/latest/api/token", headers=lifetime, is_local=is_local)
    token = {"X-aws-ec2-metadata-token": _line(reply.content)}
    path = f"{endpoint}/latest/meta-data/iam/security-credentials/"
    reply = http.send("GET", path, headers=token, is_local=is_local)
    role = _line(reply.content) if reply.status == 200 else ""
    if not _ROLE.fullmatch(role) or not role.strip("."):
        raise CustodyRefusedError("this machine has no credentials of AWS, and no role")
    reply = http.send("GET", path + role, headers=token, is_local=is_local)
    return _made(http.members(reply), "Token", "the metadata service")


def _made(found: Any, token_name: str, source: str) -> Credentials:
    document = found if isinstance(found, dict) else {}
    key_id = http.text(document, "AccessKeyId")
    secret, token = http.text(document, "SecretAccessKey"), http.text(document, token_name)
    return _checked(key_id, secret, token, source)


def _checked(key_id: str, secret: str, token: str, source: str) -> Credentials:
    # Anything else can neither be a header nor sign one.
    if not (
        key_id and secret and all(part.isascii() and part.isprintable() for part in (key_id, secret, token))
    ):
        raise CustodyRefusedError(f"{source} has no credentials for this process")
    return Credentials(key_id, secret, token)


def _token(file: str) -> str:
    # Read at each use: Kubernetes replaces it every hour.
    try:
        return _line(Path(file).read_bytes())
    except OSError as error:
        raise CustodyRefusedError(f"the token in {file} cannot be read: {error.strerror}") from None


def _line(content: bytes) -> str:
    """Return *content* as a text that can be a header, or nothing."""
    text = content.decode("ascii", "replace").strip()
    return text if text.isascii() and text.isprintable() else ""


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
        if kind in _TRANSIENT_OF_KMS:
            raise CustodyUnavailableError(f"KMS is not available now: {kind}")
        raise CustodyRefusedError(f"KMS refused: {kind or reply.status}")
