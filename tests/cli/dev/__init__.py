"""Tests of `vault.cli.dev.command`."""
