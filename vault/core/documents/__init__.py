"""Stored documents, and the connection to MongoDB."""

from vault.core.documents.audit import AuditEntry
from vault.core.documents.database import Database
from vault.core.documents.secret import EncryptOnSave, Secret
from vault.core.documents.token import Token

__all__ = ["AuditEntry", "Database", "EncryptOnSave", "Secret", "Token"]
