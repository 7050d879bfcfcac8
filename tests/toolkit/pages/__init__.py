"""Tests of `vault.toolkit.pages`."""
