"""JWTs: claims are trusted only with the issuer's signature, and fetches of its keys are limited."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from jwt.exceptions import InvalidKeyError
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app
from tests.support.access import bearer
from tests.support.issuer import (
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    ISSUER,
    RSA_KEY,
    UNPUBLISHED_KEY,
    Issuer,
    jwk,
    public_pem,
    sign,
)
from tests.support.waiting import wait_until
from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.core.principal import Principal, Scope
from vault.features.jwt import verification as jwt_auth
from vault.features.jwt.verification import JWKSCache, JWTAuthenticator, JWTVerifier, KeySource, fixed_key
from vault.toolkit.operations.slots import MAX_CONCURRENT_REQUESTS

FIXED = fixed_key(public_pem())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Run an identity provider."""
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def keys(issuer: Issuer) -> JWKSCache:
    """Return the keys of `issuer`, before any fetch."""
    return JWKSCache(issuer.url)


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prolong the pause after a failed fetch."""
    monkeypatch.setattr(jwt_auth, "RETRY_SECONDS", 3_600)


def principal(credential: str, source: KeySource = FIXED) -> Principal:
    return JWTAuthenticator(JWTVerifier(source, issuer=ISSUER, audience=AUDIENCE)).principal(credential)


def refused(credential: str, source: KeySource = FIXED) -> str:
    with pytest.raises(InvalidCredentialError) as caught:
        principal(credential, source)
    return caught.value.reason


def test_claims_become_the_principal() -> None:
    """Subject, namespace and scopes come from the claims; a JWT's name cannot equal a token's."""
    build = principal(sign(sub="repo:a/b", namespace="team-a", scope="secret:fetch openid"))
    assert (build.name, build.namespace, build.scopes) == ("jwt:repo:a/b", "team-a", {Scope.SECRET_FETCH})
    assert build.authenticated
    assert principal(sign()).namespace == "default"


def test_clocks_may_differ_by_half_a_minute() -> None:
    """A JWT is valid half a minute earlier and later than its claims, in the trail too."""
    now = int(time.time())
    expires_at = principal(sign(exp=now - 15, nbf=now + 15, iat=now + 15)).expires_at
    assert expires_at is not None
    assert expires_at.timestamp() == now + 15
    assert refused(sign(exp=now - 45)) == "jwt ExpiredSignatureError"
    assert refused(sign(nbf=now + 60)) == "jwt ImmatureSignatureError"


@pytest.mark.parametrize("exp", [10**18, 10**300, 1e400], ids=str)
def test_a_time_outside_the_calendar_is_refused(exp: float) -> None:
    """A JWT whose expiry is not a valid date is refused."""
    assert refused(sign(exp=exp)).startswith("jwt")


def test_a_public_key_ignores_the_named_key() -> None:
    """With `JWT_PUBLIC_KEY`, that key verifies every JWT, whatever key the JWT names."""
    assert principal(sign("any")).name == "jwt:build"
    assert principal(sign(None)).name == "jwt:build"
    assert refused(sign(key=UNPUBLISHED_KEY)) == "jwt InvalidSignatureError"


KINDS = {
    "RS": (RSA_KEY, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "ES": (EC_KEY, ("ES256",)),
    "Ed": (ED_KEY, ("EdDSA",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_verifies_only_its_own_kind_of_signature(kind: str) -> None:
    """Each kind of key accepts the signatures that it can make, and refuses others."""
    source = fixed_key(public_pem(KINDS[kind][0]))
    for other, (key, algorithms) in KINDS.items():
        for algorithm in algorithms:
            credential = sign("any", key=key, algorithm=algorithm)
            if other == kind:
                assert principal(credential, source).name == "jwt:build"
            else:
                assert refused(credential, source) == "jwt InvalidKeyError"
    # A curve that does not match the algorithm: a forger can write this header.
    head, body, signature = sign("any", key=EC_KEY, algorithm="ES256").split(".")
    forged = base64.urlsafe_b64encode(b'{"alg":"ES512"}').decode().rstrip("=")
    assert refused(f"{forged}.{body}.{signature}", fixed_key(public_pem(EC_KEY))).startswith("jwt")
    assert head != forged


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_every_invalid_jwt_raises_the_same_error(text: str) -> None:
    """Every invalid JWT raises the same kind of error."""
    assert refused(text).startswith("jwt")


def test_an_endless_jwt_is_refused() -> None:
    """A JWT with more than 8,192 characters is refused before it is decoded."""
    assert refused(sign(more="a" * 9_000)) == "jwt DecodeError"


# --- The issuer's keys


def test_keys_are_fetched_once(issuer: Issuer, keys: JWKSCache) -> None:
    """The key set is fetched with the first JWT and then kept."""
    for kid in ("rsa-1", "ec-1", "ed-1", "rsa-1"):
        assert principal(sign(kid), keys).name == "jwt:build"
    assert issuer.fetches == 1


def test_a_new_key_is_found_by_its_kid(issuer: Issuer, keys: JWKSCache) -> None:
    """A new key works after the next fetch of the set; invented key IDs cause no fetch."""
    assert principal(sign(), keys)
    issuer.keys["rsa-2"] = jwk("rsa-2", UNPUBLISHED_KEY, "RS256")
    for _ in range(20):
        assert refused(sign("rsa-2", key=UNPUBLISHED_KEY), keys) == "jwt InvalidKeyError"
    assert issuer.fetches == 1
    # Half a minute later.
    keys._client._last_successful_fetch = -1e9
    assert principal(sign("rsa-2", key=UNPUBLISHED_KEY), keys).name == "jwt:build"
    assert issuer.fetches == 2


@pytest.mark.parametrize("kid", [None, 7, ["rsa-1"]], ids=str)
def test_a_jwt_must_name_its_key(keys: JWKSCache, issuer: Issuer, kid: Any) -> None:
    """If there can be several keys, a JWT without a key ID is refused without a fetch."""
    assert refused(sign(None), keys)
    with pytest.raises(InvalidKeyError):
        keys({"kid": kid})
    assert issuer.fetches == 0


@pytest.mark.usefixtures("long_pause")
def test_an_invalid_key_set_admits_no_one(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """If the issuer returns an invalid key set, every JWT is refused, and not every request fetches."""
    bodies = (
        *(b"<html>", b"\xff\xfe", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}'),
        *(b'{"keys": [{"kty": "RSA", "alg": ["x"], "kid": "b"}]}', b"[" * 100_000),
    )
    for status, body in ((500, b"{}"), (302, b""), *((200, body) for body in bodies)):
        issuer.status, issuer.body, issuer.fetches = status, body, 0
        keys = JWKSCache(issuer.url)
        caplog.clear()
        for _ in range(3):
            with pytest.raises(CredentialsUnavailableError):
                principal(sign(), keys)
        assert issuer.fetches == 1
        assert "the JWKS endpoint failed" in caplog.text


def test_unsuitable_keys_verify_nothing(issuer: Issuer, keys: JWKSCache) -> None:
    """Published secrets, encryption keys and keys that are too short verify nothing."""
    issuer.keys["enc"] = jwk("enc", UNPUBLISHED_KEY, "RS256") | {"use": "enc"}
    assert refused(sign("enc", key=UNPUBLISHED_KEY), keys) == "jwt InvalidKeyError"
    weak = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - the test expects a refusal
    issuer.keys["weak"] = jwk("weak", weak, "RS256")
    issuer.keys["shared"] = {"kty": "oct", "kid": "shared", "k": "c2hhcmVk", "alg": "HS256"}
    assert refused(sign("shared", key="shared" * 8, algorithm="HS256"), keys) == "jwt InvalidAlgorithmError"
    with pytest.warns(match="key"):
        credential = sign("weak", key=weak)
    assert refused(credential, keys) == "jwt InvalidKeyError"


@pytest.mark.usefixtures("long_pause")
def test_a_hanging_issuer_costs_one_timeout(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the issuer hangs, concurrent requests share one fetch, and later ones do not wait."""
    monkeypatch.setattr(jwt_auth, "FETCH_SECONDS", 0.3)
    keys = JWKSCache(issuer.url)
    issuer.answers.clear()

    def ask(_: int) -> None:
        with pytest.raises(CredentialsUnavailableError):
            principal(sign(), keys)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(60)))
    wait_until(lambda: issuer.fetches)
    assert issuer.fetches == 1
    # Ten seconds later, with the issuer back.
    issuer.answers.set()
    assert keys._fetching is not None
    keys._fetching.join()
    keys._failed = -1e9
    monkeypatch.setattr(jwt_auth, "FETCH_SECONDS", 30)
    assert principal(sign(), keys).name == "jwt:build"


