"""The public half of a key that signed audit entries, vouched for by keys that came after it."""

from typing import ClassVar

from mongoengine import DictField, StringField

from vault.documents.stored import Stored


class AuditKey(Stored):
    """Keeps entries verifiable when the master key that signed them has been dropped."""

    #: The signer, as entries name it.
    id = StringField(primary_key=True)
    #: The 32 bytes of the Ed25519 key, in hexadecimal.
    public_key = StringField(required=True)
    #: Signatures of the public key, by their signers.
    endorsements = DictField()
    #: In a document of its own: one part of the retirement of a key, see `vault.operations.retirement`.
    retirement = DictField()

    meta: ClassVar = {"collection": "audit_keys"}
