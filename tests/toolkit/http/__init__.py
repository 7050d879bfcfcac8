"""Tests of `vault.toolkit.http`."""