@pytest.mark.usefixtures("long_pause")
def test_a_fetch_that_takes_too_long_begins_the_pause(
    keys: JWKSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that has waited long enough for a fetch begins the pause, in which others do not wait."""
    monkeypatch.setattr(jwt_auth, "FETCH_SECONDS", 0.01)
    released = threading.Event()
    keys._fetching = threading.Thread(target=released.wait)
    keys._fetching.start()
    with pytest.raises(CredentialsUnavailableError):
        principal(sign(), keys)
    assert keys._is_backing_off()
    released.set()


@pytest.mark.promise("jwts")
def test_few_requests_wait_for_an_issuer(
    issuer: Issuer, keys: JWKSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of requests that wait for an issuer's keys, more are refused at once."""
    monkeypatch.setattr(jwt_auth, "MAX_WAITING", 3)
    issuer.answers.clear()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(principal, sign(), keys) for _ in range(3)]
        wait_until(lambda: keys._waiting == 3)
        with pytest.raises(CredentialsUnavailableError):
            principal(sign(), keys)
        assert not any(request.done() for request in waiting)
        issuer.answers.set()
        assert [request.result().name for request in waiting] == ["jwt:build"] * 3
    keys._client._last_successful_fetch = -1e9
    assert refused(sign("invented"), keys) == "jwt InvalidKeyError"


