"""The settings of the console."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from vault.common.config import validators as forms
from vault.common.config.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """The settings of the console and of sign-in by OpenID Connect."""

    console_enabled: bool = setting(
        fields.Boolean(load_default=False),
        "serve the [console](console.md), pages for people, at `/console/`; `dev.sh` does",
        topic="Console",
        is_decisive=True,
    )
    public_url: str | None = setting(
        fields.String(load_default=None, validate=forms.own_url),
        "the address at which people reach the console, such as `https://secrets.example.com`; links to "
        "[shares](api.md#shares-and-requests) begin with it",
    )
    console_reason_required: bool = setting(
        fields.Boolean(load_default=False),
        "require a reason, with a visible character, for each reveal, which its audit entry keeps",
        is_protective=True,
    )
    oidc_issuer: str | None = setting(
        fields.String(load_default=None, validate=forms.own_url),
        "the issuer of the OpenID Connect provider by which people [sign in](console.md#openid-connect); "
        "https, or http on this machine",
        is_decisive=True,
    )
    oidc_client_id: str | None = setting(
        fields.String(load_default=None, validate=forms.credential),
        "the console's client ID at the provider",
        is_decisive=True,
    )
    oidc_client_secret: str | None = setting(
        fields.String(load_default=None, validate=forms.credential),
        "the client's secret",
        is_secret=True,
    )

    @staticmethod
    def check(values: Mapping[str, str]) -> None:
        """Refuse a part of the settings for sign-in by OpenID Connect."""
        names = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
        present = [name for name in names if name in values]
        if present and len(present) < len(names):
            text = f"is required with {present[0]}."
            raise ValidationError({name: [text] for name in names if name not in values})

    @staticmethod
    def doubts(values: Mapping[str, Any]) -> Iterator[str]:
        """Yield a phrase for each setting without effect, and for an address that the service refuses."""
        if not values["CONSOLE_ENABLED"]:
            for name in ("PUBLIC_URL", "CONSOLE_REASON_REQUIRED", "OIDC_ISSUER"):
                if values[name]:
                    yield f"{name} has no effect without CONSOLE_ENABLED=true"
        hosts, host = values["ALLOWED_HOSTS"], urlsplit(values["PUBLIC_URL"] or "").hostname
        if host and hosts and not {host, f"[{host}]"} & set(hosts):
            yield "ALLOWED_HOSTS lacks the host of PUBLIC_URL: requests for it get 421"
