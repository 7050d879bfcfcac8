"""Vault's API, under `/v1/`."""
