"""Tests of `vault.cli.operator`."""
