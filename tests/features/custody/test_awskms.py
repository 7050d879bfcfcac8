"""The scheme `awskms`: a stub of KMS whose requests botocore's signer confirms."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from tests.features.custody.conftest import Request, Stub
from vault.features.custody.awskms import AwsKms, Credentials
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import context_of

KEY, CONTEXT, OTHER = bytes(range(32)), context_of("1" * 16), context_of("2" * 16)
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
STATIC = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}


def oracle(url: str, headers: dict[str, str], body: bytes, credentials: Credentials, at: str) -> str:
    """Return the signature that botocore makes."""
    request = AWSRequest("POST", url, headers=headers, data=body)
    request.context["timestamp"] = at
    names = (credentials.key_id, credentials.secret, credentials.session_token or None)
    signer = SigV4Auth(BotoCredentials(*names), "kms", "eu-central-1")
    request.headers["X-Amz-Date"] = at
    if credentials.session_token:
        request.headers["X-Amz-Security-Token"] = credentials.session_token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))


@given(
    st.binary(max_size=200),
    st.sampled_from(["", "a session/token=="]),
    st.datetimes(datetime(2020, 1, 1)),  # noqa: DTZ001 - naive, as the library asks for
)
def test_a_signature_is_that_of_botocore(body: bytes, token: str, at: datetime) -> None:
    """Each signature equals botocore's, with and without a session token."""
    credentials = Credentials("AKIDEXAMPLE", SECRET, token)
    url = "https://kms.eu-central-1.amazonaws.com/"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}
    sent = credentials.signed(url, headers, body, region="eu-central-1", service="kms", at=at)
    expected = oracle(url, headers, body, credentials, at.strftime("%Y%m%dT%H%M%SZ"))
    assert sent["Authorization"].endswith(f"Signature={expected}")
    assert SECRET not in repr(credentials)


def kms(stub: Stub, state: str = "Enabled") -> Callable[[Request], tuple[int, dict[str, str], Any]]:
    """Return the answers of KMS, which checks signatures and encryption contexts."""

    def answer(request: Request) -> tuple[int, dict[str, str], Any]:
        at = request.headers["X-Amz-Date"]
        assert abs((datetime.strptime(at, "%Y%m%dT%H%M%S%z") - datetime.now(UTC)).total_seconds()) < 300
        credentials = Credentials("AKIDEXAMPLE", SECRET, request.headers.get("X-Amz-Security-Token", ""))
        headers = {name: request.headers[name] for name in ("Content-Type", "X-Amz-Target")}
        expected = oracle(f"{stub.url}/", headers, request.body, credentials, at)
        if not request.headers["Authorization"].endswith(expected):
            return 400, {}, {"__type": "InvalidSignatureException"}
        body = json.loads(request.body)
        if body["KeyId"] != ARN or state != "Enabled":
            return (
                400,
                {},
                {"__type": f"com.amazonaws.kms#{'NotFoundException' if state == 'Enabled' else state}"},
            )
        context = json.dumps(body["EncryptionContext"], sort_keys=True).encode()
        if request.headers["X-Amz-Target"] == "TrentService.Encrypt":
            wrapped = b64decode(body["Plaintext"])[::-1]
            return 200, {}, {"CiphertextBlob": b64encode(context + wrapped).decode()}
        blob = b64decode(body["CiphertextBlob"])
        if not blob.startswith(context):
            return 400, {}, {"__type": "InvalidCiphertextException"}
        plaintext = b64encode(blob.removeprefix(context)[::-1]).decode()
        return 200, {"x-amzn-RequestId": "request-1"}, {"Plaintext": plaintext, "KeyId": ARN}

    return answer


def test_a_key_is_wrapped_with_its_encryption_context(stub: Stub) -> None:
    """KMS unwraps under the same context only, and the ID of its request is kept."""
    stub.answer = kms(stub)
    provider = AwsKms(ARN, STATIC | {"AWS_ENDPOINT_URL_KMS": stub.url})
    blob = provider.wrap(KEY, CONTEXT)
    found = provider.unwrap(blob, CONTEXT)
    assert (found.material, found.request_id) == (KEY, "request-1")
    assert provider.describe(blob) == ""
    provider.close()
    for content, context in ((blob, OTHER), (b"x" + blob, CONTEXT)):
        with pytest.raises(CustodyRefusedError, match="InvalidCiphertextException"):
            provider.unwrap(content, context)
    wrong = AwsKms(ARN, STATIC | {"AWS_SECRET_ACCESS_KEY": "wrong", "AWS_ENDPOINT_URL_KMS": stub.url})
    with pytest.raises(CustodyRefusedError, match="InvalidSignatureException"):
        wrong.unwrap(blob, CONTEXT)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("DisabledException", CustodyRefusedError),
        ("KMSInvalidStateException", CustodyRefusedError),
        ("AccessDeniedException", CustodyRefusedError),
        ("ThrottlingException", CustodyUnavailableError),
        ("KeyUnavailableException", CustodyUnavailableError),
    ],
)
def test_each_failure_of_kms_is_one_of_two_errors(stub: Stub, state: str, error: type[Exception]) -> None:
    """Disabled and deleted keys are refusals; a throttled or failing KMS is unavailable."""
    stub.answer = kms(stub, state)
    with pytest.raises(error, match=state):
        AwsKms(ARN, STATIC | {"AWS_ENDPOINT_URL_KMS": stub.url}).unwrap(b"blob", CONTEXT)


@pytest.mark.parametrize(
    "body", [{}, {"Plaintext": "é"}, {"Plaintext": "AAAA" * 11_000}, b"no JSON"], ids=range(4)
)
def test_a_reply_without_a_key_is_refused(stub: Stub, body: object) -> None:
    """A lying KMS is refused."""
    stub.answer = lambda _: (200, {}, body)
    with pytest.raises(CustodyRefusedError, match="without Plaintext"):
        AwsKms(ARN, STATIC | {"AWS_ENDPOINT_URL_KMS": stub.url}).unwrap(b"blob", CONTEXT)


def test_the_kek_is_an_arn_with_its_region() -> None:
    """An alias is possible, each partition has its own domain, and anything else is refused."""
    china = ARN.replace("arn:aws:", "arn:aws-cn:").replace("eu-central-1", "cn-north-1")
    assert AwsKms(china, STATIC)._url == "https://kms.cn-north-1.amazonaws.com.cn/"
    assert AwsKms(ARN.replace("key/", "alias/"), STATIC)._url == "https://kms.eu-central-1.amazonaws.com/"
    for kek in ("alias/sm", ARN.replace("kms", "s3"), ARN + "?"):
        with pytest.raises(CustodyRefusedError, match="ARN"):
            AwsKms(kek, STATIC)


@pytest.mark.parametrize(
    "url", ["http://[", "https://user:word@kms/", "https://b%00/", "kms", "https://kms:99999/"]
)
def test_the_endpoint_is_the_address_of_a_server(url: str) -> None:
    """Another endpoint is refused before anything is sent, and no message quotes a password."""
    with pytest.raises(CustodyRefusedError, match="without a user name") as caught:
        AwsKms(ARN, STATIC | {"AWS_ENDPOINT_URL_KMS": url})
    assert "word" not in str(caught.value)
