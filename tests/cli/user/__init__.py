"""Tests of `vault.cli.user`."""
