"""The provider of OpenID Connect: replies that cannot be used, and waits for replies."""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.features.console import open_id_provider
from vault.features.console.open_id_provider import OpenIDProvider, _Reply
from vault.toolkit.client.http import Failure, RequestFailedError

ISSUER = "https://idp.example/realm"
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://idp.example/auth",
    "token_endpoint": "https://idp.example/token",
}
CLAIMS = {"iss": ISSUER, "aud": "me", "sub": "a", "iat": 0, "exp": 2**33, "nonce": "n"}
REDIRECT = "https://vault.example/console/oidc/callback"


def id_token(header: object = None, **claims: object) -> str:
    parts = ({"alg": "RS256"} if header is None else header, {**CLAIMS, **claims})
    return ".".join([*(urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts), "c2ln"])


class Replies:
    """The replies of a provider, in place of its network."""

    def __init__(self) -> None:
        self.metadata: object = METADATA
        self.token: object = {"id_token": id_token(), "token_type": "Bearer", "access_token": "x"}
        self.status = 200
        self.error: Exception | None = None
        self.sent: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.answers = Event()
        self.answers.set()

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> _Reply:
        """Return the reply to a request, which is noted."""
        self.sent.append((method, url, headers or {}, body or b""))
        self.answers.wait(60)
        if self.error:
            raise self.error
        content = self.metadata if method == "GET" else self.token
        return _Reply(self.status, content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Replies:
    """Replace the network."""
    replies = Replies()
    monkeypatch.setattr(open_id_provider, "_sent", replies.send)
    return replies


@pytest.fixture
def provider(replies: Replies) -> OpenIDProvider:  # noqa: ARG001 - the replies are its own
    """Return the provider behind `replies`."""
    return OpenIDProvider(ISSUER, "me", "secret:+")


def address(provider: OpenIDProvider) -> str:
    return provider.address(REDIRECT, state="s", nonce="n", verifier="v" * 43)


def exchange(provider: OpenIDProvider, code: str = "c") -> str:
    return provider.id_token(code, REDIRECT, nonce="n", verifier="v" * 43)


def reason(call: Callable[[], object]) -> str:
    """Return the reason for which *call* refuses."""
    with pytest.raises(InvalidCredentialError) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize(
    ("supported", "has_header"),
    [({}, True), ({"token_endpoint_auth_methods_supported": ["client_secret_post"]}, False)],
)
def test_the_service_authenticates_as_the_provider_knows(
    provider: OpenIDProvider, replies: Replies, supported: dict[str, object], has_header: bool
) -> None:
    """The secret is in the header, or in the body where the provider knows nothing else, never in a URL."""
    replies.metadata = METADATA | supported
    assert exchange(provider) == id_token()
    _, url, headers, body = replies.sent[-1]
    fields = dict(parse_qsl(body.decode()))
    assert (url, fields["code"], fields["code_verifier"]) == (METADATA["token_endpoint"], "c", "v" * 43)
    if has_header:
        assert b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:secret%3A%2B"
        assert "client_secret" not in fields
    else:
        assert (fields["client_id"], fields["client_secret"]) == ("me", "secret:+")


@pytest.mark.parametrize(
    ("supported", "scope"),
    [
        ({}, "openid profile email groups"),
        ({"scopes_supported": ["email", "groups", "x"]}, "openid email groups"),
        ({"scopes_supported": "email"}, "openid"),
    ],
)
def test_the_scopes_are_those_that_the_provider_knows(
    provider: OpenIDProvider, replies: Replies, supported: dict[str, object], scope: str
) -> None:
    """Claims that roles can need are asked for where the provider has them."""
    replies.metadata = METADATA | supported
    assert dict(parse_qsl(urlsplit(address(provider)).query))["scope"] == scope


@pytest.mark.parametrize(
    ("metadata", "status", "problem"),
    [
        (b"<html>", 200, "not a JSON object"),
        (b"[" * 100_000, 200, "not a JSON object"),
        ([], 200, "not a JSON object"),
        (METADATA, 404, "status 404"),
        (METADATA | {"issuer": "https://evil.example"}, 200, "another issuer"),
        (METADATA | {"token_endpoint": "http://idp.example/token"}, 200, "endpoints"),
        (METADATA | {"token_endpoint": "http://127.0.0.1:8000/"}, 200, "endpoints"),
        (METADATA | {"token_endpoint": "https://[/"}, 200, "endpoints"),
        (METADATA | {"authorization_endpoint": None}, 200, "endpoints"),
        (METADATA | {"authorization_endpoint": "https://x:0"}, 200, "endpoints"),
    ],
)
def test_unusable_metadata_are_a_clear_refusal(
    provider: OpenIDProvider,
    replies: Replies,
    caplog: pytest.LogCaptureFixture,
    metadata: object,
    status: int,
    problem: str,
) -> None:
    """Metadata that are not the issuer's are not used; the log says why, and the next attempt asks again."""
    replies.metadata, replies.status = metadata, status
    for _ in range(2):
        with pytest.raises(CredentialsUnavailableError):
            address(provider)
    assert len(replies.sent) == 2
    assert problem in caplog.text


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ({"error": "invalid_grant", "error_description": "zu spät"}, "openid: invalid_grant"),
        ({"error": "invalid_client"}, "openid: invalid_client"),
        ({"error": "<b>"}, "openid: other"),
        ({"access_token": "x"}, "openid: no ID token"),
        ({"id_token": "a.b"}, "openid: ID token"),
        ({"id_token": "....."}, "openid: ID token"),
        ({"id_token": id_token([], at_hash="x"), "access_token": "x"}, "openid: ID token"),
        ({"id_token": id_token(iss="https://evil.example")}, "openid: claim iss"),
        ({"id_token": id_token(exp="x")}, "openid: claim exp"),
        ({"id_token": id_token(exp=1)}, "openid: claim exp"),
        ({"id_token": id_token(iat=2**32)}, "openid: claim iat"),
        ({"id_token": id_token(nonce=None)}, "openid: claim nonce"),
        ({"id_token": id_token(aud=["me", "other"], azp="other")}, "openid: claim azp"),
        ({"id_token": id_token(aud=["me", "other"])}, "openid: claim azp"),
        ({"id_token": id_token(at_hash="x"), "access_token": "x"}, "openid: claim at_hash"),
    ],
)
def test_no_other_id_token_is_accepted(
    provider: OpenIDProvider,
    replies: Replies,
    caplog: pytest.LogCaptureFixture,
    token: Mapping[str, Any],
    expected: str,
) -> None:
    """An ID token must be of this sign-in at this provider for this client, and valid now."""
    replies.token = token
    assert reason(lambda: exchange(provider)) == expected
    assert ("refuses the service" in caplog.text) == (expected in ("openid: invalid_client", "openid: other"))


