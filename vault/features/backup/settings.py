"""The setting of drills."""

from dataclasses import dataclass

from marshmallow import fields

from vault.common.config import shown
from vault.common.config import validators as forms
from vault.common.config.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """Where drills restore."""

    drill_mongo_uri: str | None = setting(
        fields.String(load_default=None, validate=forms.mongo_uri),
        "the MongoDB of [drills](backup.md); by default that of `MONGO_URI`",
        topic="Backups",
        shown=shown.mongodb,
    )
