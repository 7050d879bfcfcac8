"""Imports of secrets from Vault, OpenBao and files."""
