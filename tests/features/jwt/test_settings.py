"""The settings of one issuer."""

import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from tests.common.config.test_settings import load, message, pem
from tests.common.config.test_summary import HUNTER, shown
from tests.support.issuer import public_pem
from vault.features.jwt.settings import JWTSettings

JWT = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "vault"}
EC_KEY = pem(ec.generate_private_key(ec.SECP256R1()))


def test_by_default_there_is_no_issuer() -> None:
    """Without settings, no JWT has rights of its own, and those of an issuer here would have them."""
    assert load().of(JWTSettings) == JWTSettings(
        jwt_jwks_url=None, jwt_public_key=None, jwt_issuer=None, jwt_audience=None, jwt_roles_only=False
    )


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"JWT_PUBLIC_KEY": EC_KEY}, "JWT_ISSUER: is required with JWT_PUBLIC_KEY."),
        ({"JWT_JWKS_URL": "https://issuer.example/keys"}, "JWT_AUDIENCE: is required with JWT_JWKS_URL."),
        (JWT, "JWT_ISSUER: requires JWT_JWKS_URL or JWT_PUBLIC_KEY."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_contradiction_is_explained(environment: dict[str, str], text: str) -> None:
    """An issuer needs one source of keys, and a source of keys an issuer and an audience."""
    assert f"  {text}" in message(**environment)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"JWT_JWKS_URL": "https://issuer.example/keys", "JWT_PUBLIC_KEY": EC_KEY, **JWT}, "JWT_JWKS_URL"),
        ({"JWT_PUBLIC_KEY": EC_KEY, "JWT_ISSUER": "i"}, "JWT_AUDIENCE"),
        ({"JWT_ISSUER": "i"}, "JWT_ISSUER"),
        ({"JWT_AUDIENCE": "a"}, "JWT_AUDIENCE"),
        ({"JWT_JWKS_URL": "https://", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://[half", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://a%00b/keys", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "http://issuer.example/keys", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "file:///keys", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://issuer.example/a key", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://issuer.example:99999/keys", **JWT}, "JWT_JWKS_URL"),
        ({"JWT_PUBLIC_KEY": pem(rsa.generate_private_key(65_537, 1_024)), **JWT}, "JWT_PUBLIC_KEY"),  # noqa: S505 - refused
        ({"JWT_PUBLIC_KEY": pem(ec.generate_private_key(ec.SECP256K1())), **JWT}, "JWT_PUBLIC_KEY"),
        ({"JWT_PUBLIC_KEY": pem(x25519.X25519PrivateKey.generate()), **JWT}, "JWT_PUBLIC_KEY"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_inconsistent_settings_are_refused(environment: dict[str, str], name: str) -> None:
    """JWTs need one source of keys, an issuer and an audience."""
    assert re.findall(r"^  ([A-Z_]+): \S", message(**environment), re.MULTILINE) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_JWKS_URL", "https://issuer.example/keys"),
        *(("JWT_JWKS_URL", url) for url in ("http://localhost:8080/keys", "http://[::1]/")),
        ("JWT_PUBLIC_KEY", pem(rsa.generate_private_key(65_537, 2_048))),
        ("JWT_PUBLIC_KEY", pem(ed25519.Ed25519PrivateKey.generate())),
    ],
    ids=lambda value: value[:40],
)
def test_a_usable_value_is_kept(name: str, value: str) -> None:
    """Each form of a value that works is accepted unchanged."""
    assert getattr(load(**{name: value}, **JWT).of(JWTSettings), name.lower()) == value


def test_a_near_miss_stops_the_start() -> None:
    """A variable that is almost the name of a setting is refused: they all protect."""
    assert "JWT_ROLE_ONLY: has no effect. Did you mean JWT_ROLES_ONLY?" in message(JWT_ROLE_ONLY="true")


@pytest.mark.promise(2)
def test_no_secret_is_logged() -> None:
    """The summary contains no password or token of an address."""
    address = f"https://{HUNTER}:{HUNTER}@keys.example:8443/jwks?token={HUNTER}#{HUNTER}"
    result = shown(JWT_JWKS_URL=address, **JWT)
    assert HUNTER not in json.dumps(result)
    assert result["JWT_JWKS_URL"] == "https://keys.example:8443/jwks"
    assert shown(JWT_PUBLIC_KEY=public_pem(), **JWT)["JWT_PUBLIC_KEY"] == "set"
