"""One record of the audit trail."""

from mongoengine import DateTimeField, DictField, Document, StringField


class AuditEntry(Document):
    """Who tried what, on which secret, and how it ended. Never a value, never a credential."""

    ts = DateTimeField(required=True)
    action = StringField(required=True)
    status = StringField(required=True)
    principal = StringField(required=True)
    secret_id = StringField()
    ip = StringField()
    ua = StringField()
    request_id = StringField()
    details = DictField(default=None)

    meta = {  # noqa: RUF012 - MongoEngine's own form
        "collection": "audit_logs",
        "auto_create_index": False,
        "strict": False,
    }
