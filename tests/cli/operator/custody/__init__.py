"""Tests of `vault.cli.operator.custody`."""
