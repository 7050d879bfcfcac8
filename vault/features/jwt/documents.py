"""Stored issuers of JWTs, and roles for them."""

from typing import Any, ClassVar

from mongoengine import BooleanField, DateTimeField, IntField, ListField, StringField
from pymongo import IndexModel

from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind
from vault.core.documents.indexes import NAMED
from vault.core.documents.sealed import SealedDocument
from vault.core.principal import DEFAULT_NAMESPACE
from vault.features.jwt.errors import IssuerTakenError, RoleNameTakenError

ISSUER_INDEXES = (*NAMED, IndexModel([("issuer", 1), ("audience", 1)], unique=True))
ROLE_INDEXES = NAMED


class Issuer(SealedDocument):
    """An issuer whose JWTs act through roles. It has either a JWKS URL or a public key."""

    #: Random. Roles refer to it: a new issuer of the same name has none of the roles of an earlier one.
    id = StringField(primary_key=True)
    name = StringField(required=True)
    #: The claims `iss` and `aud` of its JWTs.
    issuer = StringField(required=True)
    audience = StringField(required=True)
    jwks_url = StringField()
    #: In PEM.
    public_key = StringField()
    algorithms = ListField(StringField())
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)

    meta: ClassVar = {"collection": "issuers"}

    record_kind = RecordKind.ISSUER
    taken_error = IssuerTakenError
    taken = "An issuer has this name, or this `iss` and audience."
    busy = "Another request is creating this issuer."
    noun = "issuer"
    keeps_makers = True
    end_action = Action.ISSUER_DELETE

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"issuer_name": self.name, **super().end_details()}

    def _holders(self) -> dict[str, Any]:
        return {"$or": [{"name": self.name}, {"issuer": self.issuer, "audience": self.audience}]}


class Role(SealedDocument):
    """A role: the rights of JWTs whose claims satisfy its conditions."""

    #: Random.
    id = StringField(primary_key=True)
    #: Outside the default namespace it begins with the namespace, as a token's.
    name = StringField(required=True)
    namespace = StringField(required=True)
    #: The issuer's name, and its ID; that of the settings' issuer is empty.
    issuer = StringField(required=True)
    issuer_id = StringField()
    #: Conditions in the form `KEY=VALUE`.
    claims = ListField(StringField())
    claim_globs = ListField(StringField())
    scopes = ListField(StringField())
    #: Networks from which it can be used; if empty, any.
    networks = ListField(StringField())
    #: The paths that it is limited to; if empty, no limit.
    paths = ListField(StringField())
    #: As of a token.
    own_entries_only = BooleanField()
    #: The longest age of a JWT, in seconds.
    max_age = IntField(required=True)
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    expires_at = DateTimeField()

    meta: ClassVar = {"collection": "roles"}

    record_kind = RecordKind.ROLE
    taken_error = RoleNameTakenError
    taken = "Role name already used in this namespace."
    busy = "Another request is creating a role of this name."
    later = frozenset({"own_entries_only"})
    noun = "role"
    is_role = True
    end_action = Action.ROLE_DELETE

    @property
    def plain_name(self) -> str:
        """The name within its namespace."""
        return str(self.name).removeprefix(f"{self.namespace}/")

    @staticmethod
    def stored_name(namespace: str, name: str) -> str:
        """Return the stored name of the role *name* of *namespace*."""
        return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"role_name": self.plain_name, "namespace": self.namespace, **super().end_details()}
