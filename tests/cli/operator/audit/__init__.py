"""Tests of `vault.cli.operator.audit`."""
