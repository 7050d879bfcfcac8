"""Tests of `vault.cli.shell`."""
