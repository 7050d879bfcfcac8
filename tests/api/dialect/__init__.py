"""Tests of `vault.api.dialect.operation`."""