def test_a_token_endpoint_that_fails_is_unavailable(
    provider: OpenIDProvider, replies: Replies, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the provider is no refusal of the person, and begins no pause for others."""
    address(provider)
    for status, content in ((500, {}), (200, b"<html>"), (400, b"[]")):
        replies.status, replies.token = status, content
        with pytest.raises(CredentialsUnavailableError):
            exchange(provider)
    assert [method for method, *_ in replies.sent] == ["GET", "POST", "POST", "POST"]
    assert "status 500" in caplog.text
    assert "secret" not in caplog.text
    assert reason(lambda: exchange(provider, "a b")) == "openid: code"


def test_a_provider_that_is_unavailable_is_asked_once_in_a_while(
    provider: OpenIDProvider, replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure there is a pause, and metadata that were fetched before stay in use."""
    replies.error = RequestFailedError(Failure.UNREACHABLE)
    for _ in range(3):
        with pytest.raises(CredentialsUnavailableError):
            address(provider)
    assert len(replies.sent) == 1
    replies.error = None
    monkeypatch.setattr(open_id_provider, "RETRY_SECONDS", 0)
    for _ in range(3):
        address(provider)
    # As after a wait for another fetch.
    provider._fetched()
    assert len(replies.sent) == 2
    replies.error = KeyError("defect")
    monkeypatch.setattr(open_id_provider, "METADATA_SECONDS", 0)
    assert address(provider).startswith("https://idp.example/auth?")
    assert len(replies.sent) == 3


def test_no_more_than_a_few_wait(
    provider: OpenIDProvider, replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that does not answer holds few requests, for a limited time."""
    monkeypatch.setattr(open_id_provider, "FETCH_SECONDS", 0)
    replies.answers.clear()
    with pytest.raises(CredentialsUnavailableError):
        address(provider)
    monkeypatch.setattr(open_id_provider, "RETRY_SECONDS", 0)
    monkeypatch.setattr(open_id_provider, "MAX_WAITING", 0)
    with pytest.raises(CredentialsUnavailableError):
        address(provider)
    replies.answers.set()


@pytest.mark.parametrize("named", [False, True])
def test_an_answer_names_the_issuer_where_it_must(
    provider: OpenIDProvider, replies: Replies, named: bool
) -> None:
    """An answer of another provider is refused, and one without a name where this one always has it."""
    replies.metadata = METADATA | {"authorization_response_iss_parameter_supported": named}
    provider.require_issuer(ISSUER)
    assert reason(lambda: provider.require_issuer("https://evil.example")) == "openid: issuer of the answer"
    if named:
        assert reason(lambda: provider.require_issuer(None)) == "openid: issuer of the answer"
    else:
        provider.require_issuer(None)
