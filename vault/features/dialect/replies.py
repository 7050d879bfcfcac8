"""Descriptions of credentials in replies of Vault's dialect."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vault.common import clock
from vault.common.timestamps import moment
from vault.core.access.tokens.info import CredentialInfo
from vault.core.principal import Scope


def auth_of(info: CredentialInfo, token: str, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return Vault's description of the credential *token* in `auth`; the token is empty if it is unknown."""
    policies = list(info.scopes)
    return {
        "client_token": token,
        "accessor": info.accessor,
        "policies": policies,
        "token_policies": policies,
        "metadata": metadata or _metadata(info),
        "lease_duration": _seconds(info.expires_at),
        "renewable": info.renewable,
        "entity_id": "",
        "token_type": _type(info),
        "orphan": info.is_orphan,
        "mfa_requirement": None,
        "num_uses": 0,
    }


def look_up_of(info: CredentialInfo, token: str) -> dict[str, Any]:
    """Return Vault's description of the credential *token* in `data`; the token is empty if it is unknown."""
    created_at = info.created_at or clock.now()
    longest = info.longest_age
    return {
        "accessor": info.accessor,
        "creation_time": int(created_at.timestamp()),
        "creation_ttl": _seconds(info.expires_at, created_at),
        "display_name": info.plain_name,
        "entity_id": "",
        "expire_time": info.expires_at and moment(info.expires_at),
        "explicit_max_ttl": math.ceil(longest.total_seconds()) if longest else 0,
        "id": token,
        "issue_time": moment(created_at),
        "meta": _metadata(info),
        "num_uses": 0,
        "orphan": info.is_orphan,
        "path": "auth/token/create" if info.kind == "token" else "auth/jwt/login",
        **({"period": math.ceil(info.period.total_seconds())} if info.period else {}),
        "policies": list(info.scopes),
        "renewable": info.renewable,
        "ttl": _seconds(info.expires_at),
        "type": _type(info),
    }


def example(token: str, **differences: Any) -> dict[str, Any]:
    """Return the example of the credential *token* in a reply, as `auth_of` describes it."""
    scopes = list(differences.pop("policies", [Scope.SECRET_FETCH]))
    return {
        "auth": {
            "client_token": token,
            "accessor": "0" * 24,
            "policies": scopes,
            "token_policies": scopes,
            "metadata": None,
            "lease_duration": 3_600,
            "renewable": False,
            "entity_id": "",
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
            **differences,
        }
    }


def _type(info: CredentialInfo) -> str:
    return "service" if info.kind == "token" else "batch"


def _metadata(info: CredentialInfo) -> dict[str, str] | None:
    return {"role": info.role} if info.role else None


def _seconds(end: datetime | None, begin: datetime | None = None) -> int:
    """Return the seconds until *end*, at least 1; 0 without an end, as Vault has it."""
    if end is None:
        return 0
    return max(1, math.ceil((end - (begin or clock.now())).total_seconds()))
