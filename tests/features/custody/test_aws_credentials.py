"""Credentials of AWS: from the environment, EKS, ECS and EC2, by stubs of their servers."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.features.custody.conftest import Request, Stub
from vault.features.custody import awskms, http
from vault.features.custody.awskms import Credentials, credentials
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError

MADE = {"AccessKeyId": "AKID", "SecretAccessKey": "a secret", "Token": "a token"}
FOUND = Credentials("AKID", "a secret", "a token")


def test_the_environment_comes_first() -> None:
    """Static credentials are taken as they are."""
    settings = {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "a secret",
        "AWS_SESSION_TOKEN": "a token",
    }
    assert credentials(settings, "eu-central-1") == FOUND
    for wrong in ("a token\n", "\udcff"):
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            with pytest.raises(CustodyRefusedError, match="the environment has no credentials"):
                credentials(settings | {name: wrong}, "eu-central-1")


def test_a_service_account_of_kubernetes_assumes_its_role(stub: Stub, tmp_path: Path) -> None:
    """STS gets the token that its file has now, as Kubernetes replaces it."""
    file = tmp_path / "token"
    settings = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/sm",
        "AWS_ENDPOINT_URL_STS": stub.url,
    }
    with pytest.raises(CustodyRefusedError, match="cannot be read"):
        credentials(settings, "eu-central-1")
    found = {"Credentials": {"AccessKeyId": "AKID", "SecretAccessKey": "a secret", "SessionToken": "a token"}}
    response = {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": found}}
    stub.answer = lambda _: (200, {}, response)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert credentials(settings, "eu-central-1") == FOUND
        form = parse_qs(stub.requests[-1].body.decode())
        assert form["WebIdentityToken"] == [token]
        assert form["RoleArn"] == [settings["AWS_ROLE_ARN"]]
    stub.answer = lambda _: (403, {}, {"Error": {"Code": "AccessDenied"}})
    with pytest.raises(CustodyRefusedError, match="STS has no credentials"):
        credentials(settings, "eu-central-1")
    stub.answer = lambda _: (400, {}, {"Error": {"Code": "Throttling"}})
    with pytest.raises(CustodyUnavailableError, match="Throttling"):
        credentials(settings, "eu-central-1")


def test_china_has_a_domain_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """STS is asked in the domain of the region."""
    asked: list[str] = []

    def send(_method: str, url: str, **_: object) -> Any:
        asked.append(url)
        raise CustodyUnavailableError("away")

    monkeypatch.setattr(http, "send", send)
    (tmp_path / "token").write_text("token")
    for region in ("eu-central-1", "cn-north-1"):
        with pytest.raises(CustodyUnavailableError):
            credentials({"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}, region)
    assert asked == ["https://sts.eu-central-1.amazonaws.com/", "https://sts.cn-north-1.amazonaws.com.cn/"]


def test_a_container_asks_its_address(stub: Stub, tmp_path: Path) -> None:
    """ECS and EKS name an address and a token, in the environment or in a file."""
    stub.answer = lambda _: (200, {}, MADE)
    (tmp_path / "token").write_text("from a file\n")
    settings = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stub.url}/v1/credentials?id=1"}
    assert credentials(settings, "r") == FOUND
    assert credentials(settings | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "a token"}, "r") == FOUND
    file = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token")}
    assert credentials(settings | file, "r") == FOUND
    assert credentials(settings | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\nb"}, "r") == FOUND
    tokens = [request.headers.get("Authorization") for request in stub.requests]
    assert tokens == [None, "a token", "from a file", None]
    with pytest.raises(CustodyRefusedError, match="neither https"):
        credentials({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/"}, "r")


def test_a_relative_address_is_that_of_ecs(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS, only the fixed addresses of AWS are asked."""
    stub.answer = lambda _: (200, {}, MADE)
    monkeypatch.setattr(awskms, "_ECS", stub.url)
    assert credentials({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1"}, "r") == FOUND
    assert stub.requests[0].path == "/v2/credentials/1"


def test_a_machine_has_a_role(stub: Stub) -> None:
    """The metadata service is asked with a session token, as IMDSv2 requires."""
    replies: dict[tuple[str, str], Any] = {
        ("PUT", "/latest/api/token"): b"session\n",
        ("GET", "/latest/meta-data/iam/security-credentials/"): b"the-role",
        ("GET", "/latest/meta-data/iam/security-credentials/the-role"): MADE,
        ("GET", "/latest/meta-data/iam/security-credentials/a.b@c,d=e+f_g"): MADE,
    }

    def answer(request: Request) -> tuple[int, dict[str, str], Any]:
        is_known = request.method == "PUT" or request.headers["X-aws-ec2-metadata-token"] == "session"
        return (200 if is_known else 401), {}, replies[request.method, request.path]

    stub.answer = answer
    settings = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{stub.url}/"}
    assert credentials(settings, "r") == FOUND
    replies["GET", "/latest/meta-data/iam/security-credentials/"] = b"a.b@c,d=e+f_g"
    assert credentials(settings, "r") == FOUND
    for hostile in (b"../../x", b"..", b"a/b", b"a%2fb", b"a?b"):
        replies["GET", "/latest/meta-data/iam/security-credentials/"] = hostile
        with pytest.raises(CustodyRefusedError, match="no role"):
            credentials(settings, "r")
    replies["PUT", "/latest/api/token"] = b"\xff\n"
    with pytest.raises(CustodyRefusedError, match="no role"):
        credentials(settings, "r")


@pytest.mark.parametrize(
    "found", [{}, [], MADE | {"Token": "a\nb"}, MADE | {"SecretAccessKey": 1}], ids=range(4)
)
def test_credentials_of_another_form_are_refused(stub: Stub, found: object) -> None:
    """A text that cannot be a header is no credential."""
    stub.answer = lambda _: (200, {}, found)
    with pytest.raises(CustodyRefusedError, match="no credentials"):
        credentials({"AWS_CONTAINER_CREDENTIALS_FULL_URI": stub.url}, "r")


def test_no_proxy_sees_the_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine's own services go past the environment's proxy."""
    seen: list[bool] = []

    class Client:
        def __init__(self, *_: object, allows_proxy: bool, **__: object) -> None:
            seen.append(allows_proxy)
            raise OSError

    monkeypatch.setattr(http, "HTTPClient", Client)
    for url in ("http://169.254.169.254/x", "https://kms.eu-central-1.amazonaws.com/"):
        with pytest.raises(CustodyRefusedError):
            http.send("GET", url, headers={}, is_local=url.startswith("http:"))
    assert seen == [False, True]
