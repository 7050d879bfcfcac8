"""Issuers of JWTs over HTTP, and the schemas of their requests and replies."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.common.config import validators as forms
from vault.common.errors import GrantRefusedError
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.jwt.claims import MAX_VALUE_LENGTH
from vault.features.jwt.errors import IssuerTakenError
from vault.features.jwt.issuers import STATES, IssuerInfo, Issuers, NewIssuer
from vault.features.jwt.verification import ALGORITHMS
from vault.toolkit.document.errors import FORBIDDEN, ErrorDoc
from vault.toolkit.document.fields import (
    TEXT,
    Body,
    BoundedList,
    Moment,
    Reply,
    as_sentence,
    choice_field,
    flag_field,
    name_field,
    neither_nor_both,
    objects_field,
    one_line,
    text_field,
    texts_field,
)
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services

blueprint = Blueprint(
    "Issuers",
    __name__,
    url_prefix="/vault/issuer",
    description="Trust issuers of JWTs, such as GitHub Actions. Their JWTs act through roles.",
    error_docs={
        "IssuersRefused": ErrorDoc(
            GrantRefusedError("Only unlimited administrators manage issuers. Limited in: namespace."),
            *FORBIDDEN,
        ),
        "IssuerTaken": ErrorDoc(
            IssuerTakenError("An issuer has this name, or this `iss` and audience."), "limit_reached"
        ),
    },
)

_MAX_URL_LENGTH = 2_048
_MAX_PEM_LENGTH = 8_192
_ISS = "https://token.actions.githubusercontent.com"
_JWKS_URL = f"{_ISS}/.well-known/jwks"
_PEM_PATTERN = "^-----BEGIN PUBLIC KEY-----"
#: An Ed25519 key.
_PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
    "-----END PUBLIC KEY-----\n"
)


def _claim(description: str, example: str) -> fields.String:
    return text_field(
        description,
        example,
        shape={"pattern": ONE_LINE_PATTERN},
        required=True,
        validate=[validate.Length(1, MAX_VALUE_LENGTH), one_line],
    )


class NewIssuerSchema(Body):
    """An issuer to trust."""

    refused: ClassVar = {"anyOf": neither_nor_both(jwks_url=TEXT, public_key=TEXT)}

    name = name_field("The issuer's name. Roles refer to it.", example="github", required=True)
    issuer = _claim("The claim `iss` of its JWTs.", _ISS)
    audience = _claim(
        "The claim `aud` that its JWTs must have. Choose one of your own: a JWT for another service must not "
        "work here.",
        "https://vault.example.com",
    )
    jwks_url = text_field(
        "The URL of its key set. An issuer needs either a URL or a public key.",
        _JWKS_URL,
        shape={"format": "uri"},
        load_default=None,
        validate=[validate.Length(max=_MAX_URL_LENGTH), as_sentence(forms.public_url)],
    )
    public_key = text_field(
        "Its public key in PEM.",
        _PEM,
        shape={"pattern": _PEM_PATTERN},
        load_default=None,
        validate=[validate.Length(max=_MAX_PEM_LENGTH), as_sentence(forms.public_key)],
    )
    algorithms = BoundedList(
        fields.String(validate=validate.OneOf(ALGORITHMS)),
        max_size=len(ALGORITHMS),
        load_default=[],
        metadata={
            "description": "The signatures that it makes; if omitted, all that fit its keys.",
            "example": ["RS256"],
        },
    )

    @validates_schema
    def _check_keys(self, data: dict[str, Any], **_: object) -> None:
        if (data["jwks_url"] is None) == (data["public_key"] is None):
            raise ValidationError({"jwks_url": ["Either `jwks_url` or `public_key` is required."]})

    @post_load
    def _issuer(self, data: dict[str, Any], **_: object) -> NewIssuer:
        new = NewIssuer(**data | {"algorithms": tuple(data["algorithms"])})
        if not set(new.algorithms) <= set(new.fitting_algorithms()):
            raise ValidationError({"algorithms": ["Must fit `public_key`."]})
        return new


class IssuerName(Reply):
    """An issuer."""

    name = name_field("The issuer's name.", example="github", required=True)


class IssuerReference(Body):
    """An issuer to delete."""

    name = name_field("The issuer's name.", example="github", required=True)
    force = flag_field("If true, delete it even if it has roles.")


class IssuerQuery(Body):
    """A filter for issuers; by default all of them."""

    state = choice_field("Only issuers in this state; all if omitted.", "active", STATES, load_default=None)


class IssuerRecord(Reply):
    """Everything about an issuer."""

    name = name_field("The issuer's name.", example="github", required=True)
    state = text_field(
        "`active`, `settings` for the one in the settings, or `altered` if someone changed it in the "
        "database. JWTs of altered issuers are refused.",
        "active",
        shape={"enum": list(STATES)},
        required=True,
    )
    issuer = text_field("The claim `iss` of its JWTs.", _ISS, required=True)
    audience = text_field("The claim `aud` of its JWTs.", "https://vault.example.com", required=True)
    jwks_url = text_field(
        "The URL of its key set; null with a public key.", _JWKS_URL, required=True, allow_none=True
    )
    public_key = text_field("Its public key in PEM; null with a URL.", None, required=True, allow_none=True)
    algorithms = texts_field("The signatures that it makes.", ["RS256"])
    created_at = Moment(required=True, allow_none=True, metadata={"example": "2026-11-24T15:30:00.000Z"})
    created_by = text_field("The principal that created the issuer.", "operator", required=True)


class IssuerList(Reply):
    """All issuers."""

    issuers = objects_field(IssuerRecord, "In order of name, after the one in the settings.")


_CREATIONS = {
    "github": {
        "summary": "GitHub Actions",
        "value": {
            "name": "github",
            "issuer": _ISS,
            "audience": "https://vault.example.com",
            "jwks_url": _JWKS_URL,
        },
    },
}


@blueprint.post("/create")
@blueprint.operation(
    Action.ISSUER_CREATE, scope=Scope.TOKEN_MANAGE, refusals=("IssuersRefused", "IssuerTaken")
)
@blueprint.arguments(NewIssuerSchema, examples=_CREATIONS)
@blueprint.response(200, IssuerName, description="The issuer is trusted.")
def create_issuer(new: NewIssuer) -> dict[str, str]:
    """Create an issuer.

    Requires every scope, in the namespace `default`, without a limit to paths or networks: an issuer can
    vouch for roles of every namespace. Within 5 seconds, every replica accepts its JWTs, which act through
    roles only.
    """
    services().of(Issuers).create(new, attempt=current_attempt())
    return {"name": new.name}


@blueprint.post("/list")
@blueprint.operation(Action.ISSUER_LIST, scope=Scope.TOKEN_MANAGE, refusals=("IssuersRefused",))
@blueprint.arguments(IssuerQuery)
@blueprint.response(200, IssuerList, description="All issuers.")
def list_issuers(body: dict[str, Any]) -> dict[str, list[IssuerInfo]]:
    """List issuers.

    Requires the same as creating one.
    """
    return {"issuers": services().of(Issuers).list(body["state"], attempt=current_attempt())}


@blueprint.post("/delete")
@blueprint.operation(
    Action.ISSUER_DELETE,
    scope=Scope.TOKEN_MANAGE,
    refusals=("IssuersRefused", "IssuerNotFound", "IssuerInUse"),
)
@blueprint.arguments(IssuerReference, example={"name": "github"})
@blueprint.response(200, IssuerName, description="The issuer is deleted.")
def delete_issuer(body: dict[str, Any]) -> dict[str, str]:
    """Delete an issuer.

    Requires the same as creating one. An issuer that has roles is deleted only with `force`; no other issuer
    gets these roles.
    """
    services().of(Issuers).delete(**body, attempt=current_attempt())
    return {"name": body["name"]}
