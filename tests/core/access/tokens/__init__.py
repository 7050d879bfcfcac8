"""Tests of `vault.core.access.tokens.tokens`."""
