"""Tests of Vault's API: credentials, secrets, tokens, wrapping and the system."""