@pytest.mark.promise("jwts")
def test_an_issuer_cannot_hold_all_slots() -> None:
    """Requests that wait for one issuer hold at most a tenth of a worker's slots."""
    assert MAX_CONCURRENT_REQUESTS // 10 >= jwt_auth.MAX_WAITING


@pytest.mark.promise("jwts")
def test_an_endless_key_set_is_read_up_to_a_time(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetch of an endless key set ends: otherwise it would take memory, and no other could begin."""
    monkeypatch.setattr(jwt_auth, "FETCH_SECONDS", 0.3)
    keys = JWKSCache(issuer.url)
    issuer.drips = True
    with pytest.raises(CredentialsUnavailableError):
        principal(sign(), keys)
    assert keys._fetching is not None
    keys._fetching.join(60)
    assert not keys._fetching.is_alive()


@pytest.mark.promise("jwts")
def test_a_key_set_is_read_up_to_a_size(issuer: Issuer, keys: JWKSCache) -> None:
    """A key set that would fill the memory admits no one, even if it begins with valid keys."""
    issuer.body = json.dumps({"keys": list(issuer.keys.values())}).encode()
    assert principal(sign(), JWKSCache(issuer.url)).name == "jwt:build"
    issuer.body += b" " * jwt_auth.MAX_KEY_SET_BYTES
    with pytest.raises(CredentialsUnavailableError):
        principal(sign(), keys)


def test_invented_key_ids_fetch_an_invalid_key_set_once(issuer: Issuer, keys: JWKSCache) -> None:
    """If an issuer replies with no key set, known keys stay valid, and invented ones cause one fetch."""
    assert principal(sign(), keys)
    keys._client._last_successful_fetch = -1e9
    issuer.body = b"[]"
    for number in range(20):
        assert refused(sign(f"invented-{number}"), keys) == "jwt InvalidKeyError"
    assert issuer.fetches == 2
    assert principal(sign(), keys).name == "jwt:build"


def test_known_keys_do_not_wait_for_unknown_ones(issuer: Issuer, keys: JWKSCache) -> None:
    """While a fetch for an invented key ID hangs or fails, JWTs with known keys stay valid."""
    assert principal(sign(), keys)
    keys._client._last_successful_fetch = -1e9
    issuer.answers.clear()
    refusal: list[str] = []
    asking = threading.Thread(target=lambda: refusal.append(refused(sign("invented"), keys)))
    asking.start()
    while issuer.fetches < 2:
        time.sleep(0.01)
    assert principal(sign(), keys).name == "jwt:build"
    issuer.answers.set()
    asking.join()
    assert refusal == ["jwt InvalidKeyError"]
    issuer.status = 500
    keys._client._last_successful_fetch = -1e9
    with pytest.raises(CredentialsUnavailableError):
        principal(sign("invented"), keys)
    assert principal(sign(), keys).name == "jwt:build"


@pytest.fixture
def without_issuer(environment: dict[str, str]) -> Iterator[FlaskClient]:
    """Return a client of a service whose issuer is unreachable."""
    settings = {"JWT_JWKS_URL": "http://127.0.0.1:1/keys", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    with running_app({**environment, **settings}) as app:
        yield app.test_client()


@pytest.mark.promise("jwts")
def test_without_the_issuer_the_answer_is_503(
    without_issuer: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A JWT that cannot be checked returns 503 and is recorded; all other requests work."""
    for _ in range(3):
        reply = without_issuer.post("/vault/secret/fetch", json={}, headers=bearer(sign()))
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
    recorded = [(entry["status"], entry["details"]["reason"]) for entry in stored.audit_logs.find()]
    assert recorded == [("denied", "cannot be checked")] * 3
    assert without_issuer.post("/vault/secret/create", json={"secret": "YQ=="}).status_code == 200
