"""The services of JWTs."""

from collections.abc import Iterator

from vault.core.parts import Parts
from vault.features.jwt.credentials import JWTCredentials
from vault.features.jwt.directory import Directory
from vault.features.jwt.issuers import Issuers
from vault.features.jwt.roles import Roles
from vault.features.jwt.settings import JWTSettings
from vault.features.jwt.verification import settings_authenticator


def services(parts: Parts) -> Iterator[object]:
    """Yield the services: issuers, roles, and JWTs as credentials."""
    settings = parts.settings.of(JWTSettings)
    own = settings_authenticator(
        jwks_url=settings.jwt_jwks_url,
        public_key=settings.jwt_public_key,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        roles_only=settings.jwt_roles_only,
    )
    issuers = Issuers(parts.token_keys, own)
    yield issuers
    yield Roles(parts.token_keys, issuers)
    yield JWTCredentials(own, Directory(parts.token_keys))
