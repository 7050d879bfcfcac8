"""Stored issuers of JWTs."""

from typing import Any, ClassVar

from mongoengine import DateTimeField, ListField, StringField

from vault.core.attempt import Action
from vault.core.errors import IssuerTakenError
from vault.crypto.token_key import RecordKind
from vault.documents.sealed import SealedDocument


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
    end_action = Action.ISSUER_DELETE

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"issuer_name": self.name, **super().end_details()}

    def _holders(self) -> dict[str, Any]:
        return {"$or": [{"name": self.name}, {"issuer": self.issuer, "audience": self.audience}]}
