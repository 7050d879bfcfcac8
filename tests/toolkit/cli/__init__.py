"""Tests of `vault.toolkit.cli`."""
