"""The settings of one issuer of JWTs; others are stored."""

from collections.abc import Mapping
from dataclasses import dataclass

from marshmallow import ValidationError, fields

from vault.common.config import shown
from vault.common.config import validators as forms
from vault.common.config.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTSettings:
    """The issuer whose JWTs can have rights of their own."""

    jwt_jwks_url: str | None = setting(
        fields.String(load_default=None, validate=forms.jwks_url),
        "the URL of the JWT issuer's keys; https, or http on this machine",
        topic="Credentials",
        shown=shown.url,
        is_decisive=True,
        is_protective=True,
    )
    jwt_public_key: str | None = setting(
        fields.String(load_default=None, validate=forms.public_key),
        "alternatively, the issuer's public key in PEM: RSA, EC or Ed25519",
        shown=shown.presence,
        is_decisive=True,
        is_protective=True,
    )
    jwt_issuer: str | None = setting(
        fields.String(load_default=None),
        "the required `iss` of a JWT",
        is_decisive=True,
        is_protective=True,
    )
    jwt_audience: str | None = setting(
        fields.String(load_default=None),
        "the required `aud` of a JWT",
        is_decisive=True,
        is_protective=True,
    )
    jwt_roles_only: bool = setting(
        fields.Boolean(load_default=False),
        "accept JWTs of this issuer only through a [role](ci.md); their own `scope` and `namespace` have no"
        " effect",
        is_decisive=True,
        is_protective=True,
    )

    @staticmethod
    def check(values: Mapping[str, str]) -> None:
        """Refuse JWT settings that contradict each other."""
        source = "JWT_JWKS_URL or JWT_PUBLIC_KEY"
        sources = [name for name in ("JWT_JWKS_URL", "JWT_PUBLIC_KEY") if name in values]
        if len(sources) > 1:
            raise ValidationError({"JWT_JWKS_URL": [f"set either {source}, not both."]})
        names = ("JWT_ISSUER", "JWT_AUDIENCE")
        if sources:
            text = f"is required with {sources[0]}."
            wrong = {name: [text] for name in names if name not in values}
        else:
            wrong = {name: [f"requires {source}."] for name in names if name in values}
        if wrong:
            raise ValidationError(wrong)
