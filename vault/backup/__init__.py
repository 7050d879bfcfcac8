"""Backups: creating, restoring and drilling them."""
