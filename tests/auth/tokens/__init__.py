"""Tests of `vault.auth.tokens.tokens`."""
