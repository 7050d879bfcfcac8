"""Stored documents, and the connection to MongoDB."""

from vault.documents.audit import AuditEntry
from vault.documents.database import Database
from vault.documents.encrypt_on_save import EncryptOnSave
from vault.documents.secret import Secret
from vault.documents.token import Token

__all__ = ["AuditEntry", "Database", "EncryptOnSave", "Secret", "Token"]
